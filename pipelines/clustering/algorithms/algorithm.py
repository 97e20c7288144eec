"""What an algorithm of the registry is, what a fit gives, and which points are taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.clustering.algorithms.parameters import Parameters
from pipelines.clustering.wire import Array, Json, Labels, Matrix, UnreadableAnswer
from pipelines.core.errors import BadRequest
from pipelines.core.messages import Message


@dataclass(frozen=True, slots=True)
class Call:
    """One estimator of scikit-learn: it is made for a fit, and printed as code.

    Attributes:
        module: where it is, e.g. ``"sklearn.cluster"``.
        name: of its class.
        arguments: its keyword arguments; lists stand for arrays.
    """

    module: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What an algorithm has found in points ``X`` (n, d).

    Attributes:
        labels: int32 (n,); clusters 0… in order of first appearance, −1 is noise.
        centres: float64 (clusters, d) in the coordinates of ``X``, in the order of the labels, or
            None where the algorithm makes none.
        noise: how many points are noise.
        soft: float64 (n, clusters), rows sum to 1, or None.
        extra: arrays of this algorithm, by name; see
            :mod:`pipelines.clustering.algorithms.fitting`.
        seconds: wall time of the fit alone.
        model: JSON-serialisable: algorithm, parameters, seed, scikit-learn's version, and what
            was fitted (centres, weights, covariances, inertia, iterations …).
        notes: what a person should know of this fit, e.g. that it has not settled.
        peak_bytes: memory that the fit took beyond the data, or None where it was not measured.
    """

    labels: Labels
    centres: Matrix | None
    noise: int
    soft: Matrix | None
    extra: dict[str, Array]
    seconds: float
    model: dict[str, Json]
    notes: tuple[Message, ...] = ()
    peak_bytes: int | None = None

    def check(self, X: np.ndarray) -> None:
        """Whether this can be of the points ``X`` (n, d).

        Raises:
            UnreadableAnswer: an array has another shape, or names points or clusters that there
                are not.
        """
        n, d = X.shape
        k = 0 if self.centres is None else len(self.centres)
        if self.labels.shape != (n,) or not _within(self.labels, -1, n):
            raise UnreadableAnswer("these are no labels of the points")
        if self.centres is not None and self.centres.shape != (k, d):
            raise UnreadableAnswer("the centres have other columns than the points")
        if self.soft is not None and self.soft.shape != (n, k):
            raise UnreadableAnswer("there are other memberships than points and clusters")
        shapes = {name: (n,) for name in ("probabilities", "ordering", "reachability")} | {
            "core_distances": (n,),
            "core": (None,),
            "exemplars": (None,),
            "merges": (max(0, n - 1), 2),
            "heights": (max(0, n - 1),),
            "covariances": (k, d, d),
            "weights": (k,),
            "small_centres": (None, d),
        }
        for name, array in self.extra.items():
            expected = shapes.get(name, ())
            if len(expected) != array.ndim or any(
                length not in (None, found)
                for length, found in zip(expected, array.shape, strict=True)
            ):
                raise UnreadableAnswer(f"{name[:40]} has the shape {array.shape}")
            if name in ("core", "exemplars", "ordering") and not _within(array, 0, n):
                raise UnreadableAnswer(f"{name} names other points")
        merges = self.extra.get("merges")
        if merges is not None and len(merges):
            made = np.arange(n, 2 * n - 1)  # each merge takes points and what was merged before it
            if not _within(merges, 0, 2 * n) or (merges.max(axis=1) >= made).any():
                raise UnreadableAnswer("merges names clusters that there are not yet")


