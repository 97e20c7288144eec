"""Mini-batch K-Means: Sculley 2010."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipelines.clustering.algorithms.base import MOST_POINTS, Algorithm, Call, Estimate
from pipelines.clustering.algorithms.fields import (
    Clusters,
    DrawnStart,
    Iterations,
    Parameters,
    Starts,
)
from pipelines.clustering.algorithms.kmeans import lloyd_bytes


class MiniBatchParameters(Parameters):
    clusters: Clusters = 3
    start: DrawnStart = "k-means++"
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


class MiniBatchKMeans(Algorithm[MiniBatchParameters]):
    name = "minibatch"
    place = 20
    title = "Mini-batch K-Means"
    description = "K-Means that moves its centres by a few points at a time."
    assumes = "Clusters are round, about equally wide and equally large."
    cost = "O(b·k·d) time for each batch of b points, O(n·d) memory."
    fails = "As K-Means does, and it ends a little less exactly."
    parameters = MiniBatchParameters
    most = MOST_POINTS
    makes_centres = True
    labels_new = True

    def call(self, params: MiniBatchParameters, seed: int) -> Call:
        arguments = {
            "n_clusters": params.clusters,
            "init": params.start,
            "n_init": params.starts,
            "max_iter": params.iterations,
            "batch_size": params.batch,
            "random_state": seed,
        }
        return Call("sklearn.cluster", "MiniBatchKMeans", arguments)

    def estimate(self, n: int, d: int, params: MiniBatchParameters) -> Estimate:
        looked_at = min(params.iterations * n / params.batch, 100) * min(params.batch, n) + n
        seconds = 5e-3 * params.starts + looked_at * (params.clusters * (d + 4) * 6e-10 + 5e-8)
        return Estimate(seconds, lloyd_bytes(n, d))
