"""Exact DBSCAN for Euclidean distance in memory that grows with the points, not the neighbours.

Ester, Kriegel, Sander and Xu, "A density-based algorithm for discovering clusters" (KDD 1996).
Clusters are the connected components of the core points (METHODS.md), so no neighbourhood needs
to be kept: the leaves of one k-d tree (:mod:`pipelines.clustering.dbscan.kd_tree`) meet one another
once to count neighbours, once to join cores with union–find, and those with other points once more
to reach the borders. Whole nodes are taken at once where boxes show that all their points are
near.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numba import njit

from pipelines.clustering.dbscan.chunks import Chunks, Notes
from pipelines.clustering.dbscan.kd_tree import (
    LEAF,
    Leaves,
    gap,
    grow,
    near,
    points_of,
    reach,
)
from pipelines.core.errors import BadRequest

EPS_LEAST, EPS_MOST = 1e-150, 1e150  # its square is a number of full precision
COUNTING, JOINING, REACHING = range(3)
NOTES = (
    "Counting the neighbours of each point",
    "Joining core points",
    "Finding border points",
)
MIXED = -1
NO_CORE = -2


@dataclass(frozen=True, slots=True)
class DBSCANResult:
    """What DBSCAN found.

    Attributes:
        labels: (n,) int32; −1 is noise, clusters are 0, 1, … in the order of their first points.
        core: (n,) bool, which points have min_samples points within eps, themselves included.
        n_clusters: how many clusters there are.
    """

    labels: np.ndarray
    core: np.ndarray
    n_clusters: int


def dbscan(
    X: np.ndarray,
    eps: float,
    min_samples: int,
    stop: threading.Event | None = None,
    notes: Notes | None = None,
) -> DBSCANResult:
    """Labels as scikit-learn's ``DBSCAN(eps=eps, min_samples=min_samples)`` gives, renumbered.

    A border point near several clusters goes where scikit-learn's order puts it: to the one whose
    first core point comes first in the data. Distances are compared as its trees' leaves do,
    squared and summed by axis, with ``≤ eps²``.

    Args:
        X: (n, d) float64, finite, at least one row and one column; left as it is.
        eps: radius in the units of ``X``; a distance of exactly eps counts.
        min_samples: points within eps that make a core point, itself included; at least 1.
        stop: looked at about every :data:`pipelines.clustering.dbscan.chunks.CHUNK_SECONDS`.
        notes: called with :class:`Progress`, in leaves of the tree over all three

    Returns:
        The result. About O(n·d·log n) time for small neighbourhoods in few dimensions and when
        eps spans everything; at worst O(n²·d). Memory: O(n·d), whatever eps.

    Raises:
        BadRequest: for what cannot be used.
        Stopped: when ``stop`` is set.
    """
    X = _check_points(X, eps, min_samples)
    work = Chunks(NOTES, stop, notes)
    tree, order = grow(X, work.check)
    counts, cores = _count(tree, eps * eps, min(min_samples, len(X) + 1), work)
    labels = np.full(len(X), -1, dtype=np.int32)
    clusters = _cluster(tree, eps * eps, cores, order, counts, labels, work)
    core = np.empty(len(X), dtype=bool)
    core[order] = cores
    return DBSCANResult(labels, core, clusters)


def _check_points(X: np.ndarray, eps: float, min_samples: int) -> np.ndarray:
    X = np.ascontiguousarray(X, dtype=np.float64)
    if X.ndim != 2 or not X.size:
        raise BadRequest(
            "The data has the shape {shape}; DBSCAN takes rows and columns, at least one of each.",
            shape=" × ".join(map(str, X.shape)),
        )
    if len(X) >= 2**31:
        raise BadRequest(
            "The data has {rows} rows; at most {limit} are taken. Take a sample.",
            rows=len(X),
            limit=2**31 - 1,
        )
    if not np.isfinite(X).all():
        raise BadRequest(
            "The data holds values that are missing or infinite. Fill them or leave them out."
        )
    if not EPS_LEAST <= eps <= EPS_MOST:
        raise BadRequest(
            "eps is {eps}; it must be between {least} and {most}. Scale the data if need be.",
            eps=eps,
            least=EPS_LEAST,
            most=EPS_MOST,
        )
    if min_samples < 1:
        raise BadRequest("min_samples is {value}; it must be at least 1.", value=min_samples)
    return X


def _count(tree: Leaves, limit: float, enough: int, work: Chunks) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours of each point, too low where there are enough, and whether there are.

    Both are (n,), int32 and bool, by place in the tree.
    """
    nodes = len(tree.boxes)
    counts = np.zeros(tree.n, dtype=np.int32)
    added = np.zeros(nodes, dtype=np.int64)
    done = np.isposinf(tree.boxes[:, 0, 0])  # the empty ones
    leaves = len(tree.blocks)
    for first, last in work.chunks(leaves, COUNTING, 0.0, 0.0):
        _count_within(tree, first, last, limit, enough, counts, done)
    for first, last in work.chunks(leaves, COUNTING):
        _count_between(tree, first, last, limit, enough, counts, added, done)
        _settle(tree, enough, counts, added, done)
    return counts, counts >= enough


