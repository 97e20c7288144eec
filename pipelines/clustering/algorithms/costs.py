"""How long each algorithm takes and how much memory, before it starts.

Seconds on one core and bytes beyond the data, from n points, d coordinates and the parameters. The
constants were measured at 500 to 4,000 points of blobs in 2 and 8 dimensions (of OPTICS at up to
10,000, of DBSCAN and HDBSCAN at up to 1,000,000); what data look like moves them by a factor of two
or three, which is what an estimate may be off by. What cannot be known before (how many iterations,
how many neighbours) is taken as blobs have it.
"""

from __future__ import annotations

from math import log2

from pipelines.clustering.algorithms import parameters as ask
from pipelines.clustering.algorithms.algorithm import Estimate
from pipelines.clustering.algorithms.calls import DBSCAN_FEW, HDBSCAN_FEW

_ITERATIONS = 15.0  # of Lloyd's, until it settles on blobs
_FLOAT = 8  # bytes


def _k(params: ask.Parameters) -> int:
    return params.k or 8


def _log(n: int) -> float:
    return log2(n + 2)


def kmeans(n: int, d: int, params: ask.KMeansParameters) -> float:
    starts = 1 if params.start == "own" else params.starts
    rounds = min(_ITERATIONS, params.iterations)
    return starts * (2e-3 + rounds * n * (_k(params) * (d + 4) * 6e-10 + 4e-9))


def kmeans_bytes(n: int, d: int, params: ask.Parameters) -> float:
    return n * (d * _FLOAT + 4 * _FLOAT) + 2**20  # a centred copy, norms, labels, distances


def minibatch(n: int, d: int, params: ask.MiniBatchParameters) -> float:
    batches = min(params.iterations * n / params.batch, 100)
    size = min(params.batch, n)
    return 5e-3 * params.starts + (batches * size + n) * (_k(params) * (d + 4) * 6e-10 + 5e-8)


def bisecting(n: int, d: int, params: ask.BisectingParameters) -> float:
    rounds = min(_ITERATIONS, params.iterations) * _log(_k(params))
    return _k(params) * 2e-3 + params.starts * rounds * n * ((d + 4) * 1.2e-9 + 4e-9)


def dbscan(n: int, d: int, params: ask.DBSCANParameters) -> float:
    """In many dimensions a tree helps where there are clusters; without, it is ten times this."""
    return 5e-3 + n * _log(n) * d * 2e-8 + (n * n * d * 5e-11 if d >= 8 else 0)


def dbscan_bytes(n: int, d: int, params: ask.DBSCANParameters) -> float:
    """Of :func:`pipelines.clustering.dbscan.dbscan.estimated_bytes` what cannot be exceeded; of few
    points all neighbourhoods at worst."""
    if n <= DBSCAN_FEW:
        return n * n * _FLOAT + n * d * _FLOAT
    return n * (2.2 * d * _FLOAT + 40) + 2**20


def hdbscan(n: int, d: int, params: ask.HDBSCANParameters) -> float:
    """In many dimensions a tree helps where there are clusters; without, it is ten times this."""
    neighbours = params.min_samples or params.min_cluster_size
    if n <= HDBSCAN_FEW:
        return 1e-2 + n * n * (d + 2) * 7e-10 + n * _log(n) * 3e-7
    steps = n * _log(n) * (d * 4e-8 + neighbours * 1e-8)
    return 1e-2 + steps + (n * n * d * 5e-11 if d >= 8 else 0)


def hdbscan_bytes(n: int, d: int, params: ask.HDBSCANParameters) -> float:
    """The neighbours of each point, as :mod:`pipelines.clustering.dbscan.hdbscan` keeps them."""
    neighbours = params.min_samples or params.min_cluster_size
    if n <= HDBSCAN_FEW:
        return n * (_FLOAT * d + 30 * _FLOAT + neighbours * 16)
    return n * (2.2 * d * _FLOAT + 4 * neighbours + 130) + 2**20


def optics(n: int, d: int, params: ask.OPTICSParameters) -> float:
    """A step of Python for each point, and a query of a tree that sees ever more of them."""
    return n * 1.8e-3 + n * n * (d + 10) * 2e-9


