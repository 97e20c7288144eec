"""A k-d tree whose leaves hold their points side by side, for compiled loops.

Every node parts its points across its widest axis, so that all leaves are full but the last one:
leaf ``i`` holds the sorted points from ``LEAF·i`` on, and no starts need to be kept. Nodes are
numbered as in a heap: 0 is the root, ``2·i + 1`` and ``2·i + 2`` are the children of ``i``. The
lowest level has ``2**depth`` places; those after the last leaf are empty, as nodes above only
them are.

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

LEAF = 32  # points at most: known to the compiler, which keeps rows of distances in vectors


class Leaves(NamedTuple):
    """The tree, without the order of its points.

    Attributes:
        blocks: (leaves, d, LEAF) float64, a leaf's points by axis; infinite past the last point.
        boxes: (2**(depth + 1) − 1, 2, d) float64, each node's least and greatest coordinates;
            ∞ and −∞ of empty ones, which are thus infinitely far from everything.
        n: points.
        depth: levels below the root.
    """

    blocks: np.ndarray
    boxes: np.ndarray
    n: int
    depth: int


def depth_for(n: int) -> int:
    """Levels below the root, so that there are enough leaves."""
    return max(0, -(-n // LEAF) - 1).bit_length()


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
        _split_level(rows, order, LEAF << (depth - level))
    check()
    blocks = np.full((-(-n // LEAF), d, LEAF), np.inf)
    boxes = np.empty((2 * 2**depth - 1, 2, d))
    boxes[:, 0], boxes[:, 1] = np.inf, -np.inf
    _fill(rows, blocks, boxes)
    return Leaves(blocks, boxes, n, depth), order


@njit(cache=True, nogil=True)
def _split_level(rows, order, span):
    """Parts every node of ``span`` points in two; the last one may have fewer."""
    n, d = rows.shape
    for first in range(0, n, span):
        last = min(n, first + span)
        middle = first + span // 2
        if middle >= last:
            continue
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
def _fill(rows, blocks, boxes):
    n, d = rows.shape
    base = len(boxes) // 2
    for leaf in range(len(blocks)):
        first = leaf * LEAF
        for k in range(d):
            least = greatest = rows[first, k]
            for i in range(first, min(n, first + LEAF)):
                value = rows[i, k]
                blocks[leaf, k, i - first] = value
                least = min(least, value)
                greatest = max(greatest, value)
            boxes[base + leaf, 0, k] = least
            boxes[base + leaf, 1, k] = greatest
    for node in range(base - 1, -1, -1):
        for k in range(d):
            boxes[node, 0, k] = min(boxes[2 * node + 1, 0, k], boxes[2 * node + 2, 0, k])
            boxes[node, 1, k] = max(boxes[2 * node + 1, 1, k], boxes[2 * node + 2, 1, k])


@njit(cache=True, nogil=True)
def points_of(tree, leaf):
    """The first of a leaf's sorted points, and the one after its last."""
    return leaf * LEAF, min(tree.n, (leaf + 1) * LEAF)


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
    """Squared distances of point ``i`` of leaf ``a`` to those of leaf ``b``, (LEAF,), in ``row``.

    Returns whether any may be ≤ ``limit``; if not, ``row`` may be unfinished.
    """
    here, there = tree.blocks[a], tree.blocks[b]
    box = tree.boxes[(1 << tree.depth) - 1 + b]
    d = len(here)
    total = 0.0
    for k in range(d):
        apart = max(box[0, k] - here[k, i], here[k, i] - box[1, k])
        if apart > 0:
            total += apart * apart
    if total > limit:
        return False
    k = d % 4  # axes in their order: the odd ones, then four by four
    x = here[0, i]
    for j in range(LEAF):
        apart = x - there[0, j]
        row[j] = apart * apart if k else 0.0
    for odd in range(1, k):
        x = here[odd, i]
        for j in range(LEAF):
            apart = x - there[odd, j]
            row[j] += apart * apart
    while k < d:
        x, y, z, w = here[k, i], here[k + 1, i], here[k + 2, i], here[k + 3, i]
        left = 0
        for j in range(LEAF):
            one, two = x - there[k, j], y - there[k + 1, j]
            three, four = z - there[k + 2, j], w - there[k + 3, j]
            sum_ = row[j] + one * one
            sum_ += two * two
            sum_ += three * three
            sum_ += four * four
            row[j] = sum_
            left += sum_ <= limit
        if left == 0:  # in many dimensions most are too far before the last axis
            return False
        k += 4
    return True
