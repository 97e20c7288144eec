"""What each clustering algorithm can be told: bounds, defaults, titles and help live here only."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipelines.errors import BadRequest

MAX_CLUSTERS = 1000
MAX_STARTS = 100
MAX_ITERATIONS = 10_000

Covariance = Literal["full", "tied", "diag", "spherical"]
COVARIANCES: tuple[Covariance, ...] = ("full", "tied", "diag", "spherical")
Linkage = Literal["ward", "complete", "average", "single"]
Coordinate = Annotated[float, Field(allow_inf_nan=False)]

Clusters = Annotated[
    int,
    Field(ge=1, le=MAX_CLUSTERS, title="Clusters (k)", description="How many clusters are made."),
]
Starts = Annotated[
    int,
    Field(
        ge=1,
        le=MAX_STARTS,
        title="Starts",
        description="The work is begun this often from other random starts; the best is kept.",
    ),
]
Iterations = Annotated[
    int,
    Field(
        ge=1,
        le=MAX_ITERATIONS,
        title="Iterations at most",
        description="It stops here even where it has not settled.",
    ),
]
Tolerance = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        allow_inf_nan=False,
        title="Tolerance",
        description="It has settled when one iteration changes less than this.",
    ),
]
Eps = Annotated[
    float,
    Field(
        gt=0,
        le=1e12,
        allow_inf_nan=False,
        title="Radius (eps)",
        description="Points at most this far apart are neighbours; the k-distance plot helps.",
    ),
]
MinSamples = Annotated[
    int,
    Field(
        ge=1,
        le=10_000,
        title="Neighbours (min_samples)",
        description="A core point has at least this many points within the radius, itself included.",
    ),
]


class Parameters(BaseModel):
    """Settings of one algorithm; a field's title and description are the page's label and help."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def k(self) -> int | None:
        """How many clusters are asked for; None where the algorithm finds that itself."""
        return getattr(self, "clusters", None)


class KMeansParameters(Parameters):
    clusters: Clusters = 3
    start: Annotated[
        Literal["k-means++", "random", "own"],
        Field(
            title="Start",
            description="k-means++: centres far apart. Random: any points. Own: the centres that "
            "you have set; their number is k.",
        ),
    ] = "k-means++"
    centres: Annotated[
        tuple[tuple[Coordinate, ...], ...] | None,
        Field(
            min_length=1,
            max_length=MAX_CLUSTERS,
            title="Own centres",
            description="One row each, in the units of the data, before scaling.",
        ),
    ] = None
    starts: Starts = 10
    iterations: Iterations = 300
    tolerance: Tolerance = 1e-4

    @model_validator(mode="after")
    def _own_centres(self) -> KMeansParameters:
        if self.start != "own":
            return self
        if self.centres is None:
            raise _Cause("Own centres are missing: set at least one, or choose another start.")
        widths = {len(row) for row in self.centres}
        if len(widths) > 1:
            raise _Cause(
                "The own centres have {least} to {most} values; each must have as many as a point.",
                least=min(widths),
                most=max(widths),
            )
        return self

    @property
    def k(self) -> int:
        return len(self.centres) if self.start == "own" and self.centres else self.clusters


class _Cause(BadRequest, ValueError):
    """A :class:`BadRequest` that a validator may raise: pydantic takes only ``ValueError``."""


class MiniBatchParameters(Parameters):
    clusters: Clusters = 3
    start: Annotated[
        Literal["k-means++", "random"],
        Field(title="Start", description="k-means++: centres far apart. Random: any points."),
    ] = "k-means++"
    batch: Annotated[
        int,
        Field(
            ge=1,
            le=1_000_000,
            title="Batch",
            description="So many points, drawn at random, move the centres at a time.",
        ),
    ] = 1024
    starts: Starts = 3
    iterations: Iterations = 100


class BisectingParameters(Parameters):
    clusters: Clusters = 3
    start: Annotated[
        Literal["k-means++", "random"],
        Field(title="Start", description="k-means++: centres far apart. Random: any points."),
    ] = "k-means++"
    split: Annotated[
        Literal["biggest_inertia", "largest_cluster"],
        Field(
            title="Which to split",
            description="biggest_inertia: the cluster with the largest sum of squares. "
            "largest_cluster: the one with the most points.",
        ),
    ] = "biggest_inertia"
    starts: Starts = 3
    iterations: Iterations = 300
    tolerance: Tolerance = 1e-4


class DBSCANParameters(Parameters):
    eps: Eps = 0.5
    min_samples: MinSamples = 5


class HDBSCANParameters(Parameters):
    min_cluster_size: Annotated[
        int,
        Field(
            ge=2,
            le=100_000,
            title="Smallest cluster",
            description="Groups of fewer points are noise.",
        ),
    ] = 5
    min_samples: Annotated[
        int | None,
        Field(
            ge=1,
            le=10_000,
            title="Neighbours (min_samples)",
            description="Larger values make more points noise. Empty: as the smallest cluster.",
        ),
    ] = None
    merge_below: Annotated[
        float,
        Field(
            ge=0,
            le=1e12,
            allow_inf_nan=False,
            title="Merge below",
            description="Clusters nearer than this distance are not parted (0 is off).",
        ),
    ] = 0.0
    selection: Annotated[
        Literal["eom", "leaf"],
        Field(
            title="Selection",
            description="eom: the most stable clusters. leaf: the smallest ones of the tree.",
        ),
    ] = "eom"
    single: Annotated[
        bool,
        Field(title="One cluster allowed", description="The whole may be one cluster."),
    ] = False


