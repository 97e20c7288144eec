"""K-Means, step by step: assign every point to its nearest centre, move every centre to the mean
of its points, until nothing moves (Lloyd 1982, "Least squares quantization in PCM").

A start, a seed and data lead to the labels, centres and number of rounds that
``sklearn.cluster.KMeans(n_init=1)`` has for them. Two exceptions: among points or centres that are
exactly equally far, rounding may choose otherwise; and when a cluster loses its only point to an
empty one, the clusters are the same, but two may have swapped numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pipelines.clustering.steps.arrays import (
    as_centres,
    as_points,
    at_least,
    changes,
    check_clusters,
    round_to_lists,
    significant,
    squared_distances,
    still,
)

Phase = Literal["start", "assign", "move"]
End = Literal["nothing moved", "within tolerance", "last round"]
UNASSIGNED = -1


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The state after one half of a round. The arrays cannot be written to.

    Attributes:
        number: 0, 1, …
        phase: what has just been done.
        round: rounds begun, 0 at the start; a round is an assignment and a move.
        labels: (n,) int32, the centre that each point belongs to; −1 before the first assignment.
            Clusters are numbered as their centres are, so a cluster keeps its number.
        centres: (k, d) float64.
        trail: (moves + 1, k, d) float64: all centres from the start to now.
        inertia: J = Σ‖x − centre of x‖², of ``labels`` and ``centres``; before the first
            assignment each point counts with its nearest centre. It never rises.
        relocated: (r,) int32: clusters that had lost all their points and were put elsewhere in
            this move.
        end: why this step is the last; None where it is not.
    """

    number: int
    phase: Phase
    round: int
    labels: np.ndarray
    centres: np.ndarray
    trail: np.ndarray
    inertia: float
    relocated: np.ndarray
    end: End | None = None

    def to_json(self, before: Step | None = None, decimals: int = 6) -> dict[str, Any]:
        """What has changed since ``before``, an earlier step that the page has, or since nothing.

        Returns:
            ``labels`` as :func:`.arrays.changes`, ``trail`` as the centres since ``before``,
            whose last are the present ones, lengths rounded to ``decimals``.
        """
        shown = 0 if before is None else len(before.trail)
        return {
            "number": self.number,
            "phase": self.phase,
            "round": self.round,
            "labels": changes(self.labels, before and before.labels, UNASSIGNED),
            "trail": round_to_lists(self.trail[shown:], decimals),
            "inertia": significant(self.inertia),
            "relocated": self.relocated.tolist(),
            "end": self.end,
        }


