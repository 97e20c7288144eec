"""The curves of a :class:`CurveRequest`: what each computes and takes, and what is drawn of it.

What is drawn has at most :data:`MOST` numbers in a series. Of more, so many are kept, evenly or by
what stands out; ``of`` then says of how many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from threading import Event
from typing import Any

import numpy as np

from pipelines.clustering import model_selection
from pipelines.clustering.algorithms.base import MAX_SEED, Estimate, check_points
from pipelines.clustering.algorithms.fields import COVARIANCES, Parameters
from pipelines.clustering.algorithms.kmeans import KMeansParameters
from pipelines.clustering.algorithms.mixture import MixtureParameters
from pipelines.clustering.algorithms.registry import find
from pipelines.clustering.labels import count_clusters
from pipelines.clustering.metrics import SAMPLE, silhouette_seconds, silhouettes
from pipelines.clustering.requests import CurveRequest
from pipelines.clustering.running import Work
from pipelines.core.errors import BadRequest
from pipelines.core.events import Progress

MOST = 2000


@dataclass(frozen=True, slots=True)
class SilhouetteSamples:
    """The silhouette of each point, or of a sample; noise has none.

    Attributes:
        values: float64 (m,), −1 … 1.
        labels: int32 (m,), the clusters of the same points.
        mean: of ``values``.
        clusters: how many there are.
        sampled: m where there are more points in clusters, else None.
    """

    values: np.ndarray
    labels: np.ndarray
    mean: float
    clusters: int
    sampled: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a curve needs to be computed by :func:`pipelines.clustering.running.run`."""

    work: Work
    arguments: dict[str, Any]
    estimate: Estimate


def silhouette_samples(
    X: np.ndarray, *, algorithm: str, params: Parameters, seed: int, stop: Event
) -> Iterator[Progress]:
    """One fit and the silhouettes of its clusters; returns :class:`SilhouetteSamples`.

    Raises:
        BadRequest: there are fewer than two clusters, or as many as points.
    """
    yield Progress(0, 2)
    labels = find(algorithm).fit(X, params, seed, stop).labels
    inside = labels >= 0
    clusters, points = count_clusters(labels), int(inside.sum())
    if not 2 <= clusters < points:
        raise BadRequest(
            "Silhouettes need at least 2 clusters and more points than clusters; {algorithm} finds "
            "{clusters} clusters of {points} points. Change its parameters.",
            algorithm=find(algorithm).title,
            clusters=clusters,
            points=points,
        )
    yield Progress(1, 2)
    values, chosen = silhouettes(X[inside], labels[inside], seed)
    of = labels[inside][chosen]
    return SilhouetteSamples(
        values, of, float(values.mean()), clusters, len(of) if len(of) < points else None
    )


def plan(request: CurveRequest, X: np.ndarray, params: Parameters | None) -> Plan:
    """What is to be done for a curve of ``X`` (n, d).

    Args:
        params: of the algorithm, its own centres where the points are; None where the curve has
            no algorithm that is chosen.

    Raises:
        BadRequest: these points do not go with what is asked.
    """
    check_points(X)
    n, d = X.shape
    ks = range(request.least, request.most + 1)
    by_k = {"ks": tuple(ks), "seed": request.seed}
    one = {"algorithm": request.algorithm, "params": params}
    if request.curve in ("elbow", "silhouette", "gap"):
        work = {
            "elbow": model_selection.elbow,
            "silhouette": model_selection.silhouette_curve,
            "gap": model_selection.gap,
        }[request.curve]
        each = [KMeansParameters(clusters=k, starts=model_selection.STARTS) for k in ks]
        fits = model_selection.estimate_curve("kmeans", X, each)
        more = len(ks) * silhouette_seconds(min(n, SAMPLE), d) * (request.curve == "silhouette")
        times = 1 + model_selection.REFERENCES * (request.curve == "gap")
        return Plan(work, by_k, Estimate(times * fits.seconds + more, fits.bytes))
    if request.curve == "information":
        each = [MixtureParameters(clusters=k, covariance=c, starts=3) for k in ks
                for c in COVARIANCES]  # fmt: skip
        return Plan(
            model_selection.information, by_k, model_selection.estimate_curve("mixture", X, each)
        )
    if request.curve == "k_distance":
        arguments = {"min_samples": request.min_samples, "seed": request.seed}
        return Plan(
            model_selection.k_distance,
            arguments,
            model_selection.estimate_k_distance(n, d, request.min_samples),
        )
    if request.curve == "reachability":
        find("optics").check(X, params)
        return Plan(
            model_selection.reachability, {"params": params}, find("optics").estimate(n, d, params)
        )
    chosen = find(request.algorithm)
    chosen.check(X, params)
    fits = chosen.estimate(n, d, params)
    if request.curve == "stability":
        seeds = [(request.seed + at) % (MAX_SEED + 1) for at in range(request.seeds)]
        estimate = Estimate(len(seeds) * fits.seconds, fits.bytes + 4 * n * len(seeds))
        return Plan(model_selection.stability, {**one, "seeds": seeds}, estimate)
    seconds = fits.seconds + silhouette_seconds(min(n, SAMPLE), d)
    return Plan(silhouette_samples, {**one, "seed": request.seed}, Estimate(seconds, fits.bytes))


