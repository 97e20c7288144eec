"""The nearest neighbours of every point, leaf by leaf of one k-d tree.

The points of a leaf are near one another, so they go through the tree together: nearest nodes
first, until a node is farther than what any of them still has to find.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pipelines.clustering.dbscan.kd_tree import LEAF, gap, near, points_of


@njit(cache=True, nogil=True)
def find_nearest(tree, first, last, neighbours, cores):
    """Fills rows of both, by place in the tree, for the points of leaves ``first … last``.

    Args:
        neighbours: (n, k) int32, the k nearest points of each, itself among them unless k others
            are where it is; in no order.
        cores: (n,) float64, the squared distance to the k-th.
    """
    k = neighbours.shape[1]
    depth = tree.depth
    base = (1 << depth) - 1
    row = np.empty(LEAF)
    far = np.empty((LEAF, k))
    nodes = np.empty(depth + 2, np.int64)
    gaps = np.empty(depth + 2)
    for a in range(first, last):
        start, stop = points_of(tree, a)
        far[:] = np.inf
        _offer(tree, a, a, row, far, neighbours)
        worst = far[: stop - start, 0].max()
        nodes[0], gaps[0] = 0, 0.0
        top = 1
        while top:
            top -= 1
            node = nodes[top]
            if gaps[top] >= worst:
                continue
            if node >= base:
                if node != base + a:
                    _offer(tree, a, node - base, row, far, neighbours)
                    worst = far[: stop - start, 0].max()
                continue
            left, right = 2 * node + 1, 2 * node + 2
            to_left = gap(tree.boxes, base + a, left)
            to_right = gap(tree.boxes, base + a, right)
            if to_left < to_right:
                left, right, to_left, to_right = right, left, to_right, to_left
            nodes[top], gaps[top] = left, to_left
            nodes[top + 1], gaps[top + 1] = right, to_right
            top += 2
        for i in range(start, stop):
            cores[i] = far[i - start, 0]


@njit(cache=True, nogil=True)
def _offer(tree, a, b, row, far, neighbours):
    """Keeps of leaf ``b``'s points those that are nearer to leaf ``a``'s than what these have."""
    start, stop = points_of(tree, a)
    other, end = points_of(tree, b)
    for i in range(stop - start):
        if not near(tree, a, i, b, far[i, 0], row):
            continue
        heap, who = far[i], neighbours[start + i]
        for j in range(end - other):
            if row[j] < heap[0]:
                _replace(heap, who, row[j], other + j)


@njit(cache=True, nogil=True)
def _replace(heap, who, distance, point):
    """Puts a pair in the place of the farthest, which is on top of a binary heap."""
    k = len(heap)
    at = 0
    while True:
        child = 2 * at + 1
        if child >= k:
            break
        if child + 1 < k and heap[child + 1] > heap[child]:
            child += 1
        if heap[child] <= distance:
            break
        heap[at], who[at] = heap[child], who[child]
        at = child
    heap[at], who[at] = distance, point
