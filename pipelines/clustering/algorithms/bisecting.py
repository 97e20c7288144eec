"""Bisecting K-Means: Steinbach, Karypis and Kumar 2000."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.clustering.algorithms.base import (
    MOST_POINTS,
    Algorithm,
    Call,
    Estimate,
    tree_depth,
)
from pipelines.clustering.algorithms.fields import (
    Clusters,
    DrawnStart,
    Iterations,
    Parameters,
    Starts,
    Tolerance,
)
from pipelines.clustering.algorithms.kmeans import ROUNDS, lloyd_bytes


class BisectingParameters(Parameters):
    clusters: Clusters = 3
    start: DrawnStart = "k-means++"
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


class BisectingKMeans(Algorithm[BisectingParameters]):
    name = "bisecting"
    place = 30
    title = "Bisecting K-Means"
    description = "Splits one cluster in two by K-Means until there are k."
    assumes = "Clusters are round, and the large groups part into the small ones."
    cost = "O(n·d·log k) time for each iteration, O(n·d) memory."
    fails = "An early split through a true cluster is never mended."
    parameters = BisectingParameters
    most = MOST_POINTS
    makes_centres = True
    labels_new = True

    def call(self, params: BisectingParameters, seed: int) -> Call:
        arguments = {
            "n_clusters": params.clusters,
            "init": params.start,
            "n_init": params.starts,
            "max_iter": params.iterations,
            "tol": params.tolerance,
            "bisecting_strategy": params.split,
            "random_state": seed,
        }
        return Call("sklearn.cluster", "BisectingKMeans", arguments)

    def estimate(self, n: int, d: int, params: BisectingParameters) -> Estimate:
        rounds = min(ROUNDS, params.iterations) * tree_depth(params.clusters)
        seconds = params.clusters * 2e-3 + params.starts * rounds * n * ((d + 4) * 1.2e-9 + 4e-9)
        return Estimate(seconds, lloyd_bytes(n, d))