class OPTICSParameters(Parameters):
    min_samples: Annotated[
        int,
        Field(
            ge=2,
            le=10_000,
            title="Neighbours (min_samples)",
            description="The distance to so many points, itself included, is how dense it is here.",
        ),
    ] = 5
    max_eps: Annotated[
        float | None,
        Field(
            gt=0,
            le=1e12,
            allow_inf_nan=False,
            title="Radius at most",
            description="Farther points are not looked at. Empty: no limit.",
        ),
    ] = None
    method: Annotated[
        Literal["xi", "dbscan"],
        Field(
            title="Cut",
            description="xi: at steep slopes of the reachability plot. dbscan: at one height, eps.",
        ),
    ] = "xi"
    xi: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            allow_inf_nan=False,
            title="Steepness (xi)",
            description="How much reachability must fall from one point to the next to begin a "
            "cluster: 0.05 is 5 %.",
        ),
    ] = 0.05
    eps: Eps = 0.5
    min_cluster_size: Annotated[
        int | None,
        Field(
            ge=2,
            le=100_000,
            title="Smallest cluster",
            description="With xi. Empty: as the neighbours (min_samples).",
        ),
    ] = None


class AgglomerativeParameters(Parameters):
    clusters: Clusters = 3
    linkage: Annotated[
        Linkage,
        Field(
            title="Linkage",
            description="Ward: least growth of the sum of squares. Complete: the farthest pair. "
            "Average: the mean of all pairs. Single: the nearest pair.",
        ),
    ] = "ward"
    height: Annotated[
        float | None,
        Field(
            ge=0,
            le=1e15,
            allow_inf_nan=False,
            title="Cut height",
            description="Cuts the dendrogram here instead of at k clusters. Empty: at k.",
        ),
    ] = None

    @property
    def k(self) -> int | None:
        return self.clusters if self.height is None else None


class MixtureParameters(Parameters):
    clusters: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_CLUSTERS,
            title="Components (k)",
            description="How many normal distributions are mixed.",
        ),
    ] = 3
    covariance: Annotated[
        Covariance,
        Field(
            title="Covariance",
            description="Full: any ellipse each. Tied: one ellipse for all. Diag: ellipses along "
            "the axes. Spherical: circles.",
        ),
    ] = "full"
    starts: Starts = 1
    iterations: Iterations = 100
    tolerance: Tolerance = 1e-3
    regularisation: Annotated[
        float,
        Field(
            ge=0,
            le=1e6,
            allow_inf_nan=False,
            title="Regularisation",
            description="Added to the variances, so that no ellipse shrinks to a line or a point.",
        ),
    ] = 1e-6


class MeanShiftParameters(Parameters):
    bandwidth: Annotated[
        float | None,
        Field(
            gt=0,
            le=1e12,
            allow_inf_nan=False,
            title="Bandwidth",
            description="Radius of the window that moves uphill. Empty: estimated from the data.",
        ),
    ] = None
    quantile: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            allow_inf_nan=False,
            title="Quantile",
            description="For the estimate: the share of points that a window should hold.",
        ),
    ] = 0.2
    binned: Annotated[
        bool,
        Field(
            title="Start on a grid",
            description="Windows start in the cells that hold points, not at every point; faster.",
        ),
    ] = True
    everyone: Annotated[
        bool,
        Field(title="Every point", description="Points far from every peak join one too."),
    ] = True


class SpectralParameters(Parameters):
    clusters: Clusters = 3
    affinity: Annotated[
        Literal["rbf", "nearest_neighbors"],
        Field(
            title="Similarity",
            description="rbf: exp(−γ·distance²), between all points. nearest_neighbors: 1 for "
            "neighbours, else 0.",
        ),
    ] = "nearest_neighbors"
    gamma: Annotated[
        float,
        Field(
            gt=0,
            le=1e12,
            allow_inf_nan=False,
            title="Gamma (γ)",
            description="Of rbf: the larger, the nearer a point must be to count.",
        ),
    ] = 1.0
    neighbours: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            title="Neighbours",
            description="Of nearest_neighbors: how many each point is joined with.",
        ),
    ] = 10
    assign: Annotated[
        Literal["kmeans", "discretize", "cluster_qr"],
        Field(title="Last step", description="How clusters are read from the eigenvectors."),
    ] = "kmeans"


class BirchParameters(Parameters):
    clusters: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_CLUSTERS,
            title="Clusters (k)",
            description="The small clusters are joined to so many. Empty: they are the clusters.",
        ),
    ] = 3
    threshold: Annotated[
        float,
        Field(
            gt=0,
            le=1e12,
            allow_inf_nan=False,
            title="Threshold",
            description="The radius that a small cluster may have; smaller needs more memory.",
        ),
    ] = 0.5
    branching: Annotated[
        int,
        Field(
            ge=2,
            le=1000,
            title="Branching factor",
            description="How many small clusters a node of the tree holds.",
        ),
    ] = 50


class AffinityParameters(Parameters):
    damping: Annotated[
        float,
        Field(
            ge=0.5,
            lt=1,
            allow_inf_nan=False,
            title="Damping",
            description="How much of the last message is kept; higher where it swings.",
        ),
    ] = 0.5
    preference: Annotated[
        float | None,
        Field(
            ge=-1e15,
            le=0,
            allow_inf_nan=False,
            title="Preference",
            description="How much each point wants to be an exemplar: nearer to 0 makes more "
            "clusters. Empty: the median similarity (−distance²).",
        ),
    ] = None
    iterations: Iterations = 200
    settled: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            title="Settled after",
            description="It has settled when the exemplars stay for so many iterations.",
        ),
    ] = 15
