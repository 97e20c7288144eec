"""How good a clustering is: by the points alone, and against labels that are known."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np

from pipelines.clustering.labels import NOISE
from pipelines.clustering.wire import ArrayOf

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Counts = Annotated[np.ndarray, ArrayOf("int64", 2)]
SAMPLE = 10_000
"""Points of which silhouettes are taken: they need all distances between them."""
MOST_COLUMNS = 1000
"""Clusters in a confusion matrix: of a million, each alone, it would take gigabytes."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What can be said without true labels. Noise is left out of the three scores.

    Attributes:
        clusters: how many have a point.
        sizes: points of each cluster, in the order of the labels.
        noise: points of none.
        noise_share: 0 … 1, of all points.
        silhouette: −1 … 1, larger is better; None with fewer than two clusters, or as many as
            points (so with the next two).
        davies_bouldin: 0 and more, smaller is better.
        calinski_harabasz: larger is better; it grows with the number of points.
        sampled: of how many points the silhouette was taken where there were more than
            :data:`SAMPLE` in clusters, else None.
    """

    clusters: int
    sizes: tuple[int, ...]
    noise: int
    noise_share: float
    silhouette: float | None
    davies_bouldin: float | None
    calinski_harabasz: float | None
    sampled: int | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a clustering goes with true labels; noise counts as one more cluster, and points whose
    true label is not known do not count.

    Attributes:
        ari: adjusted Rand index: 1 is the same partition, 0 what chance gives.
        nmi: normalised mutual information, 0 … 1 (arithmetic mean of the entropies).
        homogeneity: 1: each cluster has points of one class only.
        completeness: 1: all points of a class are in one cluster.
        matched: share of points in the cluster that goes with their class, 0 … 1.
        confusion: int64 (classes, columns): points of a class in a cluster; columns are in the
            order of ``columns``.
        classes: the true labels, or their names, as rows.
        columns: cluster of each column (−1: noise): first the ones that go with the first, second …
            class, then those left over; at most :data:`MOST_COLUMNS`.
        matches: for each class its cluster, or None where there are fewer clusters; the one-to-one
            matching with the most points on it (Kuhn 1955), noise never.
        unlabelled: points whose true label is not known.
        left_out: clusters that have no column.
    """

    ari: float
    nmi: float
    homogeneity: float
    completeness: float
    matched: float
    confusion: Counts
    classes: tuple[str, ...]
    columns: tuple[int, ...]
    matches: tuple[int | None, ...]
    unlabelled: int
    left_out: int


def judge(X: np.ndarray, labels: np.ndarray, seed: int = 0) -> Scores:
    """Scores of a clustering, from scikit-learn's metrics.

    Silhouette: Rousseeuw 1987; Davies and Bouldin 1979; Caliński and Harabasz 1974.

    Args:
        X: float64 (n, d), as it was clustered; not changed.
        labels: int (n,), −1 is noise.
        seed: for the sample.
    """
    inside = labels >= 0
    named, counts = np.unique(labels[inside], return_counts=True)
    points, of = (X, labels) if inside.all() else (X[inside], labels[inside])
    silhouette = davies = calinski = sampled = None
    if 2 <= len(named) < len(of):
        from sklearn import metrics

        values, chosen = silhouettes(points, of, seed)
        silhouette = float(values.mean())
        sampled = len(chosen) if len(chosen) < len(of) else None
        davies = _finite(metrics.davies_bouldin_score(points, of))
        calinski = _finite(metrics.calinski_harabasz_score(points, of))
    noise = int(len(labels) - inside.sum())
    return Scores(
        clusters=len(named),
        sizes=tuple(counts.tolist()),
        noise=noise,
        noise_share=noise / len(labels),
        silhouette=silhouette,
        davies_bouldin=davies,
        calinski_harabasz=calinski,
        sampled=sampled,
    )


def silhouette_seconds(n: int, d: int) -> float:
    """How long :func:`silhouettes` of n points takes: all distances between them."""
    return 1e-2 + n * n * (d * 1e-9 + 8e-9)


