"""One fit: the registry's estimator on points, and what it has found.

``Fitted.extra`` has, of

- DBSCAN: ``core`` int64 (cores,), indices of core points;
- HDBSCAN: ``probabilities`` float64 (n,), how firmly a point belongs to its cluster;
- OPTICS: ``ordering`` int64 (n,), ``reachability`` float64 (n,), both as points are numbered, in
  infinity where nothing is reached, and ``core_distances`` float64 (n,);
- agglomerative: ``merges`` int64 (n−1, 2): row i makes cluster n+i of two others, points being
  clusters 0…n−1; ``heights`` float64 (n−1,), at which they merge;
- mixtures: ``covariances`` float64 (clusters, d, d) of whatever kind, and ``weights`` (clusters,);
- BIRCH: ``small_centres`` float64 (small clusters, d);
- affinity propagation: ``exemplars`` int64 (clusters,), indices of points.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from threading import Event
from typing import Any

import numpy as np

from pipelines.clustering.algorithms import calls
from pipelines.clustering.algorithms.algorithm import Algorithm, Fitted
from pipelines.clustering.algorithms.parameters import Parameters
from pipelines.clustering.algorithms.registry import find
from pipelines.clustering.data.exporting import with_arrays
from pipelines.clustering.labels import appearing, count_clusters, renumber
from pipelines.core.errors import BadRequest, Stopped
from pipelines.core.events import Progress
from pipelines.core.messages import Message

Notes = Callable[[Message], None]
Tell = Callable[[Progress], None]
MAX_SEED = 2**32 - 1


def fit(
    name: str,
    X: np.ndarray,
    params: Parameters,
    seed: int,
    stop: Event,
    tell: Tell | None = None,
) -> Fitted:
    """Clusters points by one algorithm of the registry. The same seed gives the same labels.

    Args:
        X: float64 (n, d), finite; not changed. Own centres are in its coordinates.
        seed: 0 … 2**32 − 1; of no effect where nothing is drawn.
        tell: called with progress, of what has any: DBSCAN and HDBSCAN of many points.

    Raises:
        BadRequest: the points do not go with the parameters, as :meth:`Algorithm.check` or
            scikit-learn says.
        Stopped: ``stop`` was set; scikit-learn's own work cannot be broken off, so run what takes
            long by :func:`pipelines.clustering.running.run`.
    """
    algorithm = find(name)
    algorithm.check(X, params)
    if stop.is_set():
        raise Stopped
    notes: list[Message] = []
    import_module("sklearn.cluster")  # takes seconds the first time, which are not the fit's
    import_module("sklearn.mixture")
    started = time.monotonic()
    own = calls.own_call(name, params, len(X))
    if own is not None:
        found = _OWN[name](own, X, stop, tell)
    else:
        found = _estimate(algorithm, X, params, seed, notes.append)
    seconds = time.monotonic() - started
    if stop.is_set():
        raise Stopped
    return _fitted(algorithm, params, seed, found, seconds, notes)


def _fit_dbscan(
    call: calls.Call, X: np.ndarray, stop: Event, tell: Tell | None
) -> dict[str, np.ndarray]:
    """Our own DBSCAN, which gives scikit-learn's labels.

    It takes a hundredth to a third of scikit-learn's time where there are clusters, and in up to 15
    dimensions also where there are none. From 16 dimensions on scikit-learn compares all pairs by
    products of matrices; where nothing is clustered that is up to 1.9 times as fast in 16 and 2.5
    times in 24 and 32 (20,000 points on one core). It is not taken there: it rounds, so that of
    pairs exactly eps apart it joins half, where trees join five of six; it keeps all
    neighbourhoods, however many they are; and it neither tells how far it is nor stops when told.

    Returns:
        ``labels`` (n,) and ``core`` int64 (cores,), indices of core points, ascending.
    """
    if tell is not None:
        tell(Progress(0, 0, note=Message("Loading DBSCAN; the first time it is compiled")))
    found = _function(call)(X, **call.arguments, stop=stop, notes=tell)
    return {"labels": found.labels, "core": np.flatnonzero(found.core)}


def _fit_hdbscan(
    call: calls.Call, X: np.ndarray, stop: Event, tell: Tell | None
) -> dict[str, np.ndarray]:
    """Our own HDBSCAN; its module says why there is one.

    Returns:
        ``labels`` (n,) and ``probabilities`` float64 (n,).
    """
    if tell is not None:
        tell(Progress(0, 0, note=Message("Loading HDBSCAN; the first time it is compiled")))
    found = _function(call)(X, **call.arguments, stop=stop, notes=tell)
    return {"labels": found.labels, "probabilities": found.probabilities}


_OWN = {"dbscan": _fit_dbscan, "hdbscan": _fit_hdbscan}


def _function(call: calls.Call) -> Any:
    return getattr(import_module(call.module), call.name)


def _make(call: calls.Call, **more: Any) -> Any:
    return _function(call)(**call.arguments, **more)


def _estimate(
    algorithm: Algorithm, X: np.ndarray, params: Any, seed: int, notes: Notes
) -> dict[str, Any]:
    call = algorithm.call(params, seed)
    more = {}
    if algorithm.name == "mean_shift" and params.bandwidth is None:
        from sklearn.cluster import estimate_bandwidth

        more["bandwidth"] = estimate_bandwidth(X, **calls.bandwidth(params, seed, len(X)))
        if more["bandwidth"] == 0:  # every point has many equals: they are the clusters
            more["bandwidth"] = calls.LEAST_BANDWIDTH * (float(np.abs(X).max()) or 1.0)
    estimator = _make(call, **more)
    try:
        labels = estimator.fit_predict(X)
    except ValueError as error:  # what depends on the points it can say only now
        if algorithm.name == "mixture":
            raise BadRequest(
                "{algorithm} cannot cluster these points with these settings: a component has "
                "collapsed, so that it has no width in some direction. Ask for fewer clusters, "
                "raise the regularisation, or scale the data.",
                algorithm=algorithm.title,
            ) from error
        raise BadRequest(
            "{algorithm} cannot cluster these points with these settings. Change the settings, or "
            "scale the data.",
            algorithm=algorithm.title,
        ) from error
    found = {"labels": labels, "model": {}, **_DETAILS.get(algorithm.name, _nothing)(estimator, X)}
    _look_for_trouble(algorithm, estimator, params, labels, notes)
    return found


_SETTLES = ("kmeans", "mixture", "affinity")


def _look_for_trouble(
    algorithm: Algorithm, estimator: Any, params: Any, labels: np.ndarray, notes: Notes
) -> None:
    made = count_clusters(labels)
    if algorithm.name == "affinity" and not made:
        notes(
            Message(
                "The messages had not settled after {iterations} iterations, so there are no "
                "clusters: raise the damping or the iterations.",
                iterations=params.iterations,
            )
        )
    elif algorithm.name not in _SETTLES or (
        estimator.n_iter_ < params.iterations or getattr(estimator, "converged_", False)
    ):
        pass
    elif algorithm.name == "affinity":
        notes(
            Message(
                "The messages had not settled after {iterations} iterations: these clusters may "
                "mean nothing. Raise the damping or the iterations.",
                iterations=params.iterations,
            )
        )
    else:
        notes(
            Message(
                "It had not settled after {iterations} iterations; more may move it further.",
                iterations=params.iterations,
            )
        )
    if params.k is not None and made < params.k:
        notes(
            Message(
                "{made} clusters have points, of {clusters} that were asked for.",
                made=made,
                clusters=params.k,
            )
        )


# --- what each estimator has to say -----------------------------------------------------------


def _nothing(estimator: Any, X: np.ndarray) -> dict[str, Any]:
    return {}


def _centred(estimator: Any, X: np.ndarray) -> dict[str, Any]:
    model: dict[str, Any] = {}
    if hasattr(estimator, "inertia_"):
        model["inertia"] = float(estimator.inertia_)
    if hasattr(estimator, "n_iter_"):
        model["iterations"] = int(estimator.n_iter_)
    return {"centres": estimator.cluster_centers_, "model": model}


def _mean_shift(estimator: Any, X: np.ndarray) -> dict[str, Any]:
    found = _centred(estimator, X)
    return found | {"model": {**found["model"], "bandwidth": float(estimator.bandwidth)}}


def _dbscan(estimator: Any, X: np.ndarray) -> dict[str, Any]:
    return {"core": estimator.core_sample_indices_}


def _hdbscan(estimator: Any, X: np.ndarray) -> dict[str, Any]:
    return {"probabilities": estimator.probabilities_}


def _optics(estimator: Any, X: np.ndarray) -> dict[str, Any]:
    return {
        "ordering": estimator.ordering_,
        "reachability": estimator.reachability_,
        "core_distances": estimator.core_distances_,
    }


def _agglomerative(estimator: Any, X: np.ndarray) -> dict[str, Any]:
    return {"merges": estimator.children_, "heights": estimator.distances_}


def _mixture(estimator: Any, X: np.ndarray) -> dict[str, Any]:
    return {
        "centres": estimator.means_,
        "soft": estimator.predict_proba(X),
        "covariances": whole_covariances(estimator),
        "weights": estimator.weights_,
        "model": {
            "log_likelihood": float(estimator.score(X)) * len(X),
            "bic": float(estimator.bic(X)),
            "aic": float(estimator.aic(X)),
            "iterations": int(estimator.n_iter_),
            "settled": bool(estimator.converged_),
        },
    }


def _birch(estimator: Any, X: np.ndarray) -> dict[str, Any]:
    centres = estimator.subcluster_centers_
    return {"small_centres": centres, "model": {"small_clusters": len(centres)}}


def _affinity(estimator: Any, X: np.ndarray) -> dict[str, Any]:
    exemplars = np.asarray(estimator.cluster_centers_indices_, dtype=np.int64)
    return {
        "centres": X[exemplars],
        "exemplars": exemplars,
        "model": {"iterations": int(estimator.n_iter_)},
    }


_DETAILS: dict[str, Callable[[Any, np.ndarray], dict[str, Any]]] = {
    "kmeans": _centred,
    "minibatch": _centred,
    "bisecting": _centred,
    "dbscan": _dbscan,
    "hdbscan": _hdbscan,
    "optics": _optics,
    "agglomerative": _agglomerative,
    "mixture": _mixture,
    "mean_shift": _mean_shift,
    "birch": _birch,
    "affinity": _affinity,
}
_PER_CLUSTER = ("centres", "covariances", "weights", "exemplars")


def whole_covariances(estimator: Any) -> np.ndarray:
    """Covariances of a fitted Gaussian mixture of whatever kind as float64 (k, d, d)."""
    k, d = estimator.means_.shape
    kind, given = estimator.covariance_type, estimator.covariances_
    if kind == "full":
        return given
    if kind == "tied":
        return np.repeat(given[None], k, axis=0)
    return np.eye(d) * (given[:, None, None] if kind == "spherical" else given[:, None, :])


def _fitted(
    algorithm: Algorithm,
    params: Parameters,
    seed: int,
    found: dict[str, Any],
    seconds: float,
    notes: list[Message],
) -> Fitted:
    import sklearn

    labels = found.pop("labels")
    about = found.pop("model", {})
    soft = found.pop("soft", None)
    if "centres" in found:
        order = appearing(labels, len(found["centres"]))
        for name in _PER_CLUSTER:
            if name in found:
                found[name] = found[name][order]
        soft = None if soft is None else soft[:, order]
    centres = found.pop("centres", None)
    model = {
        "algorithm": algorithm.name,
        "parameters": params.model_dump(mode="json"),
        "seed": seed,
        "scikit_learn": sklearn.__version__,
        "clusters": count_clusters(labels),
        **about,
    }
    told = {} if centres is None else {"centres": (centres, "centres.csv")}
    if soft is not None:
        told |= {name: (found[name], "extra.npz") for name in ("weights", "covariances")}
    return Fitted(
        labels=renumber(labels),
        centres=centres,
        noise=int((labels < 0).sum()),
        soft=soft,
        extra=found,
        seconds=seconds,
        model=with_arrays(model, told),
        notes=tuple(notes),
    )
