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
    return _renumber(labels)[0]


def order_of_appearance(labels: np.ndarray, count: int) -> np.ndarray:
    """What the clusters were called before :func:`renumber`: entry ``new`` is the old number.

    Clusters of ``count`` that have no point come last, in their old order; with this, rows of
    centres and columns of memberships follow the labels.

    Args:
        labels: integers (n,), each below ``count``; negative ones are noise.
        count: how many clusters there are, with and without points.

    Returns:
        int64 (count,), a permutation.
    """
    seen = _renumber(labels)[1]
    rest = np.setdiff1d(np.arange(count), seen)
    return np.concatenate([seen, rest]).astype(np.int64)


def count_clusters(labels: np.ndarray) -> int:
    """How many clusters have a point; noise is none."""
    return len(_renumber(labels)[1])


def _renumber(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The new labels, and the old number of each new cluster."""
    labels = np.asarray(labels)
    renumbered = np.full(labels.shape, NOISE, dtype=np.int32)
    inside = labels >= 0
    kept = labels[inside]
    if not kept.size:
        return renumbered, kept
    named, base = kept, np.arange(kept.max() + 1 if kept.max() < kept.size else 0)
    if not base.size:  # numbers with wide gaps
        base, named = np.unique(kept, return_inverse=True)
    # Where each first is, without sorting: of several values for a place the last one stays.
    first = np.full(len(base), kept.size)
    first[named[::-1]] = np.arange(kept.size)[::-1]
    order = np.argsort(first, kind="stable")[: np.count_nonzero(first < kept.size)]
    rank = np.empty(len(base), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    renumbered[inside] = rank[named]
    return renumbered, base[order]
