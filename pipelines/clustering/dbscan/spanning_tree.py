"""The minimum spanning tree of mutual reachability, by Borůvka's method over a k-d tree.

March, Ram and Gray, "Fast Euclidean minimum spanning tree" (KDD 2010), with the mutual reachability
of Campello, Moulavi and Sander (PAKDD 2013): max(core of a, core of b, distance of a and b). Points
are named by their place in the tree; ``cores`` and ``weights`` are squared. Each round every
component finds its lightest edge to another one: leaves meet nodes that are near enough, hold
cores that are small enough and are not all of the leaf's own component.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pipelines.clustering.dbscan.kd_tree import LEAF, gap, near, points_of

MIXED = -1


@njit(cache=True, nogil=True)
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True, nogil=True)
def _add(parent, ends, weights, count, i, j, weight):
    """Makes an edge of two points unless they are joined; how many edges there are."""
    one, other = _root(parent, i), _root(parent, j)
    if one == other:
        return count
    parent[max(one, other)] = min(one, other)
    ends[count, 0], ends[count, 1] = i, j
    weights[count] = weight
    return count + 1


@njit(cache=True, nogil=True)
def join_denser(neighbours, cores, parent, ends, weights):
    """The first round: no edge of a point is lighter than its core, and one to a neighbour whose
    core is not larger is that light. How many edges there are then."""
    count = 0
    for i in range(len(cores)):
        best = -1
        for j in neighbours[i]:
            if j != i and cores[j] <= cores[i] and (best < 0 or cores[j] < cores[best]):
                best = j
        if best >= 0:
            count = _add(parent, ends, weights, count, i, best, cores[i])
    return count


@njit(cache=True, nogil=True)
def least_cores(tree, cores, least):
    """Of each node the smallest core of its points, ∞ where it has none."""
    base = (1 << tree.depth) - 1
    least[:] = np.inf
    for leaf in range(len(tree.blocks)):
        start, stop = points_of(tree, leaf)
        least[base + leaf] = cores[start:stop].min()
    for node in range(base - 1, -1, -1):
        least[node] = min(least[2 * node + 1], least[2 * node + 2])


@njit(cache=True, nogil=True)
def look_around(tree, neighbours, cores, parent, part, whole, light, best):
    """Begins a round: the component of each point, the one of all points of each node, and the
    lightest edge of each component to what is in its points' neighbourhoods.

    Args:
        part: (n,) int32, filled: a point of each component, the same for all its points.
        whole: (nodes,) int32, filled: the component that all the node's points are in, or MIXED.
        light: (n,) float64, filled: by component, the weight of its lightest edge yet.
        best: (n, 2) int32, filled: by component, the ends of that edge; −1 where there is none.
    """
    for i in range(len(cores)):
        part[i] = _root(parent, i)
    base = (1 << tree.depth) - 1
    whole[:] = MIXED
    for leaf in range(len(tree.blocks)):
        start, stop = points_of(tree, leaf)
        whole[base + leaf] = part[start]
        for i in range(start + 1, stop):
            if part[i] != part[start]:
                whole[base + leaf] = MIXED
                break
    for node in range(base - 1, -1, -1):
        left, right = whole[2 * node + 1], whole[2 * node + 2]
        if left == right or tree.boxes[2 * node + 2, 0, 0] == np.inf:
            whole[node] = left
    light[:] = np.inf
    best[:] = -1
    for i in range(len(cores)):
        for j in neighbours[i]:
            if part[i] != part[j]:
                _note(part, light, best, i, j, max(cores[i], cores[j]))


@njit(cache=True, nogil=True)
def _note(part, light, best, i, j, weight):
    for one in (part[i], part[j]):
        if weight < light[one]:
            light[one] = weight
            best[one, 0], best[one, 1] = i, j


@njit(cache=True, nogil=True)
def look_far(tree, first, last, cores, least, part, whole, light, best):
    """The lightest edges of the components for the points of leaves ``first … last``."""
    depth = tree.depth
    base = (1 << depth) - 1
    row = np.empty(LEAF)
    nodes = np.empty(depth + 2, np.int64)
    gaps = np.empty(depth + 2)
    for a in range(first, last):
        start, stop = points_of(tree, a)
        worst = _worst(start, stop, cores, part, light)
        nodes[0], gaps[0] = 0, 0.0
        top = 1 if worst > 0 else 0
        while top:
            top -= 1
            node = nodes[top]
            if gaps[top] >= worst or least[node] >= worst:
                continue
            if whole[node] != MIXED and whole[node] == whole[base + a]:
                continue
            if node >= base:
                _meet(tree, a, node - base, cores, part, light, best, row)
                worst = _worst(start, stop, cores, part, light)
                continue
            left, right = 2 * node + 1, 2 * node + 2
            to_left = gap(tree.boxes, base + a, left)
            to_right = gap(tree.boxes, base + a, right)
            if to_left < to_right:
                left, right, to_left, to_right = right, left, to_right, to_left
            nodes[top], gaps[top] = left, to_left
            nodes[top + 1], gaps[top + 1] = right, to_right
            top += 2


@njit(cache=True, nogil=True)
def _worst(start, stop, cores, part, light):
    """Edges of these points of this weight or more are of no use; 0 when none is of any."""
    worst = 0.0
    for i in range(start, stop):
        limit = light[part[i]]
        if cores[i] < limit and limit > worst:
            worst = limit
    return worst


@njit(cache=True, nogil=True)
def _meet(tree, a, b, cores, part, light, best, row):
    start, stop = points_of(tree, a)
    other, end = points_of(tree, b)
    for i in range(start, stop):
        mine = part[i]
        limit = light[mine]
        if cores[i] >= limit or not near(tree, a, i - start, b, limit, row):
            continue
        for j in range(end - other):
            if row[j] < limit and part[other + j] != mine:
                weight = max(row[j], cores[i], cores[other + j])
                if weight < limit:
                    _note(part, light, best, i, other + j, weight)
                    limit = weight


@njit(cache=True, nogil=True)
def join_lightest(parent, ends, weights, count, light, best):
    """Ends a round: every component's lightest edge is one of the tree's; how many there are.

    Of edges that would close a circle all are equally heavy, so any may be left out.
    """
    for one in range(len(best)):
        if best[one, 0] >= 0:
            count = _add(parent, ends, weights, count, best[one, 0], best[one, 1], light[one])
    return count
