"""What helps to choose parameters: curves over k, over radii and over seeds.

Generators that fit many times yield Progress and return what they have found; each takes points
``X`` float64 (n, d), which are not changed, and the same seed gives the same curves. They are work
for :func:`pipelines.clustering.running.run`, whose process can be ended within a fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from threading import Event

import numpy as np

from pipelines.clustering.algorithms.base import MAX_SEED, Estimate, check_points, tree_depth
from pipelines.clustering.algorithms.fields import COVARIANCES, Covariance, Parameters
from pipelines.clustering.algorithms.kmeans import KMeansParameters
from pipelines.clustering.algorithms.mixture import MixtureParameters
from pipelines.clustering.algorithms.optics import OPTICSParameters
from pipelines.clustering.algorithms.registry import find
from pipelines.clustering.labels import count_clusters
from pipelines.clustering.metrics import SAMPLE, silhouettes
from pipelines.clustering.running import outcome
from pipelines.core.errors import BadRequest, Stopped
from pipelines.core.events import Progress

STARTS = 5  # of each K-Means of a curve
REFERENCES = 10  # uniform data sets of the gap statistic


@dataclass(frozen=True, slots=True)
class Elbow:
    """Inertia J over k, and the k at the knee (None where J falls in a straight line)."""

    ks: tuple[int, ...]
    inertia: tuple[float, ...]
    knee: int | None


@dataclass(frozen=True, slots=True)
class SilhouetteCurve:
    """Mean silhouette over k, None where it is not defined; ``best`` has the highest.

    ``sampled``: of how many points it was taken, where there are more.
    """

    ks: tuple[int, ...]
    means: tuple[float | None, ...]
    best: int | None
    sampled: int | None


@dataclass(frozen=True, slots=True)
class Gap:
    """The gap statistic over k.

    Attributes:
        ks: ascending.
        gap: E*[log W] − log W, by ``references`` uniform data sets.
        s: standard errors s_k = sd_k·√(1 + 1/references).
        log_w: of the data.
        log_w_reference: the mean of the references'.
        best: the smallest k with gap(k) ≥ gap(k+1) − s(k+1); None where no k has that.
    """

    ks: tuple[int, ...]
    gap: tuple[float, ...]
    s: tuple[float, ...]
    log_w: tuple[float, ...]
    log_w_reference: tuple[float, ...]
    best: int | None


@dataclass(frozen=True, slots=True)
class KDistance:
    """Sorted distances float64 (m,) to the (min_samples−1)-th other point, and an eps at the knee.

    ``sampled``: m where there are more points than that; the distances are to all points.
    """

    distances: np.ndarray
    min_samples: int
    eps: float | None
    sampled: int | None


@dataclass(frozen=True, slots=True)
class Information:
    """BIC and AIC of Gaussian mixtures (rows: covariance types; columns: ks), lower is better."""

    ks: tuple[int, ...]
    covariances: tuple[Covariance, ...]
    bic: np.ndarray
    aic: np.ndarray
    best_bic: tuple[int, Covariance]
    best_aic: tuple[int, Covariance]


@dataclass(frozen=True, slots=True)
class Reachability:
    """Distances float64 (n,) in the order of the plot, which points these are, their labels."""

    ordering: np.ndarray
    reachability: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, slots=True)
class Stability:
    """Pairwise ARI over seeds: 1 where every seed gives the same clusters."""

    seeds: tuple[int, ...]
    pairwise: np.ndarray
    mean: float
    clusters: tuple[int, ...]


def knee(x: Sequence[float], y: Sequence[float]) -> int | None:
    """The index of the point of a curve that lies farthest below the line between its ends.

    Both axes are brought to 0 … 1 first (Satopää et al., "Finding a 'Kneedle' in a Haystack",
    2011, without smoothing): for a convex curve that is its knee, or elbow.

    Returns:
        None where no point lies below the line.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    across = (x - x[0]) / (x[-1] - x[0])
    up = (y - y.min()) / np.ptp(y)
    below = up[0] + across * (up[-1] - up[0]) - up
    return int(below.argmax()) if below.max() > 1e-9 else None


def elbow(X: np.ndarray, *, ks: Sequence[int], seed: int, stop: Event) -> Iterator[Progress]:
    """K-Means for each k; returns an :class:`Elbow`."""
    ks, inertia = _ks(X, ks), []
    for number, k in enumerate(ks):
        yield Progress(number, len(ks))
        inertia.append(_inertia(X, k, seed, stop))
    at = knee(ks, inertia)
    return Elbow(ks, tuple(inertia), None if at is None else ks[at])


