"""DBSCAN's three passes over a tree's leaves: count neighbours, join cores, reach borders.

Each compiled pass takes leaves ``first … last`` and meets them with the rest of the tree from its
root, leaving out what is too far and what would change nothing. Points are named by their place
in the tree; ``limit`` is eps². Counting and joining take each two leaves once.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pipelines.clustering.leaves import gap, near, reach

MIXED = -1  # a node whose core points are not known to be in one cluster
NO_CORE = -2


@njit(cache=True, nogil=True)
def count_within(tree, first, last, limit, enough, counts, done):
    """Neighbours within each leaf, the points themselves among them."""
    width = tree.blocks.shape[2]
    row = np.empty(width)
    base = (1 << tree.depth) - 1
    for a in range(first, last):
        start = (a * tree.n) >> tree.depth
        size = (((a + 1) * tree.n) >> tree.depth) - start
        if reach(tree.boxes, base + a, base + a) <= limit:
            for i in range(size):
                counts[start + i] += size
        else:
            for i in range(size):
                near(tree, a, i, a, limit, row)
                for j in range(size):
                    counts[start + i] += row[j] <= limit
        _finish_leaf(tree, a, enough, counts, done)


@njit(cache=True, nogil=True)
def count_between(tree, first, last, limit, enough, counts, added, done):
    """Neighbours of leaves ``first … last`` in later leaves, and the other way round.

    A node all of whose points are near all of a leaf's is counted at once: its share waits in
    ``added`` until :func:`settle`. Points that have ``enough`` may be counted too low.
    """
    boxes, n, depth = tree.boxes, tree.n, tree.depth
    base = (1 << depth) - 1
    row = np.empty(tree.blocks.shape[2])
    nodes = np.empty(depth + 2, np.int64)
    levels = np.empty(depth + 2, np.int64)
    for a in range(first, last):
        start, stop = (a * n) >> depth, ((a + 1) * n) >> depth
        nodes[0] = levels[0] = 0
        top = 1
        while top:
            top -= 1
            node, level = nodes[top], levels[top]
            position = node + 1 - (1 << level)
            after = (position + 1) << (depth - level)
            if after <= a + 1 or (done[node] and done[base + a]):
                continue
            if gap(boxes, base + a, node) > limit:
                continue
            before = position << (depth - level)
            if before > a and reach(boxes, base + a, node) <= limit:
                points = ((after * n) >> depth) - ((before * n) >> depth)
                for i in range(start, stop):
                    counts[i] += points
                added[node] += stop - start
                _finish_leaf(tree, a, enough, counts, done)
            elif level == depth:
                _count_pair(tree, a, position, limit, enough, counts, done, row)
            else:
                nodes[top], levels[top] = 2 * node + 2, level + 1
                nodes[top + 1], levels[top + 1] = 2 * node + 1, level + 1
                top += 2


@njit(cache=True, nogil=True)
def _count_pair(tree, a, b, limit, enough, counts, done, row):
    n, depth = tree.n, tree.depth
    base = (1 << depth) - 1
    if done[base + a]:
        a, b = b, a
    start, stop = (a * n) >> depth, ((a + 1) * n) >> depth
    other, size = (b * n) >> depth, (((b + 1) * n) >> depth) - ((b * n) >> depth)
    one_way = done[base + b]
    for i in range(start, stop):
        if (one_way and counts[i] >= enough) or not near(tree, a, i - start, b, limit, row):
            continue
        found = 0
        for j in range(size):
            found += row[j] <= limit
        counts[i] += found
        if found and not one_way:
            for j in range(size):
                counts[other + j] += row[j] <= limit
    _finish_leaf(tree, a, enough, counts, done)
    if not one_way:
        _finish_leaf(tree, b, enough, counts, done)


@njit(cache=True, nogil=True)
def _finish_leaf(tree, leaf, enough, counts, done):
    """Marks the leaf as done when all its points have enough, and the nodes above likewise."""
    node = (1 << tree.depth) - 1 + leaf
    if done[node]:
        return
    for i in range((leaf * tree.n) >> tree.depth, ((leaf + 1) * tree.n) >> tree.depth):
        if counts[i] < enough:
            return
    done[node] = True
    while node:
        node = (node - 1) // 2
        if not (done[2 * node + 1] and done[2 * node + 2]):
            return
        done[node] = True


@njit(cache=True, nogil=True)
def settle(tree, enough, counts, added, done):
    """Gives every point what its nodes were counted for."""
    leaves = 1 << tree.depth
    for node in range(leaves - 1):
        added[2 * node + 1] += added[node]
        added[2 * node + 2] += added[node]
        added[node] = 0
    for leaf in range(leaves):
        share = added[leaves - 1 + leaf]
        if share:
            for i in range((leaf * tree.n) >> tree.depth, ((leaf + 1) * tree.n) >> tree.depth):
                counts[i] += share
            added[leaves - 1 + leaf] = 0
            _finish_leaf(tree, leaf, enough, counts, done)


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
        for i in range((leaf * tree.n) >> tree.depth, ((leaf + 1) * tree.n) >> tree.depth):
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
    for i in range((leaf * tree.n) >> tree.depth, ((leaf + 1) * tree.n) >> tree.depth):
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
    row = np.empty(tree.blocks.shape[2])
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
    row = np.empty(tree.blocks.shape[2])
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
    n, depth = tree.n, tree.depth
    base = (1 << depth) - 1
    if reach(tree.boxes, base + a, base + b) <= limit:
        _unite_leaf(tree, a, core, parent, joined)
        _unite_leaf(tree, b, core, parent, joined)
        _unite(parent, joined[base + a], joined[base + b])
        return
    start, stop = (a * n) >> depth, ((a + 1) * n) >> depth
    other, size = (b * n) >> depth, (((b + 1) * n) >> depth) - ((b * n) >> depth)
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
    leaves = 1 << tree.depth
    for leaf in range(leaves):
        if joined[leaves - 1 + leaf] == MIXED:
            _look_at_leaf(tree, leaf, core, parent, joined)
    for node in range(leaves - 2, -1, -1):
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
    width = tree.blocks.shape[2]
    row = np.empty(width)
    best = np.empty(width, np.int32)
    nodes = np.empty(depth + 2, np.int64)
    levels = np.empty(depth + 2, np.int64)
    for a in range(first, last):
        start, stop = (a * n) >> depth, ((a + 1) * n) >> depth
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
                other, size = (b * n) >> depth, (((b + 1) * n) >> depth) - ((b * n) >> depth)
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
