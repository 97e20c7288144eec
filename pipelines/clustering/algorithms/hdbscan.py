"""HDBSCAN: Campello, Moulavi and Sander 2013."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from pipelines.clustering.algorithms.base import (
    FLOAT_BYTES,
    MOST_POINTS,
    Algorithm,
    Call,
    Code,
    Estimate,
    tree_depth,
)
from pipelines.clustering.algorithms.fields import MAX_DISTANCE, Parameters

HDBSCAN_FEW = 2000
"""Up to so many points HDBSCAN is scikit-learn's, which looks at all pairs: it is done before our
own has been loaded."""

# What is done here is the end of scikit-learn's own work, which starts from the same tree.
_MERGE = """\
# Clusters that part at less than this distance are joined again. scikit-learn 1.9 fails at that
# with NumPy 2.4 (its issue 33219); where it does not, cluster_selection_epsilon does the same.
merge_below = {merge_below}
tree = _condense_tree(model._single_linkage_tree_, {least})
children = tree["child"].tolist()
above = dict(zip(children, tree["parent"].tolist()))
parted = dict(zip(children, (1 / tree["value"]).tolist()))
sizes = dict(zip(children, tree["cluster_size"].tolist()))
root = len(points)
chosen = set()
for label in range(labels.max() + 1):
    members = np.flatnonzero(labels == label)
    cluster = above[members[0]]
    while cluster != root and sizes[cluster] != len(members):
        cluster = above[cluster]
    if cluster != root and parted[cluster] < merge_below:
        while above[cluster] != root:
            cluster = above[cluster]
            if parted[cluster] > merge_below:
                break
{whole}    chosen.add(cluster)
for point in range(len(points)):
    cluster = above[point]
    while cluster != root and cluster not in chosen:
        cluster = above[cluster]
    inside = cluster != root or (chosen == {{root}} and parted[point] <= merge_below)
    labels[point] = cluster if inside else -1
"""
_WHOLE = """\
        else:
            cluster = root
"""


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
            le=MAX_DISTANCE,
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

    @property
    def neighbours(self) -> int:
        return self.min_samples or self.min_cluster_size


class HDBSCAN(Algorithm[HDBSCANParameters]):
    name = "hdbscan"
    place = 50
    title = "HDBSCAN"
    description = "DBSCAN at all radii at once; keeps the clusters that last longest."
    assumes = "Clusters are denser than what surrounds them, each in its own way."
    cost = "O(n·log n) time in few dimensions, O(n²·d) in many; O(n·(d + min_samples)) memory."
    fails = "Groups smaller than the smallest cluster are lost; much may become noise."
    parameters = HDBSCANParameters
    most = MOST_POINTS
    makes_noise = True
    own_compared = "scikit-learn finds the same, in more time, but where many distances are equal."
    all_noise = "Every point is noise: lower the smallest cluster, or the neighbours."

    def call(self, params: HDBSCANParameters, seed: int) -> Call:
        arguments = {
            "min_cluster_size": params.min_cluster_size,
            "min_samples": params.min_samples,
            "cluster_selection_epsilon": params.merge_below,
            "cluster_selection_method": params.selection,
            "allow_single_cluster": params.single,
            "copy": True,  # else it may sort the points in place
        }
        return Call("sklearn.cluster", "HDBSCAN", arguments)

    def least(self, params: HDBSCANParameters) -> int:
        return max(2, params.neighbours)

    def estimate(self, n: int, d: int, params: HDBSCANParameters) -> Estimate:
        """In many dimensions a tree helps where there are clusters; without, it takes ten times
        this. The memory is for the neighbours of each point."""
        log = tree_depth(n)
        if n <= HDBSCAN_FEW:
            seconds = 1e-2 + n * n * (d + 2) * 7e-10 + n * log * 3e-7
            size = n * (FLOAT_BYTES * d + 30 * FLOAT_BYTES + params.neighbours * 16)
            return Estimate(seconds, size)
        steps = n * log * (d * 4e-8 + params.neighbours * 1e-8)
        size = n * (2.2 * d * FLOAT_BYTES + 4 * params.neighbours + 130) + 2**20
        return Estimate(1e-2 + steps + (n * n * d * 5e-11 if d >= 8 else 0), size)

    def details(self, estimator: Any, X: np.ndarray) -> dict[str, Any]:
        return {"probabilities": estimator.probabilities_}

    def own_call(self, params: HDBSCANParameters, points: int) -> Call | None:
        """Our own HDBSCAN; its module says why there is one.

        Few points go there too when there is a distance below which nothing is parted: scikit-learn
        1.9 fails on that with the NumPy of today (TypeError in ``traverse_upwards``).
        """
        if points <= HDBSCAN_FEW and not params.merge_below:
            return None
        arguments = {
            "min_cluster_size": params.min_cluster_size,
            "min_samples": params.neighbours,
            "leaf": params.selection == "leaf",
            "merge_below": params.merge_below,
            "single": params.single,
        }
        return Call("pipelines.clustering.dbscan.hdbscan", "hdbscan", arguments)

    def own_details(self, found: Any) -> dict[str, Any]:
        return {"probabilities": found.probabilities}

    def change_code(self, code: Code, params: HDBSCANParameters, seed: int, scaled: bool) -> None:
        if params.merge_below:
            code.imports.append("from sklearn.cluster._hdbscan._tree import _condense_tree")
            del code.arguments["cluster_selection_epsilon"]
            code.after = _MERGE.format(
                merge_below=params.merge_below,
                least=params.min_cluster_size,
                whole=_WHOLE if params.single else "",
            )
