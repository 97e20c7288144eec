"""What every clustering here has in common: labels, with −1 for noise."""

from __future__ import annotations

import numpy as np

NOISE = -1


def renumber(labels: np.ndarray) -> np.ndarray:
    """The same clusters, numbered 0, 1, … in the order in which each first has a point.

    Args:
        labels: (n,) of any integer dtype; negative ones are noise. Not changed.

    Returns:
        (n,) int32; noise is −1. O(n log n).
    """
    labels = np.asarray(labels)
    values, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    number = np.full(len(values), NOISE, dtype=np.int32)
    clusters = np.flatnonzero(values >= 0)
    number[clusters[np.argsort(first[clusters])]] = np.arange(len(clusters), dtype=np.int32)
    return number[inverse]
