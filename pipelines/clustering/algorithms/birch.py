"""BIRCH: Zhang, Ramakrishnan and Livny 1996."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from pipelines.clustering.algorithms.base import (
    FLOAT_BYTES,
    Algorithm,
    Call,
    Estimate,
    tree_depth,
)
from pipelines.clustering.algorithms.fields import MAX_CLUSTERS, MAX_DISTANCE, Parameters


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


class Birch(Algorithm[BirchParameters]):
    name = "birch"
    place = 110
    title = "BIRCH"
    description = "Gathers points into small clusters in one pass, then joins these."
    assumes = "Clusters are round, and the threshold is well below their width."
    cost = "O(n·d·log n) time; memory grows with the number of small clusters."
    fails = (
        "A small threshold in many dimensions makes every point a small cluster; the order of the "
        "points matters."
    )
    parameters = BirchParameters
    most = 2_000_000
    labels_new = True

    def call(self, params: BirchParameters, seed: int) -> Call:
        arguments = {
            "n_clusters": params.clusters,
            "threshold": params.threshold,
            "branching_factor": params.branching,
        }
        return Call("sklearn.cluster", "Birch", arguments)

    def least(self, params: BirchParameters) -> int:
        return 2 if params.clusters else 1

    def estimate(self, n: int, d: int, params: BirchParameters) -> Estimate:
        """Every tenth point its own small cluster; a small threshold makes more."""
        seconds = 1e-2 + n * (1.2e-5 + d * params.branching * 5e-8) * tree_depth(n) / 10
        return Estimate(seconds, n * (FLOAT_BYTES * d + 100) + n / 10 * (d * 40 + 500))

    def suggest_parameters(self, clusters: int, eps: float | None) -> BirchParameters:
        """Its small clusters are to be small."""
        given = {} if eps is None else {"threshold": eps / 2}
        return BirchParameters(clusters=clusters, **given)

    def details(self, estimator: Any, X: np.ndarray) -> dict[str, Any]:
        centres = estimator.subcluster_centers_
        return {"small_centres": centres, "model": {"small_clusters": len(centres)}}