def silhouette_curve(
    X: np.ndarray, *, ks: Sequence[int], seed: int, stop: Event
) -> Iterator[Progress]:
    """Mean silhouettes of K-Means for each k; returns a :class:`SilhouetteCurve`."""
    ks, means = _ks(X, ks), []
    for number, k in enumerate(ks):
        yield Progress(number, len(ks))
        labels = _kmeans(X, k, seed, stop).labels
        defined = 2 <= count_clusters(labels) < len(X)
        means.append(float(silhouettes(X, labels, seed)[0].mean()) if defined else None)
    known = [(mean, -k) for mean, k in zip(means, ks, strict=True) if mean is not None]
    best = -max(known)[1] if known else None
    return SilhouetteCurve(ks, tuple(means), best, SAMPLE if len(X) > SAMPLE else None)


def gap(
    X: np.ndarray,
    *,
    ks: Sequence[int],
    seed: int,
    stop: Event,
    references: int = REFERENCES,
) -> Iterator[Progress]:
    """The gap statistic: Tibshirani, Walther and Hastie 2001; returns a :class:`Gap`.

    W_k is the pooled within-cluster sum of squares about the means, which is K-Means' inertia.
    The rule needs neighbouring ks, so all from the least to the largest are computed. References
    are uniform over the columns' ranges (their variant a).
    """
    asked = _ks(X, ks)
    ks = tuple(range(asked[0], asked[-1] + 1))
    if len(np.unique(X, axis=0)) <= ks[-1]:
        raise BadRequest(
            "The gap statistic needs more than {clusters} different points: lower the largest k.",
            clusters=ks[-1],
        )
    rng = np.random.default_rng(seed)
    total = (references + 1) * len(ks)
    log_w = np.empty((references + 1, len(ks)))
    for row in range(references + 1):
        points = X if row == 0 else rng.uniform(X.min(axis=0), X.max(axis=0), X.shape)
        for column, k in enumerate(ks):
            yield Progress(row * len(ks) + column, total)
            log_w[row, column] = np.log(_inertia(points, k, seed, stop))
    mean, sd = log_w[1:].mean(axis=0), log_w[1:].std(axis=0)
    gaps, s = mean - log_w[0], sd * np.sqrt(1 + 1 / references)
    holds = np.flatnonzero(gaps[:-1] >= gaps[1:] - s[1:])
    return Gap(
        ks,
        tuple(gaps.tolist()),
        tuple(s.tolist()),
        tuple(log_w[0].tolist()),
        tuple(mean.tolist()),
        ks[holds[0]] if len(holds) else None,
    )


