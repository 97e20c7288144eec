"""Which estimator of scikit-learn, or function of our own, each algorithm is, with which arguments.

A fit is made from this, and the code that reproduces a fit is printed from it: they cannot differ.
"""

from __future__ import annotations

from typing import Any

from pipelines.clustering.algorithms import parameters as ask
from pipelines.clustering.algorithms.algorithm import Call

_CLUSTER = "sklearn.cluster"
BANDWIDTH_POINTS = 2000
"""The bandwidth of mean shift is estimated from so many points: all pairs of them are looked at."""
DBSCAN_FEW = 2000
"""Up to so many points DBSCAN is scikit-learn's: their neighbourhoods take at most 32 MB, and it is
done before our own, which needs no more memory for a million, has been loaded (1.6 s)."""
HDBSCAN_FEW = 2000
"""Up to so many points HDBSCAN is scikit-learn's, which looks at all pairs: it is done before our
own has been loaded."""
LEAST_BANDWIDTH = 1e-6
"""Times the largest value: the window where the estimate is 0, which mean shift does not take."""


def kmeans(params: ask.KMeansParameters, seed: int) -> Call:
    own = params.start == "own"
    return _cluster(
        "KMeans",
        n_clusters=params.k,
        init=[list(row) for row in params.centres] if own else params.start,
        n_init=1 if own else params.starts,
        max_iter=params.iterations,
        tol=params.tolerance,
        random_state=seed,
    )


def minibatch(params: ask.MiniBatchParameters, seed: int) -> Call:
    return _cluster(
        "MiniBatchKMeans",
        n_clusters=params.clusters,
        init=params.start,
        n_init=params.starts,
        max_iter=params.iterations,
        batch_size=params.batch,
        random_state=seed,
    )


def bisecting(params: ask.BisectingParameters, seed: int) -> Call:
    return _cluster(
        "BisectingKMeans",
        n_clusters=params.clusters,
        init=params.start,
        n_init=params.starts,
        max_iter=params.iterations,
        tol=params.tolerance,
        bisecting_strategy=params.split,
        random_state=seed,
    )


def dbscan(params: ask.DBSCANParameters, seed: int) -> Call:
    return _cluster("DBSCAN", eps=params.eps, min_samples=params.min_samples)


def hdbscan(params: ask.HDBSCANParameters, seed: int) -> Call:
    return _cluster(
        "HDBSCAN",
        min_cluster_size=params.min_cluster_size,
        min_samples=params.min_samples,
        cluster_selection_epsilon=params.merge_below,
        cluster_selection_method=params.selection,
        allow_single_cluster=params.single,
        copy=True,  # else it may sort the points in place
    )


def optics(params: ask.OPTICSParameters, seed: int) -> Call:
    arguments: dict[str, Any] = {
        "min_samples": params.min_samples,
        "max_eps": float("inf") if params.max_eps is None else params.max_eps,
        "cluster_method": params.method,
    }
    if params.method == "xi":
        arguments |= {"xi": params.xi, "min_cluster_size": params.min_cluster_size}
    else:  # a height above the largest radius would find nothing that is not known at that radius
        arguments["eps"] = min(params.eps, arguments["max_eps"])
    return _cluster("OPTICS", **arguments)


def agglomerative(params: ask.AgglomerativeParameters, seed: int) -> Call:
    return _cluster(
        "AgglomerativeClustering",
        n_clusters=params.k,
        distance_threshold=params.height,
        linkage=params.linkage,
        compute_full_tree=True,
        compute_distances=True,
    )


def mixture(params: ask.MixtureParameters, seed: int) -> Call:
    arguments = {
        "n_components": params.clusters,
        "covariance_type": params.covariance,
        "n_init": params.starts,
        "max_iter": params.iterations,
        "tol": params.tolerance,
        "reg_covar": params.regularisation,
        "random_state": seed,
    }
    return Call("sklearn.mixture", "GaussianMixture", arguments)


def mean_shift(params: ask.MeanShiftParameters, seed: int) -> Call:
    """Without its bandwidth where that is to be estimated: that needs the points."""
    arguments = {"bin_seeding": params.binned, "cluster_all": params.everyone}
    if params.bandwidth is not None:
        arguments["bandwidth"] = params.bandwidth
    return _cluster("MeanShift", **arguments)


def bandwidth(params: ask.MeanShiftParameters, seed: int, points: int) -> dict[str, Any]:
    """The arguments of scikit-learn's ``estimate_bandwidth`` for so many points."""
    return {
        "quantile": params.quantile,
        "n_samples": min(points, BANDWIDTH_POINTS),
        "random_state": seed,
    }


def spectral(params: ask.SpectralParameters, seed: int) -> Call:
    by_distance = params.affinity == "rbf"
    return _cluster(
        "SpectralClustering",
        n_clusters=params.clusters,
        affinity=params.affinity,
        **({"gamma": params.gamma} if by_distance else {"n_neighbors": params.neighbours}),
        assign_labels=params.assign,
        random_state=seed,
    )


def birch(params: ask.BirchParameters, seed: int) -> Call:
    return _cluster(
        "Birch",
        n_clusters=params.clusters,
        threshold=params.threshold,
        branching_factor=params.branching,
    )


def affinity(params: ask.AffinityParameters, seed: int) -> Call:
    return _cluster(
        "AffinityPropagation",
        damping=params.damping,
        preference=params.preference,
        max_iter=params.iterations,
        convergence_iter=params.settled,
        random_state=seed,
    )


def _cluster(name: str, **arguments: Any) -> Call:
    return Call(_CLUSTER, name, arguments)


def own_call(name: str, params: ask.Parameters, points: int) -> Call | None:
    """The function of our own that clusters so many points; None where scikit-learn does.

    Few points go there too when there is a distance below which HDBSCAN parts nothing:
    scikit-learn 1.9 fails on that with the NumPy of today (TypeError in ``traverse_upwards``).
    """
    if name == "dbscan" and points > DBSCAN_FEW:
        arguments = {"eps": params.eps, "min_samples": params.min_samples}
        return Call("pipelines.clustering.dbscan.dbscan", "dbscan", arguments)
    if name == "hdbscan" and (points > HDBSCAN_FEW or params.merge_below):
        arguments = {
            "min_cluster_size": params.min_cluster_size,
            "min_samples": params.min_samples or params.min_cluster_size,
            "leaf": params.selection == "leaf",
            "merge_below": params.merge_below,
            "single": params.single,
        }
        return Call("pipelines.clustering.dbscan.hdbscan", "hdbscan", arguments)
    return None
