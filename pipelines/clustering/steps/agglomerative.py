"""Agglomerative clustering, step by step: every point is a cluster; again and again the two nearest
become one (Ward 1963; Lance and Williams 1967, "A general theory of classificatory sorting
strategies").

Merges are those of ``scipy.cluster.hierarchy.linkage``, which scikit-learn takes them from too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pipelines.clustering.steps.arrays import as_points, changes, still

Linkage = Literal["ward", "complete", "average", "single"]


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


def steps(X: np.ndarray, linkage: Linkage = "ward") -> Iterator[Step]:
    """From n clusters of one point to one of n.

    Args:
        X: (n, d) float64, not changed.
        linkage: how far apart two clusters are: ``single``, their nearest points; ``complete``,
            their farthest ones; ``average``, the mean over all pairs; ``ward``, √2 times the root
            of what Σ‖x − mean‖² would rise by.

    Yields:
        A start, then n − 1 merges. O(n) time a step, O(n²) before the first; O(n²) memory.

    Raises:
        BadRequest: values that are not finite.
    """
    from scipy.cluster import hierarchy

    X = as_points(X)
    points = len(X)
    merges = hierarchy.linkage(X, linkage) if points > 1 else np.empty((0, 4))
    merges.setflags(write=False)  # all steps share its rows
    labels = np.arange(points, dtype=np.int32)
    label_of = list(range(points))  # of each node
    size_of = [1] * points
    yield Step(0, points, merges[:0], still(labels))
    for made, (left, right, _, size) in enumerate(merges.tolist(), start=1):
        nodes = sorted((int(left), int(right)), key=lambda node: (-size_of[node], label_of[node]))
        kept, gone = (label_of[node] for node in nodes)
        labels[labels == gone] = kept
        label_of.append(kept)
        size_of.append(int(size))
        yield Step(made, points - made, merges[:made], still(labels))
