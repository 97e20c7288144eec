"""HDBSCAN for Euclidean distance in few dimensions, without looking at all pairs of points.

Campello, Moulavi and Sander, "Density-based clustering based on hierarchical density estimates"
(PAKDD 2013); McInnes and Healy, "Accelerated hierarchical density based clustering" (ICDMW 2017)
for the condensed tree; Malzer and Baum (MFI 2020) for the distance below which nothing is parted.
:mod:`.spanning_tree` gives the edges of the minimum spanning tree of mutual reachability as
scikit-learn would find them. Clusters are made of them in the order of sums and numbers of
scikit-learn 1.9 (``sklearn/cluster/_hdbscan/_tree.pyx``): labels and probabilities are the same bit
for bit. Its own functions could be called, but they keep Python objects for every point and take
time that grows with the square of the number of clusters, and of the points where one cluster is
allowed.

Why no library does this (as of November 2026). On 200 sets of 100 to 3,000 points in 2 to 8
columns, of eight shapes and with various settings, 150 of them without equal distances, labels were
compared with scikit-learn's by the adjusted Rand index (ARI); CPU time was measured in one process
in turn, on blobs with ``min_cluster_size`` 50 and ``min_samples`` 10.

=================================== ============== ============== ==================
library                             this module    hdbscan-rs     fast-hdbscan
=================================== ============== ============== ==================
version, month of its release                      0.6.1, March   0.3.4, October
wheels                                             CPython 3.11   pure Python (numba)
                                                   to 3.13
ARI 1, of the 150                   150            88             100
ARI below 0.99, of the 150          0              22             16
least ARI of the 150                1              −0.01          0.00
ARI below 0.99, of the other 50     4              9              8
other results when run again        0 of 200       0 of 200       11 of 200
seconds, 100,000 points, 2 columns  0.23           0.23           2.8
seconds, 1,000,000 points           2.8            5.7            46
seconds, 30,000 points, 16 columns  0.90           2.1            14
=================================== ============== ============== ==================

fast-hdbscan was given one neighbour less, as it does not count the point itself; with
``reproducible`` it took five times as long and still gave other results on one set of 40.
hdbscan-rs parted clusters whatever ``cluster_selection_epsilon`` was. Neither tells how far it is.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numba import njit

from pipelines.clustering.dbscan.chunks import Chunks, Notes
from pipelines.clustering.dbscan.dbscan import find_root
from pipelines.clustering.dbscan.spanning_tree import spanning_edges
from pipelines.core.errors import BadRequest

ROWS_MOST = 2**30  # merges are numbered after points, in 32 bits
SPAN_MOST = 1e150  # its square, and the sum of some, are finite
NOTES = (  # of the passes of :mod:`.spanning_tree`
    "Measuring core distances",
    "Building the spanning tree",
    "Building the tree of clusters",
)


@dataclass(frozen=True, slots=True)
class HDBSCANResult:
    """What HDBSCAN found.

    Attributes:
        labels: (n,) int64; −1 is noise; numbered as scikit-learn does.
        probabilities: (n,) float64, how firmly each point belongs to its cluster; 0 of noise.
    """

    labels: np.ndarray
    probabilities: np.ndarray


def hdbscan(
    X: np.ndarray,
    min_cluster_size: int,
    min_samples: int,
    *,
    leaf: bool = False,
    merge_below: float = 0.0,
    single: bool = False,
    stop: threading.Event | None = None,
    notes: Notes | None = None,
) -> HDBSCANResult:
    """Labels and probabilities as scikit-learn's ``HDBSCAN(algorithm="kd_tree")`` gives.

    They are equal where no two distances of the data are. Where some are (a grid, rounded values,
    repeated points), several spanning trees are as light; which one is taken may move points
    between clusters that meet at one distance, and may be another than scikit-learn's.

    Args:
        X: (n, d) float64, finite, at least two rows; left as it is.
        min_cluster_size: points of the smallest cluster; at least 2.
        min_samples: the core distance is that to the so-manieth point, itself the first; 1 … n.
        leaf: choose the leaves of the tree, not its most stable clusters.
        merge_below: ``cluster_selection_epsilon``.
        single: ``allow_single_cluster``.
        stop: looked at about every :data:`~pipelines.clustering.dbscan.chunks.CHUNK_SECONDS`, but
            not in the last step, which takes about a second for a million points.
        notes: called with :class:`Progress`, in leaves of the tree over all three passes.

    Returns:
        The result. About O(n·(d + min_samples)·log n) time in few dimensions where there are
        clusters, at worst O(n²·d·log n). Memory: O(n·(d + min_samples)).

    Raises:
        BadRequest: for what cannot be used.
        Stopped: when ``stop`` is set.
    """
    X = _check_points(X, min_samples)
    work = Chunks(NOTES, stop, notes)
    edges, heights = spanning_edges(X, min_samples, work)
    work.check()
    return _clusters(edges, heights, min_cluster_size, leaf, float(merge_below), single)


def _check_points(X: np.ndarray, min_samples: int) -> np.ndarray:
    X = np.ascontiguousarray(X, dtype=np.float64)
    if X.ndim != 2 or not X.size or not 1 <= min_samples <= len(X) or len(X) < 2:
        raise BadRequest(
            "The data has the shape {shape}; HDBSCAN with min_samples {least} takes at least so "
            "many rows, two or more, and one column or more.",
            shape=" × ".join(map(str, X.shape)),
            least=min_samples,
        )
    if len(X) > ROWS_MOST:
        raise BadRequest(
            "The data has {rows} rows; at most {limit} are taken. Take a sample.",
            rows=len(X),
            limit=ROWS_MOST,
        )
    if not np.isfinite(X).all():
        raise BadRequest(
            "The data holds values that are missing or infinite. Fill them or leave them out."
        )
    span = float((X.max(axis=0) / 2 - X.min(axis=0) / 2).max()) * 2
    if span > SPAN_MOST:  # infinite squares would leave points without neighbours
        raise BadRequest(
            "The values of a column are as far apart as {span}; at most {limit} is taken. "
            "Scale the data.",
            span=span,
            limit=SPAN_MOST,
        )
    return X


def _clusters(
    edges: np.ndarray,
    heights: np.ndarray,
    min_cluster_size: int,
    leaf: bool,
    merge_below: float,
    single: bool,
) -> HDBSCANResult:
    n = len(edges) + 1
    by_weight = np.argsort(heights)  # as scikit-learn sorts: not stable, but the same for the same
    children, sizes = np.empty((n - 1, 2), dtype=np.int32), np.empty(n - 1, dtype=np.int32)
    _merge(edges[:, 0], edges[:, 1], by_weight, children, sizes)
    owner, leaving = np.empty(n, dtype=np.int32), np.empty(n)
    most = 2 * n // min_cluster_size + 2
    parents, births = np.empty(most, dtype=np.int32), np.empty(most)
    stability, deaths = np.empty(most), np.empty(most)
    made = _condense(
        children,
        sizes,
        heights[by_weight],
        min(min_cluster_size, n + 1),
        owner,
        leaving,
        parents,
        births,
        stability,
        deaths,
    )
    parents, births, deaths = parents[:made], births[:made], deaths[:made]
    chosen = np.empty(made, dtype=bool)
    _select(parents, births, stability[:made], leaf, merge_below, single, chosen)
    labels, probabilities = np.empty(n, dtype=np.int64), np.empty(n)
    _label(owner, leaving, parents, deaths, chosen, merge_below, single, labels, probabilities)
    return HDBSCANResult(labels, probabilities)


# --- clusters from the spanning tree ----------------------------------------------------------

# Nodes 0 … n−1 of the dendrogram are points, n + i is the i-th merge. Clusters are numbered from 0,
# the root, as the tree is walked level by level; λ is one over a distance.


@njit(cache=True, nogil=True)
def _merge(here, there, by_weight, children, sizes):
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
            at = find_root(above, here[edge] if side == 0 else there[edge])
            children[i, side] = at
            total += 1 if at < n else sizes[at - n]
            above[at] = n + i
        sizes[i] = total


@njit(cache=True, nogil=True)
def _condense(children, sizes, heights, least, owner, leaving, parents, births, stability, deaths):
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
def _select(parents, births, stability, leaf, merge_below, single, chosen):
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
def _label(owner, leaving, parents, deaths, chosen, merge_below, single, labels, probabilities):
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
