"""DBSCAN's first pass over a tree's leaves: how many neighbours each point has.

Points are named by their place in the tree; ``limit`` is eps². Each compiled loop takes leaves
``first … last``, and each two leaves are met once, for both of them. What is too far, or has
neighbours enough, is left out.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pipelines.clustering.dbscan.kd_tree import LEAF, gap, near, points_of, reach


@njit(cache=True, nogil=True)
def count_within(tree, first, last, limit, enough, counts, done):
    """Neighbours within each leaf, the points themselves among them."""
    row = np.empty(LEAF)
    base = (1 << tree.depth) - 1
    for a in range(first, last):
        start, stop = points_of(tree, a)
        size = stop - start
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
    row = np.empty(LEAF)
    nodes = np.empty(depth + 2, np.int64)
    levels = np.empty(depth + 2, np.int64)
    for a in range(first, last):
        start, stop = points_of(tree, a)
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
                points = min(n, after * LEAF) - before * LEAF
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
    base = (1 << tree.depth) - 1
    if done[base + a]:
        a, b = b, a
    start, stop = points_of(tree, a)
    other, end = points_of(tree, b)
    size = end - other
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
    for i in range(leaf * LEAF, min(tree.n, (leaf + 1) * LEAF)):
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
    base = (1 << tree.depth) - 1
    for node in range(base):
        added[2 * node + 1] += added[node]
        added[2 * node + 2] += added[node]
        added[node] = 0
    for leaf in range(len(tree.blocks)):
        share = added[base + leaf]
        if share:
            for i in range(leaf * LEAF, min(tree.n, (leaf + 1) * LEAF)):
                counts[i] += share
            added[base + leaf] = 0
            _finish_leaf(tree, leaf, enough, counts, done)