def to_chart(found: Any) -> dict[str, Any]:
    """What a curve has found, as JSON: its fields by name, arrays as lists, infinity as None.

    Further fields: ``of``, how many values there were where fewer are drawn, else None; of a
    reachability plot ``points``. Distances are thinned evenly, silhouettes evenly within each
    cluster and sorted, the largest first; of neighbours in a reachability plot the highest bar is
    kept, as it is what parts clusters.
    """
    thin = _THIN.get(type(found))
    return asdict(found) | {"of": None} if thin is None else thin(found)


def _to_lists(found: Any) -> dict[str, Any]:
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in asdict(found).items()
    } | {"of": None}


def _evenly(length: int, most: int) -> np.ndarray:
    """Which of ``length`` sorted values to keep: at the middles of ``most`` equal parts."""
    if length <= most:
        return np.arange(length)
    return ((np.arange(most) + 0.5) * length / most).astype(np.int64)


def _distances(found: model_selection.KDistance) -> dict[str, Any]:
    kept = found.distances[_evenly(len(found.distances), MOST)]
    return asdict(found) | {
        "distances": _short(kept),
        "of": len(found.distances) if len(kept) < len(found.distances) else None,
    }


def _bars(found: model_selection.Reachability) -> dict[str, Any]:
    count = len(found.ordering)
    starts = np.linspace(0, count, min(count, MOST), endpoint=False).astype(np.int64)
    ends = np.append(starts[1:], count)
    highest = [start + int(found.reachability[start:end].argmax())
               for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]  # fmt: skip
    middle = (starts + ends) // 2
    return {
        "ordering": found.ordering[highest].tolist(),
        "reachability": _short(found.reachability[highest]),
        "labels": found.labels[middle].tolist(),
        "points": count,
        "of": count if count > MOST else None,
    }


def _silhouette_samples(found: SilhouetteSamples) -> dict[str, Any]:
    order = np.lexsort((-found.values, found.labels))
    values, labels = found.values[order], found.labels[order]
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    ends = np.append(starts[1:], len(labels))
    share = min(1.0, MOST / len(labels))
    kept = np.concatenate(
        [
            start + _evenly(end - start, max(1, int(share * (end - start))))
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]
    )
    return {
        "values": _short(values[kept]),
        "labels": labels[kept].tolist(),
        "mean": found.mean,
        "clusters": found.clusters,
        "sampled": found.sampled,
        "of": len(labels) if len(kept) < len(labels) else None,
    }


def _short(values: np.ndarray) -> list[float | None]:
    """To six digits; what is not finite is None."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values.tolist()]


_THIN: dict[type, Callable[[Any], dict[str, Any]]] = {
    model_selection.Information: _to_lists,
    model_selection.Stability: _to_lists,
    model_selection.KDistance: _distances,
    model_selection.Reachability: _bars,
    SilhouetteSamples: _silhouette_samples,
}
