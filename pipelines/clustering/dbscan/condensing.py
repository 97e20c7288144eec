"""Clusters from a minimum spanning tree: the dendrogram, and HDBSCAN's condensed tree of it.

Campello, Moulavi and Sander (PAKDD 2013); McInnes and Healy, "Accelerated hierarchical density
based clustering" (ICDMW 2017); Malzer and Baum (MFI 2020) for the distance below which nothing is
parted. The order of all sums and numbers is that of scikit-learn 1.9
(``sklearn/cluster/_hdbscan/_tree.pyx``), so that results are the same bit for bit. Its own
functions could be called, but they keep Python objects for every point and take time that grows
with the square of the number of clusters, and of the points where one cluster is allowed.

Nodes 0 … n−1 of the dendrogram are points, n + i is the i-th merge. Clusters are numbered from 0,
the root, as the tree is walked level by level; λ is one over a distance.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def merge(here, there, by_weight, children, sizes):
    """Single linkage: fills of each merge both children, (n−1, 2) int32, and its points, (n−1,).

    Args:
        here, there: (n−1,) int32, the ends of each edge.
        by_weight: (n−1,), the edges by their weight.
    """
    n = len(here) + 1
    above = np.empty(2 * n - 1, np.int32)
    for i in range(2 * n - 1):
        above[i] = i
    for i in range(n - 1):
        edge = by_weight[i]
        total = 0
        for side in range(2):
            at = here[edge] if side == 0 else there[edge]
            while above[at] != at:
                above[at] = above[above[at]]
                at = above[at]
            children[i, side] = at
            total += 1 if at < n else sizes[at - n]
            above[at] = n + i
        sizes[i] = total


@njit(cache=True, nogil=True)
def condense(children, sizes, heights, least, owner, leaving, parents, births, stability, deaths):
    """Keeps only the splits whose both sides have ``least`` points; how many clusters these make.

    Args:
        children, sizes, heights: of the merges, in their order.
        owner: (n,) int32, filled: the cluster that each point leaves.
        leaving: (n,) float64, filled: at which λ.
        parents: (2n / least + 1,) int32 or longer, filled for each cluster; −1 of the root. So are
        births: at which λ it began,
        stability: the sum over its points of λ since then, and
        deaths: the largest λ at which something leaves it.
    """
    n = len(owner)
    queue = np.empty(2 * n - 1, np.int32)
    inside = np.empty(least + least, np.int32)
    cluster_of = np.empty(n - 1, np.int32)
    queue[0] = 2 * n - 2
    cluster_of[n - 2] = 0
    parents[0], births[0], stability[0], deaths[0] = -1, 0.0, 0.0, 0.0
    clusters = 1
    first, last = 0, 1
    while first < last:
        merged = queue[first] - n
        first += 1
        cluster = cluster_of[merged]
        rate = 1.0 / heights[merged] if heights[merged] > 0 else np.inf
        left, right = children[merged]
        points_left = 1 if left < n else sizes[left - n]
        points_right = 1 if right < n else sizes[right - n]
        deaths[cluster] = max(deaths[cluster], rate)
        parting = points_left >= least and points_right >= least
        for side in range(2):
            node = left if side == 0 else right
            points = points_left if side == 0 else points_right
            if points >= least:
                if parting:
                    parents[clusters], births[clusters] = cluster, rate
                    stability[clusters] = deaths[clusters] = 0.0
                    stability[cluster] += (rate - births[cluster]) * points
                    cluster_of[node - n] = clusters
                    clusters += 1
                else:
                    cluster_of[node - n] = cluster
                queue[last] = node
                last += 1
            else:
                _leave(node, children, cluster, rate, owner, leaving, inside)
                for _ in range(points):  # one by one: rounding is the same then
                    stability[cluster] += rate - births[cluster]
    return clusters


@njit(cache=True, nogil=True)
def _leave(node, children, cluster, rate, owner, leaving, inside):
    n = len(owner)
    inside[0] = node
    top = 1
    while top:
        top -= 1
        at = inside[top]
        if at < n:
            owner[at], leaving[at] = cluster, rate
        else:
            inside[top], inside[top + 1] = children[at - n]
            top += 2


@njit(cache=True, nogil=True)
def select(parents, births, stability, leaf, merge_below, single, chosen):
    """Fills ``chosen``, (clusters,) bool: the most stable clusters, or the leaves.

    Args:
        stability: becomes that of the best choice within each cluster.
        leaf: whether the leaves are to be chosen.
        merge_below: distance; what parts nearer than that is not parted. 0: no limit.
        single: whether the root may be chosen.
    """
    clusters = len(parents)
    chosen[:] = False
    if clusters == 1:
        chosen[0] = single and not leaf
        return
    has_children = np.zeros(clusters, np.bool_)
    within = np.zeros(clusters)
    for c in range(clusters - 1, -1, -1):
        chosen[c] = not has_children[c] if leaf else not within[c] > stability[c]
        if not chosen[c]:
            stability[c] = within[c]
        if c:
            has_children[parents[c]] = True
            within[parents[c]] += stability[c]
    chosen[0] = chosen[0] and single
    covered = np.zeros(clusters, np.bool_)
    for c in range(1, clusters):
        covered[c] = covered[parents[c]] or chosen[parents[c]]
        chosen[c] = chosen[c] and not covered[c]
    if merge_below != 0.0 and not chosen[0]:
        _choose_above(parents, births, merge_below, single, chosen)


@njit(cache=True, nogil=True)
def _choose_above(parents, births, merge_below, single, chosen):
    """Puts in the place of clusters that begin below a distance those that they came from."""
    clusters = len(parents)
    instead = np.empty(clusters, np.int32)
    before = chosen.copy()
    for c in range(1, clusters):
        above = parents[c]
        if above == 0:
            instead[c] = 0 if single else c
        elif 1.0 / births[above] > merge_below:
            instead[c] = above
        else:
            instead[c] = instead[above]
    chosen[:] = False
    for c in range(1, clusters):
        if before[c]:
            chosen[instead[c] if 1.0 / births[c] < merge_below else c] = True


@njit(cache=True, nogil=True)
def label(owner, leaving, parents, deaths, chosen, merge_below, single, labels, probabilities):
    """Fills ``labels``, (n,) int64, and ``probabilities``, (n,) float64.

    Where the root is the only cluster, points are its that leave it when nothing is left, or that
    are together within ``merge_below``.
    """
    clusters = len(parents)
    under = np.empty(clusters, np.int32)
    number = np.full(clusters, -1, np.int64)
    count = 0
    for c in range(clusters):
        under[c] = c if chosen[c] or c == 0 else under[parents[c]]
        if chosen[c]:
            number[c] = count
            count += 1
    threshold = 1.0 / merge_below if merge_below != 0.0 else deaths[0]
    whole = single and count == 1
    for i in range(len(owner)):
        c = under[owner[i]]
        labels[i] = number[c]
        if c == 0 and not (whole and leaving[i] >= threshold):
            labels[i] = -1
        if labels[i] < 0:
            probabilities[i] = 0.0
        elif deaths[c] == 0.0 or np.isinf(leaving[i]):
            probabilities[i] = 1.0
        else:
            probabilities[i] = min(leaving[i], deaths[c]) / deaths[c]