def _within(array: np.ndarray, least: int, end: int) -> bool:
    """Whether all are whole numbers of ``least`` … ``end`` − 1."""
    if array.dtype.kind not in "iu":
        return False
    return not array.size or (array.min() >= least and array.max() < end)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a piece of work will take, within a factor of about three.

    Attributes:
        seconds: on one core of a laptop.
        bytes: at the peak, beyond the data.
    """

    seconds: float
    bytes: float


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One way to cluster.

    Attributes:
        name: what requests call it.
        title: the page's label, in English.
        description: what it does, in one line.
        assumes: about the clusters, in one sentence.
        cost: time and memory as a formula in n points, d dimensions, k clusters.
        fails: when it gives bad clusters, in one sentence.
        parameters: what can be set.
        call: the estimator for parameters and a seed.
        seconds: of a fit, from (n, d, parameters).
        bytes: at the peak beyond the data, from (n, d, parameters).
        least: the fewest points that parameters can do with.
        most: the most points it takes.
        makes_centres: whether clusters have a centre.
        makes_noise: whether points can belong to no cluster.
        makes_soft: whether points belong to clusters in parts.
        labels_new: whether points that were not there when it was fitted can be labelled.
    """

    name: str
    title: str
    description: str
    assumes: str
    cost: str
    fails: str
    parameters: type[Parameters]
    call: Callable[[Any, int], Call]
    seconds: Callable[[int, int, Any], float]
    bytes: Callable[[int, int, Any], float]
    most: int
    least: Callable[[Any], int] = field(default=lambda params: 1)
    makes_centres: bool = False
    makes_noise: bool = False
    makes_soft: bool = False
    labels_new: bool = False

    def estimate(self, n: int, d: int, params: Parameters) -> Estimate:
        """What a fit of n points with d coordinates will take."""
        return Estimate(self.seconds(n, d, params), self.bytes(n, d, params))

    def check(self, X: np.ndarray, params: Parameters) -> None:
        """Whether these points can be clustered with these parameters, before any work.

        Raises:
            BadRequest: they cannot; the sentence has the number and the limit.
        """
        check_points(X)
        n, d = X.shape
        self.check_count(n, params)
        centres = getattr(params, "centres", None)
        if getattr(params, "start", "") == "own" and len(centres[0]) != d:
            raise BadRequest(
                "The own centres have {values} values; the points have {columns}. Choose so many "
                "columns, or another start.",
                values=len(centres[0]),
                columns=d,
            )

    def check_count(self, n: int, params: Parameters) -> None:
        """Whether so many points can be clustered with these parameters.

        Raises:
            BadRequest: as :meth:`check` does.
        """
        if params.k is not None and params.k > n:
            raise BadRequest(
                "{clusters} clusters cannot be made of {points} points: ask for at most {points}, "
                "or add points.",
                clusters=params.k,
                points=n,
            )
        if n < (least := self.least(params)):
            raise BadRequest(
                "{algorithm} needs at least {least} points with these settings; there are "
                "{points}. Add points, or ask for fewer clusters or neighbours.",
                algorithm=self.title,
                least=least,
                points=n,
            )
        if n > self.most:
            raise BadRequest(
                "{algorithm} takes at most {limit} points, because its time or memory grows with "
                "their square; there are {points}. Take a sample, or choose another algorithm.",
                algorithm=self.title,
                limit=self.most,
                points=n,
            )


def check_points(X: np.ndarray) -> None:
    """Whether ``X`` is float64 (n, d) with n and d at least 1, and finite.

    Raises:
        BadRequest: it is not.
    """
    if X.ndim != 2 or X.dtype != np.float64:
        raise TypeError(f"points must be float64 (n, d), not {X.dtype} {X.shape}")
    if not X.size:
        raise BadRequest(
            "There are {points} points with {columns} columns: at least one of each is needed.",
            points=X.shape[0],
            columns=X.shape[1],
        )
    # One number instead of n·d truth values; a sum of finite values may overflow, though.
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(X.sum()) or np.isfinite(X).all()
    if not finite:
        raise BadRequest(
            "{count} of the values are missing or infinite: fill them in or leave those rows out.",
            count=int((~np.isfinite(X)).sum()),
        )
