"""Spectral clustering: Ng, Jordan and Weiss 2001."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from pipelines.clustering.algorithms.base import (
    FLOAT_BYTES,
    Algorithm,
    Call,
    Estimate,
    tree_depth,
)
from pipelines.clustering.algorithms.fields import Clusters, Parameters


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


class Spectral(Algorithm[SpectralParameters]):
    name = "spectral"
    place = 100
    title = "Spectral clustering"
    description = "K-Means in the space of the first eigenvectors of a similarity graph."
    assumes = "Within a cluster points are joined by short steps, whatever its shape."
    cost = "O(n²·d) time and O(n²) memory with rbf; with neighbours about O(n·log n)."
    fails = "The similarity must suit the scale; clusters of different density are cut."
    parameters = SpectralParameters
    most = 20_000

    def call(self, params: SpectralParameters, seed: int) -> Call:
        by_distance = params.affinity == "rbf"
        arguments: dict[str, Any] = {
            "n_clusters": params.clusters,
            "affinity": params.affinity,
            **({"gamma": params.gamma} if by_distance else {"n_neighbors": params.neighbours}),
            "assign_labels": params.assign,
            "random_state": seed,
        }
        return Call("sklearn.cluster", "SpectralClustering", arguments)

    def least(self, params: SpectralParameters) -> int:
        """Of a sparse graph fewer eigenvectors than points are found."""
        return 2 if params.affinity == "rbf" else max(2, params.neighbours, params.clusters + 1)

    def estimate(self, n: int, d: int, params: SpectralParameters) -> Estimate:
        k, neighbours = params.clusters, params.neighbours
        if params.affinity == "rbf":
            seconds = 2e-2 + n * n * (d * 1e-9 + 8e-8) * max(1, k / 8)
            return Estimate(seconds, 4.0 * n * n * FLOAT_BYTES)
        seconds = 2e-2 + n * (2e-5 + neighbours * k * 5e-7) * tree_depth(n) / 10
        return Estimate(seconds, n * (neighbours * 100 + k * 20 * FLOAT_BYTES))
