"""A balanced k-d tree whose leaves hold their points side by side, for compiled loops.

Every node halves its points at the median of its widest axis, so that leaf ``i`` of ``2**depth``
holds the sorted points ``i·n >> depth … (i+1)·n >> depth`` and no starts need to be kept. Nodes
are numbered as in a heap: 0 is the root, ``2·i + 1`` and ``2·i + 2`` are the children of ``i``.

A squared distance is the sum of ``(x − y)²`` over the axes in their order, as scikit-learn's trees
compute it (``sklearn/metrics/_dist_metrics.pxd.tp``, ``euclidean_rdist``). Rounding never turns
an order round, so :func:`gap` and :func:`reach`, which sum in the same way, bound the computed
squared distances of two boxes' points, not only the true ones: nothing is cut off by rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit

LEAF = 32  # points at most: a row of distances is eight vectors of four


class Leaves(NamedTuple):
    """The tree, without the order of its points.

    Attributes:
        blocks: (2**depth, d, width) float64, a leaf's points by axis; infinite past its last one.
        boxes: (2**(depth + 1) − 1, 2, d) float64, each node's least and greatest coordinates.
        n: points.
        depth: levels below the root.
    """

    blocks: np.ndarray
    boxes: np.ndarray
    n: int
    depth: int


def depth_for(n: int) -> int:
    """Levels below the root that leave at most ``LEAF`` points in a leaf."""
    return max(0, -(-n // LEAF) - 1).bit_length()


def tree_bytes(n: int, d: int) -> int:
    """Bytes of :class:`Leaves`, its order, and the sorted copy from which it is filled."""
    leaves = 2 ** depth_for(n)
    blocks = leaves * -(-n // leaves) * d * 8
    return blocks + n * d * 8 + 2 * leaves * 2 * d * 8 + n * 4


def grow(X: np.ndarray, check: Callable[[], None]) -> tuple[Leaves, np.ndarray]:
    """The tree over ``X``, (n, d) float64, which is left as it is, and its order.

    Args:
        check: called between levels; what it raises ends the work.

    Returns:
        The tree, and (n,) int32: which row of ``X`` each sorted point is. O(n·d·log n).
    """
    n, d = X.shape
    depth = depth_for(n)
    rows = X.copy()
    order = np.arange(n, dtype=np.int32)
    for level in range(depth):
        check()
        _split_level(rows, order, level)
    leaves = 2**depth
    blocks = np.full((leaves, d, -(-n // leaves)), np.inf)
    boxes = np.empty((2 * leaves - 1, 2, d))
    check()
    _fill(rows, blocks, boxes, depth)
    return Leaves(blocks, boxes, n, depth), order


@njit(cache=True, nogil=True)
def _split_level(rows, order, level):
    n, d = rows.shape
    for node in range(1 << level):
        first = (node * n) >> level
        last = ((node + 1) * n) >> level
        middle = ((2 * node + 1) * n) >> (level + 1)
        axis = 0
        widest = -1.0
        for k in range(d):
            least = greatest = rows[first, k]
            for i in range(first + 1, last):
                least = min(least, rows[i, k])
                greatest = max(greatest, rows[i, k])
            if greatest - least > widest:
                widest = greatest - least
                axis = k
        if widest > 0:
            _select(rows, order, first, last - 1, middle, axis)


@njit(cache=True, nogil=True)
def _select(rows, order, low, high, middle, axis):
    """Moves what belongs before ``middle`` there: Hoare's FIND (Algorithm 65, 1961)."""
    d = rows.shape[1]
    while low < high:
        a, b, c = rows[low, axis], rows[(low + high) // 2, axis], rows[high, axis]
        pivot = max(min(a, b), min(max(a, b), c))  # their median
        i, j = low, high
        while i <= j:
            while rows[i, axis] < pivot:
                i += 1
            while rows[j, axis] > pivot:
                j -= 1
            if i <= j:
                for k in range(d):
                    rows[i, k], rows[j, k] = rows[j, k], rows[i, k]
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            return


@njit(cache=True, nogil=True)
def _fill(rows, blocks, boxes, depth):
    n, d = rows.shape
    leaves = 1 << depth
    for leaf in range(leaves):
        first = (leaf * n) >> depth
        size = (((leaf + 1) * n) >> depth) - first
        for k in range(d):
            least = greatest = rows[first, k]
            for j in range(size):
                value = rows[first + j, k]
                blocks[leaf, k, j] = value
                least = min(least, value)
                greatest = max(greatest, value)
            boxes[leaves - 1 + leaf, 0, k] = least
            boxes[leaves - 1 + leaf, 1, k] = greatest
    for node in range(leaves - 2, -1, -1):
        for k in range(d):
            boxes[node, 0, k] = min(boxes[2 * node + 1, 0, k], boxes[2 * node + 2, 0, k])
            boxes[node, 1, k] = max(boxes[2 * node + 1, 1, k], boxes[2 * node + 2, 1, k])


@njit(cache=True, nogil=True)
def gap(boxes, a, b):
    """No squared distance of a point in node ``a`` to one in node ``b`` is less."""
    total = 0.0
    for k in range(boxes.shape[2]):
        apart = max(boxes[b, 0, k] - boxes[a, 1, k], boxes[a, 0, k] - boxes[b, 1, k])
        if apart > 0:
            total += apart * apart
    return total


@njit(cache=True, nogil=True)
def reach(boxes, a, b):
    """No squared distance of a point in node ``a`` to one in node ``b`` is more."""
    total = 0.0
    for k in range(boxes.shape[2]):
        apart = max(boxes[b, 1, k] - boxes[a, 0, k], boxes[a, 1, k] - boxes[b, 0, k])
        total += apart * apart
    return total


@njit(cache=True, nogil=True)
def near(tree, a, i, b, limit, row):
    """Squared distances of point ``i`` of leaf ``a`` to those of leaf ``b``, in ``row``.

    Returns whether any may be ≤ ``limit``; if not, ``row`` may be unfinished.
    """
    blocks = tree.blocks
    d, width = blocks.shape[1], blocks.shape[2]
    box = (1 << tree.depth) - 1 + b
    total = 0.0
    for k in range(d):
        x = blocks[a, k, i]
        apart = max(tree.boxes[box, 0, k] - x, x - tree.boxes[box, 1, k])
        if apart > 0:
            total += apart * apart
    if total > limit:
        return False
    for j in range(width):
        row[j] = 0.0
    for k in range(d):
        x = blocks[a, k, i]
        for j in range(width):
            apart = x - blocks[b, k, j]
            row[j] += apart * apart
        if k % 8 == 7:  # in many dimensions most are too far before the last axis
            left = 0
            for j in range(width):
                left += row[j] <= limit
            if left == 0:
                return False
    return True