def silhouettes(
    X: np.ndarray, labels: np.ndarray, seed: int = 0, limit: int = SAMPLE
) -> tuple[np.ndarray, np.ndarray]:
    """The silhouette of each point, or of a sample where there are more than ``limit`` points.

    s = (b − a)/max(a, b): a is the mean distance to the others of its cluster, b the least mean
    distance to another cluster (Rousseeuw 1987). In the sample both are taken within the sample;
    every cluster has at least one point there.

    Args:
        X: float64 (n, d).
        labels: int (n,), at least two clusters and fewer than points; no noise.

    Returns:
        float64 (m,) silhouettes, and int64 (m,) which points these are, ascending.
    """
    from sklearn import config_context
    from sklearn.metrics import silhouette_samples

    chosen = _sample(labels, limit, seed)
    # Within a sample every point may be the only one of its cluster: all are 0 then.
    if len(np.unique(labels[chosen])) == len(chosen):
        return np.zeros(len(chosen)), chosen
    with config_context(working_memory=100):  # MB of distances at a time, not 1 GB
        return silhouette_samples(X[chosen], labels[chosen]), chosen


def compare_with_truth(
    labels: np.ndarray, truth: np.ndarray, names: Sequence[str] | None = None
) -> Agreement:
    """How labels go with true ones.

    ARI: Hubert and Arabie 1985; homogeneity, completeness: Rosenberg and Hirschberg 2007.

    Args:
        labels: int (n,), −1 is noise.
        truth: (n,), of any kind that can be sorted; of whole numbers, those below 0 are not known.
        names: of the true labels, where these are 0 ….
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from sklearn import metrics

    known = truth >= 0 if truth.dtype.kind == "i" else np.ones(len(truth), dtype=bool)
    unlabelled = len(truth) - int(known.sum())
    if unlabelled:
        labels, truth = labels[known], truth[known]
    classes, rows = np.unique(truth, return_inverse=True)
    clusters, columns = np.unique(labels, return_inverse=True)
    ones = np.ones(len(rows), dtype=np.int64)
    table = coo_array((ones, (rows, columns)), shape=(len(classes), len(clusters))).tocsr()
    real = np.flatnonzero(clusters != NOISE)
    likely = real if len(real) <= MOST_COLUMNS else np.intersect1d(real, _largest(table))
    row_of, column_of = linear_sum_assignment(table[:, likely].toarray(), maximize=True)
    matching = dict(zip(row_of.tolist(), likely[column_of].tolist(), strict=True))
    order = [matching[row] for row in sorted(matching)]
    order += np.setdiff1d(real, order).tolist()
    order += np.flatnonzero(clusters == NOISE).tolist()
    order, left_out = order[:MOST_COLUMNS], max(0, len(order) - MOST_COLUMNS)
    homogeneity, completeness, _ = metrics.homogeneity_completeness_v_measure(truth, labels)
    return Agreement(
        ari=float(metrics.adjusted_rand_score(truth, labels)),
        nmi=float(metrics.normalized_mutual_info_score(truth, labels)),
        homogeneity=float(homogeneity),
        completeness=float(completeness),
        matched=sum(int(table[pair]) for pair in matching.items()) / len(labels),
        confusion=table[:, order].toarray(),
        classes=tuple(str(each) if names is None else names[each] for each in classes.tolist()),
        columns=tuple(clusters[order].tolist()),
        matches=tuple(
            int(clusters[matching[row]]) if row in matching else None for row in range(len(classes))
        ),
        unlabelled=unlabelled,
        left_out=left_out,
    )


def _largest(table: csr_array) -> np.ndarray:
    """The columns among which a best matching is: of each row as many of the largest as there are
    rows, and one, which may be noise. Were a row matched with another column, one of these would
    be left for it, as the other rows cannot have taken all."""
    count = table.shape[0] + 1
    chosen = []
    for start, end in itertools.pairwise(table.indptr.tolist()):
        largest = np.argsort(-table.data[start:end], kind="stable")[:count]
        chosen.append(table.indices[start:end][largest])
    return np.unique(np.concatenate(chosen))


def _sample(labels: np.ndarray, limit: int, seed: int) -> np.ndarray:
    if len(labels) <= limit:
        return np.arange(len(labels))
    drawn = np.random.default_rng(seed).permutation(len(labels))
    # The first drawn of each cluster, then whoever comes.
    _, first = np.unique(labels[drawn], return_index=True)
    rest = np.setdiff1d(np.arange(len(drawn)), first)[: max(0, limit - len(first))]
    return np.sort(drawn[np.concatenate([first, rest])])


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
