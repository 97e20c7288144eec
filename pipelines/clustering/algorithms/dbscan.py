"""DBSCAN: Ester, Kriegel, Sander and Xu 1996."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.clustering.algorithms.base import (
    FLOAT_BYTES,
    MOST_POINTS,
    Algorithm,
    Call,
    Estimate,
    tree_depth,
)
from pipelines.clustering.algorithms.fields import Eps, MinSamples, Parameters

DBSCAN_FEW = 2000
"""Up to so many points DBSCAN is scikit-learn's: their neighbourhoods take at most 32 MB, and it is
done before our own, which needs no more memory for a million, has been loaded (1.6 s)."""


class DBSCANParameters(Parameters):
    eps: Eps = 0.5
    min_samples: MinSamples = 5


class DBSCAN(Algorithm[DBSCANParameters]):
    name = "dbscan"
    place = 40
    title = "DBSCAN"
    description = "Joins core points within a radius; what no core point reaches is noise."
    assumes = "Clusters are dense everywhere alike, of any shape, with emptier space between."
    cost = "O(n·log n) time in few dimensions, O(n²·d) in many; O(n·d) memory, whatever eps."
    fails = (
        "No one radius fits clusters of different density; in many dimensions all points are "
        "about equally far."
    )
    parameters = DBSCANParameters
    most = MOST_POINTS
    makes_noise = True
    own_compared = "scikit-learn finds the same, in more time and memory."
    all_noise = (
        "Every point is noise: raise the radius (eps), or lower the neighbours (min_samples)."
    )
    one_cluster = "All clusters have grown into one: lower the radius (eps)."

    def call(self, params: DBSCANParameters, seed: int) -> Call:
        arguments = {"eps": params.eps, "min_samples": params.min_samples}
        return Call("sklearn.cluster", "DBSCAN", arguments)

    def estimate(self, n: int, d: int, params: DBSCANParameters) -> Estimate:
        """In many dimensions a tree helps where there are clusters; without, it takes ten times
        this. The memory is what cannot be exceeded, whatever eps; of few points all neighbourhoods
        at worst."""
        seconds = 5e-3 + n * tree_depth(n) * d * 2e-8 + (n * n * d * 5e-11 if d >= 8 else 0)
        if n <= DBSCAN_FEW:
            return Estimate(seconds, n * n * FLOAT_BYTES + n * d * FLOAT_BYTES)
        return Estimate(seconds, n * (2.2 * d * FLOAT_BYTES + 40) + 2**20)

    def suggest_parameters(self, clusters: int, eps: float | None) -> DBSCANParameters:
        return DBSCANParameters() if eps is None else DBSCANParameters(eps=eps)

    def details(self, estimator: Any, X: np.ndarray) -> dict[str, Any]:
        return {"core": estimator.core_sample_indices_}

    def own_call(self, params: DBSCANParameters, points: int) -> Call | None:
        """Our own DBSCAN, which gives scikit-learn's labels.

        It takes a hundredth to a third of scikit-learn's time where there are clusters, and in up
        to 15 dimensions also where there are none. From 16 dimensions on scikit-learn compares all
        pairs by products of matrices; where nothing is clustered that is up to 1.9 times as fast in
        16 and 2.5 times in 24 and 32 (20,000 points on one core). It is not taken there: it rounds,
        so that of pairs exactly eps apart it joins half, where trees join five of six; it keeps all
        neighbourhoods, however many they are; and it neither tells how far it is nor stops when
        told.
        """
        if points <= DBSCAN_FEW:
            return None
        arguments = {"eps": params.eps, "min_samples": params.min_samples}
        return Call("pipelines.clustering.dbscan.dbscan", "dbscan", arguments)

    def own_details(self, found: Any) -> dict[str, Any]:
        return {"core": np.flatnonzero(found.core)}
