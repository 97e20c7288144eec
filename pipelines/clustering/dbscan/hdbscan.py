"""HDBSCAN for Euclidean distance in few dimensions, without looking at all pairs of points.

Campello, Moulavi and Sander, "Density-based clustering based on hierarchical density estimates"
(PAKDD 2013). One k-d tree (:mod:`.kd_tree`) gives the core distances (:mod:`.neighbours`) and the
minimum spanning tree of mutual reachability (:mod:`.spanning_tree`). Its edges are put as
scikit-learn would find them (:mod:`.walking`), and clusters are made of them in the same order of
sums (:mod:`.condensing`): labels and probabilities are the same bit for bit.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from pipelines.clustering.dbscan.chunks import Chunks, Notes
from pipelines.clustering.dbscan.kd_tree import LEAF, Leaves, depth_for, grow, tree_bytes
from pipelines.errors import BadRequest

ROWS_MOST = 2**30  # merges are numbered after points, in 32 bits
SPAN_MOST = 1e150  # its square, and the sum of some, are finite
NEAREST, SPANNING, WALKING = range(3)
NOTES = (
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


def estimated_bytes(n: int, d: int, min_samples: int) -> int:
    """Memory that :func:`hdbscan` takes at its largest, besides its input."""
    nodes = 2 ** (depth_for(n) + 1) - 1
    return tree_bytes(n, d) + 4 * n * min_samples + 12 * nodes + 120 * n


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
        clusters, at worst O(n²·d·log n). Memory: :func:`estimated_bytes`.

    Raises:
        BadRequest: for what cannot be used.
        Stopped: when ``stop`` is set.
    """
    X = _checked(X, min_samples)
    work = Chunks(NOTES, stop, notes)
    edges, heights = _edges(X, min_samples, work)
    work.check()
    return _clusters(edges, heights, min_cluster_size, leaf, float(merge_below), single)


def _checked(X: np.ndarray, min_samples: int) -> np.ndarray:
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


def _edges(X: np.ndarray, min_samples: int, work: Chunks) -> tuple[np.ndarray, np.ndarray]:
    """The spanning tree's edges, (n−1, 2) int32 rows of ``X``, and weights, in Prim's order."""
    from pipelines.clustering.dbscan import walking
    from pipelines.clustering.dbscan.neighbours import find_nearest

    tree, order = grow(X, work.check)
    n = tree.n
    neighbours = np.empty((n, min_samples), dtype=np.int32)
    cores = np.empty(n)
    for first, last in work.chunks(len(tree.blocks), NEAREST):
        find_nearest(tree, first, last, neighbours, cores)
    ends, weights = _span(tree, neighbours, cores, work)
    np.sqrt(cores, out=cores)
    np.sqrt(weights, out=weights)
    first_of, beside = np.empty(n + 1, dtype=np.int32), np.empty(2 * (n - 1), dtype=np.int32)
    walking.link(ends, first_of, beside)
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
        walking.walk(first, last, order, neighbours, cores, linked, state, found, heights)
    return found, heights


def _span(
    tree: Leaves, neighbours: np.ndarray, cores: np.ndarray, work: Chunks
) -> tuple[np.ndarray, np.ndarray]:
    """A minimum spanning tree: (n−1, 2) int32 places in the tree, and squared weights."""
    from pipelines.clustering.dbscan import spanning_tree as spanning

    n, nodes = tree.n, len(tree.boxes)
    parent = np.arange(n, dtype=np.int32)
    ends, weights = np.empty((n - 1, 2), dtype=np.int32), np.empty(n - 1)
    least = np.empty(nodes)
    spanning.least_cores(tree, cores, least)
    part, whole = np.empty(n, dtype=np.int32), np.empty(nodes, dtype=np.int32)
    light, best = np.empty(n), np.empty((n, 2), dtype=np.int32)
    count = spanning.join_denser(neighbours, cores, parent, ends, weights)
    left = 1.0  # of the pass: nobody knows how many rounds there are, but each halves the parts
    while count < n - 1:
        spanning.look_around(tree, neighbours, cores, parent, part, whole, light, best)
        for first, last in work.chunks(len(tree.blocks), SPANNING, 1 - left / 2, 1 - left):
            spanning.look_far(tree, first, last, cores, least, part, whole, light, best)
        count = spanning.join_lightest(parent, ends, weights, count, light, best)
        left /= 2
    return ends, weights


def _clusters(
    edges: np.ndarray,
    heights: np.ndarray,
    min_cluster_size: int,
    leaf: bool,
    merge_below: float,
    single: bool,
) -> HDBSCANResult:
    from pipelines.clustering.dbscan import condensing

    n = len(edges) + 1
    by_weight = np.argsort(heights)  # as scikit-learn sorts: not stable, but the same for the same
    children, sizes = np.empty((n - 1, 2), dtype=np.int32), np.empty(n - 1, dtype=np.int32)
    condensing.merge(edges[:, 0], edges[:, 1], by_weight, children, sizes)
    owner, leaving = np.empty(n, dtype=np.int32), np.empty(n)
    most = 2 * n // min_cluster_size + 2
    parents, births = np.empty(most, dtype=np.int32), np.empty(most)
    stability, deaths = np.empty(most), np.empty(most)
    made = condensing.condense(
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
    condensing.select(parents, births, stability[:made], leaf, merge_below, single, chosen)
    labels, probabilities = np.empty(n, dtype=np.int64), np.empty(n)
    condensing.label(
        owner, leaving, parents, deaths, chosen, merge_below, single, labels, probabilities
    )
    return HDBSCANResult(labels, probabilities)
