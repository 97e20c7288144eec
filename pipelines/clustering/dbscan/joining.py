"""DBSCAN's other two passes over a tree's leaves: which cores are one cluster, and its borders.

Points are named by their place in the tree; ``limit`` is eps². Each compiled loop takes leaves
``first … last`` and meets them with the rest of the tree from its root, leaving out what is too
far and what would change nothing. ``parent`` is a union–find forest over the points; ``joined``
holds of each node a point whose cluster has all the node's core points, ``MIXED`` when there is
none that is known, or ``NO_CORE``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pipelines.clustering.dbscan.kd_tree import LEAF, gap, near, points_of, reach

MIXED = -1
NO_CORE = -2


@njit(cache=True, nogil=True)
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True, nogil=True)
def _unite(parent, i, j):
    i, j = _root(parent, i), _root(parent, j)
    if i < j:
        parent[j] = i
    elif j < i:
        parent[i] = j
    return i != j


@njit(cache=True, nogil=True)
def _unite_leaf(tree, leaf, core, parent, joined):
    """Its core points, all of which are in one cluster."""
    node = (1 << tree.depth) - 1 + leaf
    if joined[node] == MIXED:
        one = -1
        for i in range(leaf * LEAF, min(tree.n, (leaf + 1) * LEAF)):
            if core[i]:
                if one < 0:
                    one = i
                else:
                    _unite(parent, one, i)
        joined[node] = one


@njit(cache=True, nogil=True)
def _look_at_leaf(tree, leaf, core, parent, joined):
    """Notes when a leaf's core points have come to be in one cluster, or that it has none."""
    node = (1 << tree.depth) - 1 + leaf
    one = NO_CORE
    for i in range(leaf * LEAF, min(tree.n, (leaf + 1) * LEAF)):
        if core[i]:
            root = _root(parent, i)
            if one == NO_CORE:
                one = root
            elif one != root:
                joined[node] = MIXED
                return
    joined[node] = one


@njit(cache=True, nogil=True)
def join_within(tree, first, last, limit, core, parent, joined):
    """Joins the core points within each leaf."""
    base = (1 << tree.depth) - 1
    row = np.empty(LEAF)
    for a in range(first, last):
        joined[base + a] = MIXED
        _look_at_leaf(tree, a, core, parent, joined)
        if joined[base + a] != MIXED:
            continue
        if reach(tree.boxes, base + a, base + a) <= limit:
            _unite_leaf(tree, a, core, parent, joined)
        else:
            _join_pair(tree, a, a, limit, core, parent, joined, row)


@njit(cache=True, nogil=True)
def join_between(tree, first, last, limit, core, parent, joined):
    """Joins the core points of leaves ``first … last`` to those of later leaves."""
    boxes, depth = tree.boxes, tree.depth
    base = (1 << depth) - 1
    row = np.empty(LEAF)
    nodes = np.empty(depth + 2, np.int64)
    levels = np.empty(depth + 2, np.int64)
    for a in range(first, last):
        if joined[base + a] == NO_CORE:
            continue
        nodes[0] = levels[0] = 0
        top = 1
        while top:
            top -= 1
            node, level = nodes[top], levels[top]
            position = node + 1 - (1 << level)
            if (position + 1) << (depth - level) <= a + 1 or joined[node] == NO_CORE:
                continue
            one, other = joined[base + a], joined[node]
            if one >= 0 and other >= 0 and _root(parent, one) == _root(parent, other):
                continue
            if gap(boxes, base + a, node) > limit:
                continue
            if level == depth:
                _join_pair(tree, a, position, limit, core, parent, joined, row)
            else:
                nodes[top], levels[top] = 2 * node + 2, level + 1
                nodes[top + 1], levels[top + 1] = 2 * node + 1, level + 1
                top += 2


