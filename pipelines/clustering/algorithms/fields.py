"""What the settings of several clustering algorithms have in common: each is described once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.clustering.data.scaling import Scaled
from pipelines.core.engine import StrictModel

MAX_CLUSTERS = 1000
MAX_STARTS = 100
MAX_ITERATIONS = 10_000
MAX_DISTANCE = 1e150
"""Its square is still a number; times in nanoseconds lie 1e18 apart."""

Covariance = Literal["full", "tied", "diag", "spherical"]
COVARIANCES: tuple[Covariance, ...] = ("full", "tied", "diag", "spherical")
Linkage = Literal["ward", "complete", "average", "single"]
Coordinate = float  # which no model takes that is not finite

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
DrawnStart = Annotated[
    Literal["k-means++", "random"],
    Field(
        title="Starting centres",
        description="k-means++: centres far apart. Random: any points.",
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
        title="Tolerance",
        description="It has settled when one iteration changes less than this.",
    ),
]
Eps = Annotated[
    float,
    Field(
        gt=0,
        le=MAX_DISTANCE,
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
        description="A core point has so many points within the radius, itself included.",
    ),
]


class Parameters(StrictModel):
    """Settings of one algorithm; a field's title and description are the page's label and help."""

    @property
    def k(self) -> int | None:
        """How many clusters are asked for; None where the algorithm finds that itself."""
        return getattr(self, "clusters", None)

    def in_scale(self, scaled: Scaled, columns: int) -> Parameters:
        """Parameters for points that have been scaled: own centres are asked for in the data's
        units, the fit needs them where the points are.

        Args:
            columns: of the points.
        """
        return self
