"""Settings of algorithms that join points: by merging, by a graph, by messages."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.clustering.algorithms.fields import (
    MAX_CLUSTERS,
    MAX_DISTANCE,
    Clusters,
    Iterations,
    Linkage,
    Parameters,
)


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
            le=MAX_DISTANCE,
            allow_inf_nan=False,
            title="Cut height",
            description="Cuts the dendrogram here instead of at k clusters. Empty: at k.",
        ),
    ] = None

    @property
    def k(self) -> int | None:
        return self.clusters if self.height is None else None


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
            le=MAX_DISTANCE,
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
            description="How much of the last message is kept; higher where it swings. "
            "scikit-learn's default is 0.5; 0.9 settles on all the made data.",
        ),
    ] = 0.9
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
