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

from pipelines.clustering.dbscan.chunks import Chunks, Notes
from pipelines.clustering.dbscan.kd_tree import Leaves, depth_for, grow, tree_bytes
from pipelines.errors import BadRequest

EPS_LEAST, EPS_MOST = 1e-150, 1e150  # its square is a number of full precision
COUNTING, JOINING, REACHING = range(3)
NOTES = (
    "Counting the neighbours of each point",
    "Joining core points",
    "Finding border points",
)


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


def estimated_bytes(n: int, d: int) -> int:
    """Memory that :func:`dbscan` takes at its largest, besides its input; eps has no part in it."""
    nodes = 2 ** (depth_for(n) + 1) - 1
    # counts, parents and labels; cores by place and by row; what is known of the nodes
    return tree_bytes(n, d) + 3 * 4 * n + 2 * n + (8 + 4 + 1) * nodes


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
        notes: called with :class:`Progress`, in leaves of the tree over all three counting.

    Returns:
        The result. About O(n·d·log n) time for small neighbourhoods in few dimensions and when
        eps spans everything; at worst O(n²·d). Memory: :func:`estimated_bytes`.

    Raises:
        BadRequest: for what cannot be used.
        Stopped: when ``stop`` is set.
    """
    X = _checked(X, eps, min_samples)
    work = Chunks(NOTES, stop, notes)
    tree, order = grow(X, work.check)
    counts, cores = _count(tree, eps * eps, min(min_samples, len(X) + 1), work)
    labels = np.full(len(X), -1, dtype=np.int32)
    clusters = _cluster(tree, eps * eps, cores, order, counts, labels, work)
    core = np.empty(len(X), dtype=bool)
    core[order] = cores
    return DBSCANResult(labels, core, clusters)


def _checked(X: np.ndarray, eps: float, min_samples: int) -> np.ndarray:
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
    from pipelines.clustering.dbscan import counting

    nodes = len(tree.boxes)
    counts = np.zeros(tree.n, dtype=np.int32)
    added = np.zeros(nodes, dtype=np.int64)
    done = np.isposinf(tree.boxes[:, 0, 0])  # the empty ones
    leaves = len(tree.blocks)
    for first, last in work.chunks(leaves, COUNTING, 0.0, 0.0):
        counting.count_within(tree, first, last, limit, enough, counts, done)
    for first, last in work.chunks(leaves, COUNTING):
        counting.count_between(tree, first, last, limit, enough, counts, added, done)
        counting.settle(tree, enough, counts, added, done)
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
    from pipelines.clustering.dbscan import joining

    parent = np.arange(tree.n, dtype=np.int32)
    joined = np.full(len(tree.boxes), joining.NO_CORE, dtype=np.int32)
    leaves = len(tree.blocks)
    for first, last in work.chunks(leaves, JOINING, 0.0, 0.0):
        joining.join_within(tree, first, last, limit, core, parent, joined)
    joining.look_up(tree, core, parent, joined)
    for first, last in work.chunks(leaves, JOINING):
        joining.join_between(tree, first, last, limit, core, parent, joined)
        joining.look_up(tree, core, parent, joined)
    names = spare
    joining.name_clusters(order, core, parent, names, labels)
    for first, last in work.chunks(leaves, REACHING):
        joining.reach_borders(tree, first, last, limit, core, order, joined, names, labels)
    return joining.number_clusters(labels, spare)
