"""A minimum spanning tree's edges as Prim's method finds them in scikit-learn, ties included.

Mutual reachability has ties whatever the data: edges of a point to all that are within its core
distance and have smaller ones are equally heavy. Which of them a tree holds, and in which order,
decides where a point between two clusters goes, and even whether a cluster is large enough. So
the tree found by other means is walked as scikit-learn walks the whole graph: from row 0, always
to the lightest edge, to the first row of several, from the point that was reached first. Where no
two distances of the data are the same, ties are only those between edges of one point i that weigh
as much as its core distance (or of two points, each the other's last neighbour): all of
them lead to its neighbours, and a tree holds one when i has not been reached.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def link(ends, first_of, beside):
    """The tree by point: ``beside[first_of[i]:first_of[i + 1]]`` are the numbers of i's edges."""
    n = len(first_of) - 1
    first_of[:] = 0
    for e in range(len(ends)):
        first_of[ends[e, 0] + 1] += 1
        first_of[ends[e, 1] + 1] += 1
    for i in range(n):
        first_of[i + 1] += first_of[i]
    filled = first_of[:-1].copy()
    for e in range(len(ends)):
        for side in range(2):
            i = ends[e, side]
            beside[filled[i]] = e
            filled[i] += 1


@njit(cache=True, nogil=True)
def walk(first, last, order, neighbours, cores, tree, state, found, heights):
    """Reaches points number ``first … last``; all but ``found`` by place in the tree.

    Args:
        cores: (n,) float64, distances, not squared; as are the weights of ``tree``.
        tree: ends (n−1, 2), weights (n−1,), and what :func:`link` fills.
        state: key (n,) float64, ∞ at first; source, rank, heap, where (n,) int32, rank and
            where −1 at first; size (1,) int64, 0 at first.
        found: (n−1, 2) int32, filled: rows of the data that each edge goes from and to.
        heights: (n−1,) float64, filled: their weights.
    """
    ends, weights, first_of, beside = tree
    key, source, rank, _, _, _ = state
    for step in range(first, last):
        if step == 0:
            here = np.argmin(order)
        else:
            here = _next(order, neighbours, cores, state)
            origin = source[here]
            if key[here] == cores[here]:
                for j in neighbours[here]:
                    if rank[j] >= 0 and rank[j] < rank[origin] and cores[j] <= cores[here]:
                        origin = j
            found[step - 1, 0], found[step - 1, 1] = order[origin], order[here]
            heights[step - 1] = key[here]
        rank[here] = step
        for at in range(first_of[here], first_of[here + 1]):
            edge = beside[at]
            there = ends[edge, 0] if ends[edge, 1] == here else ends[edge, 1]
            if rank[there] < 0 and weights[edge] < key[there]:
                _lower(order, state, there, weights[edge], here)
        for there in neighbours[here]:
            if rank[there] < 0 and cores[there] <= cores[here] < key[there]:
                _lower(order, state, there, cores[here], here)


@njit(cache=True, nogil=True)
def _next(order, neighbours, cores, state):
    """Takes the next point to be reached from the heap."""
    key, _, rank, heap, where, size = state
    again = True
    while again:
        here = heap[0]
        again = False
        if key[here] != cores[here]:
            break
        for twin in neighbours[here]:  # each the other's last neighbour, and lower in the data
            if (
                rank[twin] < 0
                and cores[twin] == cores[here]
                and order[twin] < order[here]
                and key[twin] > cores[twin]
            ):
                for j in neighbours[twin]:
                    if rank[j] >= 0 and cores[j] <= cores[twin]:
                        _lower(order, state, twin, cores[twin], j)
                        again = True
                        break
    here = heap[0]
    where[here] = -1
    size[0] -= 1
    if size[0]:
        _sink(order, key, heap, where, size[0], heap[size[0]])
    return here


@njit(cache=True, nogil=True)
def _before(order, key, i, j):
    return key[i] < key[j] or (key[i] == key[j] and order[i] < order[j])


@njit(cache=True, nogil=True)
def _sink(order, key, heap, where, size, point):
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _before(order, key, heap[child + 1], heap[child]):
            child += 1
        if not _before(order, key, heap[child], point):
            break
        heap[at] = heap[child]
        where[heap[at]] = at
        at = child
    heap[at] = point
    where[point] = at


@njit(cache=True, nogil=True)
def _lower(order, state, point, weight, origin):
    """Lowers what it costs to reach a point, and lets it rise in the heap."""
    key, source, _, heap, where, size = state
    key[point] = weight
    source[point] = origin
    at = where[point]
    if at < 0:
        at = size[0]
        size[0] += 1
    while at > 0:
        above = (at - 1) // 2
        if not _before(order, key, point, heap[above]):
            break
        heap[at] = heap[above]
        where[heap[at]] = at
        at = above
    heap[at] = point
    where[point] = at
