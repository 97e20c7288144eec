"""Agglomerative clustering: Ward 1963, and other linkages."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from pipelines.clustering.algorithms.base import FLOAT_BYTES, Algorithm, Call, Estimate
from pipelines.clustering.algorithms.fields import MAX_DISTANCE, Clusters, Linkage, Parameters


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
            title="Cut height",
            description="Cuts the dendrogram here instead of at k clusters. Empty: at k.",
        ),
    ] = None

    @property
    def k(self) -> int | None:
        return self.clusters if self.height is None else None


class Agglomerative(Algorithm[AgglomerativeParameters]):
    name = "agglomerative"
    place = 70
    title = "Agglomerative clustering"
    description = "Merges the two nearest clusters again and again: a dendrogram."
    assumes = "What is near belongs together at every scale; the linkage says what near is."
    cost = "O(n²·d) time; O(n²) memory, with single linkage O(n·d)."
    fails = (
        "A merge is never undone; single linkage chains clusters along a bridge of points, ward "
        "and complete cut long ones."
    )
    parameters = AgglomerativeParameters
    most = 30_000

    def call(self, params: AgglomerativeParameters, seed: int) -> Call:
        arguments = {
            "n_clusters": params.k,
            "distance_threshold": params.height,
            "linkage": params.linkage,
            "compute_full_tree": True,
            "compute_distances": True,
        }
        return Call("sklearn.cluster", "AgglomerativeClustering", arguments)

    def least(self, params: AgglomerativeParameters) -> int:
        return 2

    def estimate(self, n: int, d: int, params: AgglomerativeParameters) -> Estimate:
        """Single linkage makes a spanning tree without the table of distances, of which scipy
        makes a copy to work on."""
        others = n * (100 + FLOAT_BYTES * d)
        if params.linkage == "single":
            return Estimate(1e-2 + n * n * (d + 2) * 4e-10, others)
        return Estimate(1e-2 + n * n * (d * 1e-9 + 3e-8), others + n * n * FLOAT_BYTES)

    def details(self, estimator: Any, X: np.ndarray) -> dict[str, Any]:
        return {"merges": estimator.children_, "heights": estimator.distances_}