def steps(
    X: np.ndarray,
    clusters: int,
    start: Literal["k-means++", "random"] | np.ndarray = "k-means++",
    seed: int = 0,
    tol: float = 1e-4,
    max_rounds: int = 300,
) -> Iterator[Step]:
    """K-Means from its start to its end.

    Args:
        X: (n, d) float64, not changed.
        clusters: k, 1 … n.
        start: how the first centres are chosen, or the centres themselves, (k, d).
        seed: 0 … 2**32 − 1; makes the draws that scikit-learn makes for it.
        tol: it ends when the centres' squared shifts sum up to at most this share of the columns'
            mean variance. 0: only when no label changes.
        max_rounds: it ends after so many rounds at the latest.

    Yields:
        A start, then assign and move in turn; the last step is an assignment, so that the labels
        fit the centres. O(n·k·d) time a round.

    Raises:
        BadRequest: k > n, own centres of another shape, values that are not finite.
    """
    X = as_points(X)
    check_clusters(clusters, len(X))
    if max_rounds < 1:
        raise at_least("Rounds", max_rounds, 1)
    centres = first_centres(X, clusters, start, seed)
    enough = tol * X.var(axis=0).mean()  # in squared units of X
    labels = np.full(len(X), UNASSIGNED, dtype=np.int32)
    path = [centres]
    number = 0

    def step(phase: Phase, round: int, inertia: float, relocated=(), end: End | None = None):
        return Step(
            number, phase, round, still(labels), still(centres), still(np.stack(path)),
            float(inertia), still(np.asarray(relocated, dtype=np.int32)), end,
        )  # fmt: skip

    yield step("start", 0, squared_distances(X, centres).min(axis=1).sum())

    assigned_before = np.empty(0)
    settled: End | None = None
    for round in range(1, max_rounds + 2):
        # Assign: every point to its nearest centre, the first of several equally near ones.
        distances = squared_distances(X, centres)
        labels = distances.argmin(axis=1).astype(np.int32)
        to_own = distances[np.arange(len(X)), labels]
        assigned = labels
        if settled is None and np.array_equal(assigned, assigned_before):
            settled = "nothing moved"
        elif settled is None and round > max_rounds:
            settled = "last round"
        number += 1
        yield step("assign", round, to_own.sum(), end=settled)
        if settled:
            return

        # Move: every centre to the mean of its points.
        labels, relocated = fill_empty(assigned, to_own, clusters)
        moved = means(X, labels, clusters)
        shift = ((moved - centres) ** 2).sum()
        centres = moved
        path.append(centres)
        number += 1
        yield step("move", round, ((X - centres[labels]) ** 2).sum(), relocated)
        if shift <= enough:
            settled = "within tolerance"
        assigned_before = assigned


def first_centres(
    X: np.ndarray, clusters: int, start: Literal["k-means++", "random"] | np.ndarray, seed: int
) -> np.ndarray:
    """The centres that K-Means starts from, (k, d): drawn by name, or own ones, checked."""
    from sklearn.cluster import kmeans_plusplus

    if not isinstance(start, str):
        return as_centres(start, clusters, X)
    draws = np.random.RandomState(seed)
    if start == "k-means++":
        # Arthur and Vassilvitskii 2007; around 0, as K-Means itself has the points.
        return X[kmeans_plusplus(X - X.mean(axis=0), clusters, random_state=draws)[1]]
    if start == "random":
        even = np.full(len(X), 1 / len(X))
        return X[draws.choice(len(X), size=clusters, replace=False, p=even)]
    raise ValueError(f"no start is called {start!r}")


def fill_empty(
    labels: np.ndarray, to_own: np.ndarray, clusters: int
) -> tuple[np.ndarray, np.ndarray]:
    """Gives each cluster without points the point that is farthest from its own centre.

    As scikit-learn does; with several empty clusters also in its order. Where every point lies on
    its centre (more clusters than different points), nothing can be gained and nothing is done.

    Args:
        labels: (n,) int32, not changed.
        to_own: (n,) squared distance of each point to its own centre.

    Returns:
        labels with those points in their new clusters, (n,) int32, and the clusters that were
        empty and have got one, (r,).
    """
    empty = np.flatnonzero(np.bincount(labels, minlength=clusters) == 0)
    if not len(empty) or to_own.max() == 0:
        return labels, empty[:0]
    farthest = np.argpartition(to_own, -len(empty))[: -len(empty) - 1 : -1]
    labels = labels.copy()
    labels[farthest] = empty
    return labels, empty


def means(X: np.ndarray, labels: np.ndarray, clusters: int) -> np.ndarray:
    """The mean of each cluster's points, (k, d); of one without points, that of the largest."""
    sizes = np.bincount(labels, minlength=clusters)
    # Taken from one of its points, the mean of equal points is exactly them.
    origins = np.zeros((clusters, X.shape[1]))
    present, first = np.unique(labels, return_index=True)
    origins[present] = X[first]
    apart = X - origins[labels]
    sums = np.stack([np.bincount(labels, column, clusters) for column in apart.T], axis=1)
    centres = origins + sums / np.maximum(sizes, 1)[:, None]
    centres[sizes == 0] = centres[sizes.argmax()]
    return centres