def _cluster(
    tree: Leaves,
    limit: float,
    core: np.ndarray,
    order: np.ndarray,
    spare: np.ndarray,
    labels: np.ndarray,
    work: Chunks,
) -> int:
    """Fills ``labels``, by row of the data, and says how many clusters there are.

    ``spare``, (n,) int32, is written over.
    """
    parent = np.arange(tree.n, dtype=np.int32)
    joined = np.full(len(tree.boxes), NO_CORE, dtype=np.int32)
    leaves = len(tree.blocks)
    for first, last in work.chunks(leaves, JOINING, 0.0, 0.0):
        _join_within(tree, first, last, limit, core, parent, joined)
    _look_up(tree, core, parent, joined)
    for first, last in work.chunks(leaves, JOINING):
        _join_between(tree, first, last, limit, core, parent, joined)
        _look_up(tree, core, parent, joined)
    names = spare
    _name_clusters(order, core, parent, names, labels)
    for first, last in work.chunks(leaves, REACHING):
        _reach_borders(tree, first, last, limit, core, order, joined, names, labels)
    return _number_clusters(labels, spare)


# --- how many neighbours each point has -------------------------------------------------------

# Points are named by their place in the tree; ``limit`` is eps². Each compiled loop takes leaves
# ``first … last``, and each two leaves are met once, for both of them. What is too far, or has
# neighbours enough, is left out.


@njit(cache=True, nogil=True)
def _count_within(tree, first, last, limit, enough, counts, done):
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
def _count_between(tree, first, last, limit, enough, counts, added, done):
    """Neighbours of leaves ``first … last`` in later leaves, and the other way round.

    A node all of whose points are near all of a leaf's is counted at once: its share waits in
    ``added`` until :func:`_settle`. Points that have ``enough`` may be counted too low.
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
def _settle(tree, enough, counts, added, done):
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


# --- which core points are one cluster, and its borders ----------------------------------------

# Each compiled loop meets leaves ``first … last`` with the rest of the tree from its root, leaving
# out what is too far and what would change nothing. ``parent`` is a union–find forest over the
# points; ``joined`` holds of each node a point whose cluster has all the node's core points,
# ``MIXED`` when there is none that is known, or ``NO_CORE``.


@njit(cache=True, nogil=True)
def find_root(parent, i):
    """The root of ``i`` in a union–find forest; halves the path to it."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True, nogil=True)
def _unite(parent, i, j):
    i, j = find_root(parent, i), find_root(parent, j)
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
            root = find_root(parent, i)
            if one == NO_CORE:
                one = root
            elif one != root:
                joined[node] = MIXED
                return
    joined[node] = one


@njit(cache=True, nogil=True)
def _join_within(tree, first, last, limit, core, parent, joined):
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
def _join_between(tree, first, last, limit, core, parent, joined):
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
            if one >= 0 and other >= 0 and find_root(parent, one) == find_root(parent, other):
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
def _look_up(tree, core, parent, joined):
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
            one >= 0 and other >= 0 and find_root(parent, one) == find_root(parent, other)
        ):
            joined[node] = one


@njit(cache=True, nogil=True)
def _name_clusters(order, core, parent, names, labels):
    """Names each cluster after its core point that comes first in the data.

    ``names``, by place in the tree, and ``labels``, by row of the data, get these for core points.
    """
    n = len(order)
    names[:] = n
    for i in range(n):
        if core[i]:
            root = find_root(parent, i)
            names[root] = min(names[root], order[i])
    for i in range(n):
        if core[i]:
            names[i] = names[find_root(parent, i)]
            labels[order[i]] = names[i]


@njit(cache=True, nogil=True)
def _reach_borders(tree, first, last, limit, core, order, joined, names, labels):
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
def _number_clusters(labels, numbers):
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
