"""Agglomerative clustering, step by step: every point is a cluster; again and again the two nearest
become one. Distances to the new cluster follow from those to its parts (Lance and Williams 1967,
"A general theory of classificatory sorting strategies"; for ward, Ward 1963).

Merges are rows of a linkage matrix as ``scipy.cluster.hierarchy.linkage`` has them. Where several
pairs are equally near, the results of complete, average and ward depend on which is taken first,
and may then differ from scipy's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pipelines.clustering.labels import renumber
from pipelines.clustering.steps.arrays import (
    as_points,
    changes,
    check_clusters,
    still,
)

Linkage = Literal["ward", "complete", "average", "single"]
LEFT, RIGHT, HEIGHT, SIZE = range(4)  # columns of a linkage matrix


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The clusters after one more merge. The arrays cannot be written to.

    Attributes:
        number: merges made; 0 at the start.
        clusters: clusters that there are now, n − number.
        merges: (number, 4) float64: for each merge the two nodes that it joins, the smaller number
            first, its height, and the points in it. Nodes 0 … n − 1 are the points; merge t makes
            node n + t.
        labels: (n,) int32: the cluster of each point, under the index of one of its points. Of two
            that merge, the larger keeps its number, so that few points change.
    """

    number: int
    clusters: int
    merges: np.ndarray
    labels: np.ndarray

    def to_json(self, before: Step | None = None, decimals: int = 6) -> dict[str, Any]:
        """What has changed since ``before``, an earlier step that the page has, or since nothing.

        Returns:
            ``merges`` made since, ``[node, node, height, size]``, heights rounded to ``decimals``;
            ``labels`` as :func:`.arrays.changes`, at the start since each point's own index.
        """
        new = self.merges[0 if before is None else len(before.merges) :]
        shown = np.arange(len(self.labels)) if before is None else before.labels
        return {
            "number": self.number,
            "clusters": self.clusters,
            "merges": [
                [int(left), int(right), round(height, decimals), int(size)]
                for left, right, height, size in new.tolist()
            ],
            "labels": changes(self.labels, shown, 0),
        }


# Distance of another cluster k to the union of i and j, from the distances and sizes of the three.
# (d_ki, d_kj, d_ij, n_i, n_j, n_k) -> d_k(ij)
Update = Callable[[np.ndarray, np.ndarray, float, int, int, np.ndarray], np.ndarray]


def _single(d_ki, d_kj, d_ij, n_i, n_j, n_k):
    return np.minimum(d_ki, d_kj)  # = (d_ki + d_kj − |d_ki − d_kj|) / 2


def _complete(d_ki, d_kj, d_ij, n_i, n_j, n_k):
    return np.maximum(d_ki, d_kj)


def _average(d_ki, d_kj, d_ij, n_i, n_j, n_k):
    return (n_i * d_ki + n_j * d_kj) / (n_i + n_j)


def _ward(d_ki, d_kj, d_ij, n_i, n_j, n_k):
    squared = (n_i + n_k) * d_ki**2 + (n_j + n_k) * d_kj**2 - n_k * d_ij**2
    return np.sqrt(np.maximum(squared, 0) / (n_i + n_j + n_k))  # rounding can go below 0


UPDATES: dict[str, Update] = {
    "ward": _ward,
    "complete": _complete,
    "average": _average,
    "single": _single,
}


def steps(X: np.ndarray, linkage: Linkage = "ward") -> Iterator[Step]:
    """From n clusters of one point to one of n.

    Args:
        X: (n, d) float64, not changed.
        linkage: how far apart two clusters are: ``single``, their nearest points; ``complete``,
            their farthest ones; ``average``, the mean over all pairs; ``ward``, √2 times the root
            of what Σ‖x − mean‖² would rise by.

    Yields:
        A start, then n − 1 merges. About O(n) time a step, at worst O(n²); O(n²) memory.

    Raises:
        BadRequest: values that are not finite.
    """
    from scipy.spatial.distance import cdist

    X = as_points(X)
    update = UPDATES[linkage]
    points = len(X)
    distances = cdist(X, X)
    np.fill_diagonal(distances, np.inf)
    # Row r holds the cluster whose label is r. A row whose cluster has gone into another is at ∞.
    labels = np.arange(points, dtype=np.int32)
    node = np.arange(points)  # its number in the tree
    size = np.ones(points, dtype=np.int64)
    nearest = distances.argmin(axis=1)
    gap = distances[np.arange(points), nearest]  # distance to the nearest
    merges = np.empty((points - 1, 4))

    def step(made: int) -> Step:
        so_far = merges[:made]  # rows that are written once, so all steps can share them
        so_far.setflags(write=False)
        return Step(made, points - made, so_far, still(labels))

    yield step(0)

    for made in range(points - 1):
        # The two nearest clusters …
        i = int(gap.argmin())
        j = int(nearest[i])
        height = gap[i]
        if size[j] > size[i]:
            i, j = j, i
        # … become one, in row i.
        merges[made] = *sorted((node[i], node[j])), height, size[i] + size[j]
        to_union = update(distances[i], distances[j], height, size[i], size[j], size)
        to_union[[i, j]] = np.inf
        distances[i] = distances[:, i] = to_union
        distances[j] = distances[:, j] = gap[j] = np.inf
        node[i] = points + made
        size[i] += size[j]
        labels[labels == j] = i
        # Only those whose nearest was one of the two may have another nearest now: with each of
        # the four linkages a union is no nearer to any cluster than the nearer of its parts.
        lost = ((nearest == i) | (nearest == j)) & np.isfinite(gap)
        kept = lost & (to_union <= gap)
        nearest[kept] = i
        again = np.append(np.flatnonzero(lost & ~kept), i)
        nearest[again] = distances[again].argmin(axis=1)
        gap[again] = distances[again, nearest[again]]
        yield step(made + 1)


def cut(merges: np.ndarray, height: float) -> np.ndarray:
    """The clusters under a line across the dendrogram: those merged at this height or below.

    Args:
        merges: (n − 1, 4), all merges, as the last step has them, or ``linkage`` of scipy.
        height: in units of X; +∞ for one cluster.

    Returns:
        (n,) int32, numbered in the order of first appearance. O(n).
    """
    # Rounding may let a merge end up under one it contains; none is made before its parts.
    heights = np.maximum.accumulate(merges[:, HEIGHT])
    return _after(merges, int(np.searchsorted(heights, height, side="right")))


def cut_into(merges: np.ndarray, clusters: int) -> np.ndarray:
    """The clusters when there are so many: all merges but the last ``clusters`` − 1.

    Args:
        merges: as for :func:`cut`.
        clusters: 1 … n.

    Returns:
        (n,) int32, numbered in the order of first appearance. O(n).

    Raises:
        BadRequest: fewer than 1 or more than n clusters.
    """
    points = len(merges) + 1
    check_clusters(clusters, points)
    return _after(merges, points - clusters)


def _after(merges: np.ndarray, made: int) -> np.ndarray:
    """Labels of the n points after so many merges."""
    points = len(merges) + 1
    top = np.arange(points + made)  # the node that each node belongs to in the end
    for merge in reversed(range(made)):  # from the top down, a parent knows before its children
        children = merges[merge, [LEFT, RIGHT]].astype(np.int64)
        top[children] = top[points + merge]
    return renumber(top[:points])