def optics_bytes(n: int, d: int, params: ask.OPTICSParameters) -> float:
    return n * (_FLOAT * d + 20 * _FLOAT + params.min_samples * 16)


def agglomerative(n: int, d: int, params: ask.AgglomerativeParameters) -> float:
    if params.linkage == "single":  # a spanning tree, without the table of distances
        return 1e-2 + n * n * (d + 2) * 4e-10
    return 1e-2 + n * n * (d * 1e-9 + 3e-8)


def agglomerative_bytes(n: int, d: int, params: ask.AgglomerativeParameters) -> float:
    """All distances, once more as scipy works on a copy of them."""
    return n * (100 + _FLOAT * d) + (0 if params.linkage == "single" else 2 * n * n / 2 * _FLOAT)


def mixture(n: int, d: int, params: ask.MixtureParameters) -> float:
    work = d * d if params.covariance in ("full", "tied") else d
    rounds = min(20, params.iterations)
    return params.starts * (1e-2 + rounds * n * _k(params) * (work * 1.5e-9 + 2.5e-8))


def mixture_bytes(n: int, d: int, params: ask.MixtureParameters) -> float:
    return n * _FLOAT * (4 * _k(params) + 2 * d) + _k(params) * d * d * 3 * _FLOAT


def mean_shift(n: int, d: int, params: ask.MeanShiftParameters) -> float:
    windows = min(n, 60) if params.binned else n
    rounds = 25  # until a window stands still
    inside = n * params.quantile
    estimate = min(n, 2000) ** 2 * 2e-7
    return estimate + windows * rounds * (1e-4 + inside * (d + 4) * 3e-9) + n * 1e-6


def mean_shift_bytes(n: int, d: int, params: ask.MeanShiftParameters) -> float:
    return n * _FLOAT * (3 * d + 10) + min(n, 2000) ** 2 * 2 * _FLOAT


def spectral(n: int, d: int, params: ask.SpectralParameters) -> float:
    if params.affinity == "rbf":
        return 2e-2 + n * n * (d * 1e-9 + 8e-8) * max(1, _k(params) / 8)
    return 2e-2 + n * (2e-5 + params.neighbours * _k(params) * 5e-7) * _log(n) / 10


def spectral_bytes(n: int, d: int, params: ask.SpectralParameters) -> float:
    if params.affinity == "rbf":
        return 4.0 * n * n * _FLOAT
    return n * (params.neighbours * 100 + _k(params) * 20 * _FLOAT)


def birch(n: int, d: int, params: ask.BirchParameters) -> float:
    return 1e-2 + n * (1.2e-5 + d * params.branching * 5e-8) * _log(n) / 10


def birch_bytes(n: int, d: int, params: ask.BirchParameters) -> float:
    """Every tenth point its own small cluster; a small threshold makes more."""
    return n * (_FLOAT * d + 100) + n / 10 * (d * 40 + 500)


def affinity(n: int, d: int, params: ask.AffinityParameters) -> float:
    rounds = min(params.iterations, 80)
    return 1e-2 + rounds * n * n * 8e-9


def affinity_bytes(n: int, d: int, params: ask.AffinityParameters) -> float:
    return 4.5 * n * n * _FLOAT  # similarities, availabilities, responsibilities, scratch


def silhouettes(n: int, d: int) -> float:
    """Seconds for those of n points: all distances between them."""
    return 1e-2 + n * n * (d * 1e-9 + 8e-9)


def k_distance(n: int, d: int, neighbours: int) -> Estimate:
    """Of at most 20,000 of n points, in a k-d tree, which in many dimensions looks at most of them.

    The tree is scipy's, which keeps the indices and the nodes beside the points.
    """
    asked = min(n, 20_000)
    looked_at = n if d > 12 else min(n, (neighbours + 20) * 2**d)
    seconds = 1e-2 + n * _log(n) * 3e-8 * d + asked * (1e-5 + looked_at * d * 4e-10)
    return Estimate(seconds, n * 30.0 + asked * 8 * _FLOAT)