@njit(cache=True, nogil=True)
def _join_pair(tree, a, b, limit, core, parent, joined, row):
    base = (1 << tree.depth) - 1
    if reach(tree.boxes, base + a, base + b) <= limit:
        _unite_leaf(tree, a, core, parent, joined)
        _unite_leaf(tree, b, core, parent, joined)
        _unite(parent, joined[base + a], joined[base + b])
        return
    start, stop = points_of(tree, a)
    other, end = points_of(tree, b)
    size = end - other
    one_is_enough = joined[base + a] >= 0 and joined[base + b] >= 0
    changed = False
    for i in range(start, stop):
        if not core[i] or not near(tree, a, i - start, b, limit, row):
            continue
        for j in range(size):
            if row[j] <= limit and core[other + j]:
                changed |= _unite(parent, i, other + j)
                if one_is_enough:
                    return
    if changed:
        _look_at_leaf(tree, a, core, parent, joined)
        _look_at_leaf(tree, b, core, parent, joined)


@njit(cache=True, nogil=True)
def look_up(tree, core, parent, joined):
    """Brings up to date which nodes' core points are in one cluster."""
    base = (1 << tree.depth) - 1
    for leaf in range(len(tree.blocks)):
        if joined[base + leaf] == MIXED:
            _look_at_leaf(tree, leaf, core, parent, joined)
    for node in range(base - 1, -1, -1):
        one, other = joined[2 * node + 1], joined[2 * node + 2]
        joined[node] = MIXED
        if one == NO_CORE:
            joined[node] = other
        elif other == NO_CORE or (
            one >= 0 and other >= 0 and _root(parent, one) == _root(parent, other)
        ):
            joined[node] = one


@njit(cache=True, nogil=True)
def name_clusters(order, core, parent, names, labels):
    """Names each cluster after its core point that comes first in the data.

    ``names``, by place in the tree, and ``labels``, by row of the data, get these for core points.
    """
    n = len(order)
    names[:] = n
    for i in range(n):
        if core[i]:
            root = _root(parent, i)
            names[root] = min(names[root], order[i])
    for i in range(n):
        if core[i]:
            names[i] = names[_root(parent, i)]
            labels[order[i]] = names[i]


@njit(cache=True, nogil=True)
def reach_borders(tree, first, last, limit, core, order, joined, names, labels):
    """Labels what is within eps of core points with the least name among theirs."""
    boxes, n, depth = tree.boxes, tree.n, tree.depth
    base = (1 << depth) - 1
    row = np.empty(LEAF)
    best = np.empty(LEAF, np.int32)
    nodes = np.empty(depth + 2, np.int64)
    levels = np.empty(depth + 2, np.int64)
    for a in range(first, last):
        start, stop = points_of(tree, a)
        best[:] = n
        for i in range(start, stop):
            if core[i]:
                best[i - start] = -1  # nothing is to be found for it
        worst = best[: stop - start].max()
        nodes[0] = levels[0] = 0
        top = 1 if worst >= 0 else 0
        while top:
            top -= 1
            node, level = nodes[top], levels[top]
            if joined[node] == NO_CORE or (joined[node] >= 0 and names[joined[node]] >= worst):
                continue
            if gap(boxes, base + a, node) > limit:
                continue
            if joined[node] >= 0 and reach(boxes, base + a, node) <= limit:
                for i in range(stop - start):
                    best[i] = min(best[i], names[joined[node]])
            elif level == depth:
                b = node - base
                other, end = points_of(tree, b)
                size = end - other
                for i in range(stop - start):
                    if best[i] < 0 or not near(tree, a, i, b, limit, row):
                        continue
                    for j in range(size):
                        if row[j] <= limit and core[other + j]:
                            best[i] = min(best[i], names[other + j])
            else:
                nodes[top], levels[top] = 2 * node + 2, level + 1
                nodes[top + 1], levels[top + 1] = 2 * node + 1, level + 1
                top += 2
                continue
            worst = best[: stop - start].max()
        for i in range(start, stop):
            if 0 <= best[i - start] < n:
                labels[order[i]] = best[i - start]


@njit(cache=True, nogil=True)
def number_clusters(labels, numbers):
    """Numbers in place the clusters, named by rows of the data, as their first points come."""
    clusters = 0
    numbers[:] = -1
    for i in range(len(labels)):
        if labels[i] >= 0:
            if numbers[labels[i]] < 0:
                numbers[labels[i]] = clusters
                clusters += 1
            labels[i] = numbers[labels[i]]
    return clusters
