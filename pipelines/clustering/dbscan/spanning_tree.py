"""The minimum spanning tree of mutual reachability over a k-d tree, as scikit-learn finds it.

Mutual reachability of points a and b is max(core of a, core of b, distance of a and b), where a
point's core distance is that to its ``min_samples``-th neighbour (Campello, Moulavi and Sander,
PAKDD 2013). Three passes over the leaves of the tree (:mod:`.kd_tree`) find it:

1. The nearest neighbours of every point. The points of a leaf are near one another, so they go
   through the tree together: nearest nodes first, until a node is farther than what any of them
   still has to find.
2. A spanning tree by Borůvka's method (March, Ram and Gray, "Fast Euclidean minimum spanning tree",
   KDD 2010). Each round every component finds its lightest edge to another one: leaves meet nodes
   that are near enough, hold cores that are small enough and are not all of the leaf's own
   component.
3. The tree's edges as Prim's method finds them in scikit-learn, ties included. Mutual reachability
   has ties whatever the data: edges of a point to all that are within its core distance and have
   smaller ones are equally heavy. Which of them a tree holds, and in which order, decides where a
   point between two clusters goes, and even whether a cluster is large enough. So the tree is
   walked as scikit-learn walks the whole graph: from row 0, always to the lightest edge, to the
   first row of several, from the point that was reached first. Where no two distances of the data
   are the same, ties are only those between edges of one point i that weigh as much as its core
   distance (or of two points, each the other's last neighbour): all of them lead to its
   neighbours, and a tree holds one when i has not been reached.

Points are named by their place in the k-d tree; in the first two passes cores and weights are
squared.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pipelines.clustering.dbscan.chunks import Chunks
from pipelines.clustering.dbscan.dbscan import find_root
from pipelines.clustering.dbscan.kd_tree import LEAF, Leaves, gap, grow, near, points_of

NEAREST, SPANNING, WALKING = range(3)
MIXED = -1


def spanning_edges(X: np.ndarray, min_samples: int, work: Chunks) -> tuple[np.ndarray, np.ndarray]:
    """The spanning tree's edges, (n−1, 2) int32 rows of ``X``, and weights, in Prim's order."""
    tree, order = grow(X, work.check)
    n = tree.n
    neighbours = np.empty((n, min_samples), dtype=np.int32)
    cores = np.empty(n)
    for first, last in work.chunks(len(tree.blocks), NEAREST):
        _find_nearest(tree, first, last, neighbours, cores)
    ends, weights = _span(tree, neighbours, cores, work)
    np.sqrt(cores, out=cores)
    np.sqrt(weights, out=weights)
    first_of, beside = np.empty(n + 1, dtype=np.int32), np.empty(2 * (n - 1), dtype=np.int32)
    _link(ends, first_of, beside)
    linked = ends, weights, first_of, beside
    state = (
        np.full(n, np.inf),
        np.empty(n, dtype=np.int32),
        np.full(n, -1, dtype=np.int32),
        np.empty(n, dtype=np.int32),
        np.full(n, -1, dtype=np.int32),
        np.zeros(1, dtype=np.int64),
    )
    found, heights = np.empty((n - 1, 2), dtype=np.int32), np.empty(n - 1)
    for first, last in work.chunks(len(tree.blocks), WALKING):  # as many points as in leaves
        first, last = first * LEAF, min(n, last * LEAF)
        _walk(first, last, order, neighbours, cores, linked, state, found, heights)
    return found, heights


def _span(
    tree: Leaves, neighbours: np.ndarray, cores: np.ndarray, work: Chunks
) -> tuple[np.ndarray, np.ndarray]:
    """A minimum spanning tree: (n−1, 2) int32 places in the tree, and squared weights."""
    n, nodes = tree.n, len(tree.boxes)
    parent = np.arange(n, dtype=np.int32)
    ends, weights = np.empty((n - 1, 2), dtype=np.int32), np.empty(n - 1)
    least = np.empty(nodes)
    _least_cores(tree, cores, least)
    part, whole = np.empty(n, dtype=np.int32), np.empty(nodes, dtype=np.int32)
    light, best = np.empty(n), np.empty((n, 2), dtype=np.int32)
    count = _join_denser(neighbours, cores, parent, ends, weights)
    left = 1.0  # of the pass: nobody knows how many rounds there are, but each halves the parts
    while count < n - 1:
        _look_around(tree, neighbours, cores, parent, part, whole, light, best)
        for first, last in work.chunks(len(tree.blocks), SPANNING, 1 - left / 2, 1 - left):
            _look_far(tree, first, last, cores, least, part, whole, light, best)
        count = _join_lightest(parent, ends, weights, count, light, best)
        left /= 2
    return ends, weights


# --- 1: the nearest neighbours ----------------------------------------------------------------


@njit(cache=True, nogil=True)
def _find_nearest(tree, first, last, neighbours, cores):
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


# --- 2: a spanning tree, by Borůvka's method ---------------------------------------------------


@njit(cache=True, nogil=True)
def _add(parent, ends, weights, count, i, j, weight):
    """Makes an edge of two points unless they are joined; how many edges there are."""
    one, other = find_root(parent, i), find_root(parent, j)
    if one == other:
        return count
    parent[max(one, other)] = min(one, other)
    ends[count, 0], ends[count, 1] = i, j
    weights[count] = weight
    return count + 1


@njit(cache=True, nogil=True)
def _join_denser(neighbours, cores, parent, ends, weights):
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
def _least_cores(tree, cores, least):
    """Of each node the smallest core of its points, ∞ where it has none."""
    base = (1 << tree.depth) - 1
    least[:] = np.inf
    for leaf in range(len(tree.blocks)):
        start, stop = points_of(tree, leaf)
        least[base + leaf] = cores[start:stop].min()
    for node in range(base - 1, -1, -1):
        least[node] = min(least[2 * node + 1], least[2 * node + 2])


@njit(cache=True, nogil=True)
def _look_around(tree, neighbours, cores, parent, part, whole, light, best):
    """Begins a round: the component of each point, the one of all points of each node, and the
    lightest edge of each component to what is in its points' neighbourhoods.

    Args:
        part: (n,) int32, filled: a point of each component, the same for all its points.
        whole: (nodes,) int32, filled: the component that all the node's points are in, or MIXED.
        light: (n,) float64, filled: by component, the weight of its lightest edge yet.
        best: (n, 2) int32, filled: by component, the ends of that edge; −1 where there is none.
    """
    for i in range(len(cores)):
        part[i] = find_root(parent, i)
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
def _look_far(tree, first, last, cores, least, part, whole, light, best):
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
def _join_lightest(parent, ends, weights, count, light, best):
    """Ends a round: every component's lightest edge is one of the tree's; how many there are.

    Of edges that would close a circle all are equally heavy, so any may be left out.
    """
    for one in range(len(best)):
        if best[one, 0] >= 0:
            count = _add(parent, ends, weights, count, best[one, 0], best[one, 1], light[one])
    return count


# --- 3: its edges in Prim's order ---------------------------------------------------------------


@njit(cache=True, nogil=True)
def _link(ends, first_of, beside):
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
def _walk(first, last, order, neighbours, cores, tree, state, found, heights):
    """Reaches points number ``first … last``; all but ``found`` by place in the tree.

    Args:
        cores: (n,) float64, distances, not squared; as are the weights of ``tree``.
        tree: ends (n−1, 2), weights (n−1,), and what :func:`_link` fills.
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
