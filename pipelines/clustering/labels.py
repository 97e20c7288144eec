"""Labels of points: int32 (n,), −1 is noise, clusters numbered 0… as their first points come."""

from __future__ import annotations

import numpy as np

NOISE = -1


def renumber(labels: np.ndarray) -> np.ndarray:
    """The same clustering with clusters numbered 0… in order of first appearance of a point.

    Args:
        labels: integers (n,); all negative ones are noise.

    Returns:
        int32 (n,), a new array; noise is −1.
    """
    return _renumbered(labels)[0]


def appearing(labels: np.ndarray, count: int) -> np.ndarray:
    """What the clusters were called before :func:`renumber`: entry ``new`` is the old number.

    Clusters of ``count`` that have no point come last, in their old order; with this, rows of
    centres and columns of memberships follow the labels.

    Args:
        labels: integers (n,), each below ``count``; negative ones are noise.
        count: how many clusters there are, with and without points.

    Returns:
        int64 (count,), a permutation.
    """
    seen = _renumbered(labels)[1]
    rest = np.setdiff1d(np.arange(count), seen)
    return np.concatenate([seen, rest]).astype(np.int64)


def count_clusters(labels: np.ndarray) -> int:
    """How many clusters have a point; noise is none."""
    return len(np.unique(labels[labels >= 0]))


def _renumbered(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The new labels, and the old number of each new cluster."""
    labels = np.asarray(labels)
    renumbered = np.full(labels.shape, NOISE, dtype=np.int32)
    inside = labels >= 0
    old, first, inverse = np.unique(labels[inside], return_index=True, return_inverse=True)
    order = np.argsort(first)  # old clusters as they appear
    rank = np.empty(len(old), dtype=np.int32)
    rank[order] = np.arange(len(old), dtype=np.int32)
    renumbered[inside] = rank[inverse]
    return renumbered, old[order]