def k_distance(
    X: np.ndarray, *, min_samples: int, seed: int, stop: Event, limit: int = 20_000
) -> Iterator[Progress]:
    """Distance to the (min_samples−1)-th other point, ascending; returns a :class:`KDistance`.

    A point is a core point at eps just when this is at most eps: the curve says how many points
    are. Ester et al. 1996, section 4.2. A k-d tree; O(m·log n) in few dimensions.

    Args:
        limit: of how many points the distances are taken, at most.
    """
    check_points(X)
    if not 2 <= min_samples <= len(X):
        raise BadRequest(
            "The k-distance plot needs at least 2 neighbours and at most as many as there are "
            "points: min_samples is {value}, and there are {points} points.",
            value=min_samples,
            points=len(X),
        )
    from scipy.spatial import KDTree

    tree = KDTree(X)
    chosen = X
    if len(X) > limit:
        drawn = np.random.default_rng(seed).choice(len(X), limit, replace=False)
        chosen = X[np.sort(drawn)]
    parts = np.array_split(chosen, max(1, len(chosen) // 1000))
    found = []
    for number, part in enumerate(parts):
        if stop.is_set():
            raise Stopped
        yield Progress(number, len(parts))
        found.append(tree.query(part, k=[min_samples])[0][:, 0])  # the first is the point itself
    distances = np.sort(np.concatenate(found))
    at = knee(np.arange(len(distances)), distances)
    eps = float(distances[at]) if at is not None and distances[at] > 0 else None
    return KDistance(distances, min_samples, eps, len(chosen) if len(X) > limit else None)


def estimate_k_distance(n: int, d: int, neighbours: int) -> Estimate:
    """What :func:`k_distance` of n points takes: in many dimensions a tree looks at most of them.

    The tree is scipy's, which keeps the indices and the nodes beside the points.
    """
    asked = min(n, 20_000)
    looked_at = n if d > 12 else min(n, (neighbours + 20) * 2**d)
    seconds = 1e-2 + n * tree_depth(n) * 3e-8 * d + asked * (1e-5 + looked_at * d * 4e-10)
    return Estimate(seconds, n * 30.0 + asked * 8 * 8)


def first_eps(X: np.ndarray, seed: int, stop: Event) -> float | None:
    """A radius to begin with: 98 % of the points are core, of 5 neighbours. None of fewer points,
    or of equal ones.

    On made data of 300 to 3,000 points it agrees better with the true groups than the knee does:
    ARI 0.99 to 1 instead of 0.80 to 0.90 on blobs and moons, 0.79 to 1 instead of 0.54 to 0.59 on
    circles; but worse on spirals and on wine.
    """
    if len(X) < 5:
        return None
    found = outcome(k_distance(X, min_samples=5, seed=seed, stop=stop, limit=2000))
    eps = float(f"{np.quantile(found.distances, 0.98):.2g}")
    return eps if eps > 0 else None


def information(
    X: np.ndarray,
    *,
    ks: Sequence[int],
    seed: int,
    stop: Event,
    covariances: Sequence[Covariance] = COVARIANCES,
) -> Iterator[Progress]:
    """BIC and AIC of a Gaussian mixture for each k and covariance type; :class:`Information`."""
    ks, covariances = _ks(X, ks), tuple(covariances)
    bic = np.empty((len(covariances), len(ks)))
    aic = np.empty_like(bic)
    for row, covariance in enumerate(covariances):
        for column, k in enumerate(ks):
            yield Progress(row * len(ks) + column, bic.size)
            params = MixtureParameters(clusters=k, covariance=covariance, starts=3)
            model = find("mixture").fit(X, params, seed, stop).model
            bic[row, column], aic[row, column] = model["bic"], model["aic"]
    bests = []
    for table in (bic, aic):
        row, column = np.unravel_index(table.argmin(), table.shape)
        bests.append((ks[column], covariances[row]))
    return Information(ks, covariances, bic, aic, *bests)


def reachability(X: np.ndarray, *, params: OPTICSParameters, stop: Event) -> Iterator[Progress]:
    """OPTICS' plot: Ankerst, Breunig, Kriegel and Sander 1999; returns a :class:`Reachability`."""
    yield Progress(0, 1)
    fitted = find("optics").fit(X, params, 0, stop)
    order = fitted.extra["ordering"]
    return Reachability(order, fitted.extra["reachability"][order], fitted.labels[order])


def stability(
    X: np.ndarray,
    *,
    algorithm: str,
    params: Parameters,
    seeds: Sequence[int],
    stop: Event,
) -> Iterator[Progress]:
    """How alike the clusters of different seeds are; returns a :class:`Stability`."""
    from sklearn.metrics import adjusted_rand_score

    if len(seeds) < 2 or not all(0 <= seed <= MAX_SEED for seed in seeds):
        raise BadRequest(
            "Stability needs at least two seeds from 0 to {limit}; there are {count}.",
            limit=MAX_SEED,
            count=len(seeds),
        )
    found = []
    for number, seed in enumerate(seeds):
        yield Progress(number, len(seeds))
        found.append(find(algorithm).fit(X, params, seed, stop).labels)
    pairwise = np.eye(len(seeds))
    for one, other in combinations(range(len(seeds)), 2):
        value = adjusted_rand_score(found[one], found[other])
        pairwise[one, other] = pairwise[other, one] = value
    mean = float(pairwise[np.triu_indices(len(seeds), 1)].mean())
    return Stability(tuple(seeds), pairwise, mean, tuple(map(count_clusters, found)))


def estimate_curve(algorithm: str, X: np.ndarray, each: Sequence[Parameters]) -> Estimate:
    """What fits with each of these parameters, one after another, will take together."""
    found = [find(algorithm).estimate(*X.shape, params) for params in each]
    return Estimate(sum(one.seconds for one in found), max(one.bytes for one in found))


def _ks(X: np.ndarray, ks: Sequence[int]) -> tuple[int, ...]:
    check_points(X)
    chosen = tuple(sorted(set(ks)))
    if not chosen or chosen[0] < 1 or chosen[-1] > len(X):
        raise BadRequest(
            "k must be from 1 to the number of points, {points}; asked were {asked}.",
            points=len(X),
            asked=f"{chosen[0]} – {chosen[-1]}" if chosen else "–",
        )
    return chosen


def _kmeans(X: np.ndarray, k: int, seed: int, stop: Event):
    return find("kmeans").fit(X, KMeansParameters(clusters=k, starts=STARTS), seed, stop)


def _inertia(X: np.ndarray, k: int, seed: int, stop: Event) -> float:
    return _kmeans(X, k, seed, stop).model["inertia"]
