"""What a clustering algorithm is: the base of all in this package, and what a fit gives."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from math import log2
from threading import Event
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from pipelines.clustering.algorithms.fields import Parameters
from pipelines.clustering.data.exporting import with_arrays
from pipelines.clustering.data.scaling import SCALERS, Scaling
from pipelines.clustering.labels import count_clusters, order_of_appearance, renumber
from pipelines.clustering.wire import Array, Json, Labels, Matrix, UnreadableAnswer
from pipelines.core.errors import BadRequest, Stopped
from pipelines.core.events import Progress
from pipelines.core.messages import Message

FLOAT_BYTES = 8
MAX_SEED = 2**32 - 1
MOST_POINTS = 10_000_000
_PER_CLUSTER = ("centres", "covariances", "weights", "exemplars")

P = TypeVar("P", bound=Parameters)
OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Call:
    """An estimator of scikit-learn, or a function of our own: it is called, and printed as code.

    Attributes:
        module: where it is, e.g. ``"sklearn.cluster"``.
        name: of its class, or its own.
        arguments: its keyword arguments; lists stand for arrays.
    """

    module: str
    name: str
    arguments: dict[str, Any]

    def __call__(self, *args: Any, **more: Any) -> Any:
        return getattr(import_module(self.module), self.name)(*args, **self.arguments, **more)


@dataclass(frozen=True, slots=True)
class Fitted:
    """What an algorithm has found in points ``X`` (n, d).

    Attributes:
        labels: int32 (n,); clusters 0… in order of first appearance, −1 is noise.
        centres: float64 (clusters, d) in the coordinates of ``X``, in the order of the labels, or
            None where the algorithm makes none.
        noise: how many points are noise.
        soft: float64 (n, clusters), rows sum to 1, or None.
        extra: arrays that some algorithms have beside, by name:

            - DBSCAN: ``core`` int64 (cores,), indices of core points;
            - HDBSCAN: ``probabilities`` float64 (n,), how firmly a point belongs to its cluster;
            - OPTICS: ``ordering`` int64 (n,), ``reachability`` float64 (n,), both as points are
              numbered, infinite where nothing is reached, and ``core_distances`` float64 (n,);
            - agglomerative: ``merges`` int64 (n−1, 2): row i makes cluster n+i of two others,
              points being clusters 0…n−1; ``heights`` float64 (n−1,), at which they merge;
            - mixtures: ``covariances`` float64 (clusters, d, d) of whatever kind, and ``weights``
              (clusters,);
            - BIRCH: ``small_centres`` float64 (small clusters, d);
            - affinity propagation: ``exemplars`` int64 (clusters,), indices of points.
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


@dataclass(slots=True)
class Code:
    """The printed code of a fit, in parts that an algorithm may change.

    Attributes:
        names: what is imported from the estimator's module.
        imports: further lines of imports.
        before: lines that stand before the estimator; ``points`` are there.
        arguments: of the estimator, as Python writes them.
        after: text that follows; ``points``, ``model`` and ``labels`` are there.
    """

    names: list[str]
    arguments: dict[str, str]
    imports: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    after: str = ""


class Algorithm(ABC, Generic[P]):
    """One way to cluster: its texts, parameters, estimator, cost, troubles and printed code.

    A module of this package holds one, and :mod:`pipelines.clustering.algorithms.registry` finds
    it there. A fit is made from :meth:`call`, and the code that reproduces a fit is printed from
    it: they cannot differ. Its Chinese words are in ``studio/i18n``, its lesson is in
    ``presets/lessons``; without these it speaks English and has no lesson.

    The constants of :meth:`estimate` were measured at 500 to 4,000 points of blobs in 2 and 8
    dimensions (of OPTICS at up to 10,000, of DBSCAN and HDBSCAN at up to 1,000,000). What data look
    like moves them by a factor of two or three, which is what an estimate may be off by. What
    cannot be known before (how many iterations, how many neighbours) is taken as blobs have it.

    Attributes:
        name: what requests call it.
        place: where it stands among the others, which are listed by ascending places.
        title: the page's label, in English.
        description: what it does, in one line.
        assumes: about the clusters, in one sentence.
        cost: time and memory as a formula in n points, d dimensions, k clusters.
        fails: when it gives bad clusters, in one sentence.
        parameters: what can be set.
        most: the most points it takes.
        makes_centres: whether clusters have a centre.
        makes_noise: whether points can belong to no cluster.
        makes_soft: whether points belong to clusters in parts.
        labels_new: whether points that were not there when it was fitted can be labelled.
        settles: whether it is told where the iterations did not suffice.
        own_compared: how scikit-learn does beside :meth:`own_call`, as a sentence in English.
        all_noise: what to change where every point is noise, as a sentence in English, or "".
        one_cluster: what to change where there is one cluster, likewise.
    """

    name: ClassVar[str]
    place: ClassVar[int]
    title: ClassVar[str]
    description: ClassVar[str]
    assumes: ClassVar[str]
    cost: ClassVar[str]
    fails: ClassVar[str]
    parameters: type[P]
    most: ClassVar[int]
    makes_centres: ClassVar[bool] = False
    makes_noise: ClassVar[bool] = False
    makes_soft: ClassVar[bool] = False
    labels_new: ClassVar[bool] = False
    settles: ClassVar[bool] = False
    own_compared: ClassVar[str] = ""
    all_noise: ClassVar[str] = ""
    one_cluster: ClassVar[str] = ""

    # --- what every algorithm says ------------------------------------------------------------

    @abstractmethod
    def call(self, params: P, seed: int) -> Call:
        """The estimator of scikit-learn for these parameters."""

    @abstractmethod
    def estimate(self, n: int, d: int, params: P) -> Estimate:
        """What a fit of n points with d coordinates will take."""

    # --- what some say besides ----------------------------------------------------------------

    def least(self, params: P) -> int:
        """The fewest points that parameters can do with."""
        return 1

    def own_call(self, params: P, points: int) -> Call | None:
        """The function of our own that clusters so many points; None where scikit-learn does."""
        return None

    def own_details(self, found: Any) -> dict[str, Any]:
        """:meth:`details` of what our own function has returned, which has ``labels`` (n,)."""
        return {}

    def estimated_arguments(self, X: np.ndarray, params: P, seed: int) -> dict[str, Any]:
        """Arguments of the estimator that depend on the points."""
        return {}

    def details(self, estimator: Any, X: np.ndarray) -> dict[str, Any]:
        """What a fitted estimator has found besides labels.

        Returns:
            The arrays of :class:`Fitted` by name, in the order of the estimator's clusters; and
            ``model``, which goes into :attr:`Fitted.model`. Here those of what moves centres.
        """
        if not self.makes_centres:
            return {}
        model: dict[str, Any] = {}
        if hasattr(estimator, "inertia_"):
            model["inertia"] = float(estimator.inertia_)
        if hasattr(estimator, "n_iter_"):
            model["iterations"] = int(estimator.n_iter_)
        return {"centres": estimator.cluster_centers_, "model": model}

    def trouble(self, estimator: Any, params: P, clusters: int) -> Message | None:
        """What a person should know of a fit that has found so many clusters."""
        if not self.settles or self.has_settled(estimator, params):
            return None
        return Message(
            "It had not settled after {iterations} iterations; more may move it further.",
            iterations=params.iterations,
        )

    def has_settled(self, estimator: Any, params: P) -> bool:
        return estimator.n_iter_ < params.iterations or getattr(estimator, "converged_", False)

    def refusal(self) -> BadRequest:
        """The error that the estimator cannot do with these points, as only it can say."""
        return BadRequest(
            "{algorithm} cannot cluster these points with these settings. Change the settings, or "
            "scale the data.",
            algorithm=self.title,
        )

    def suggest_parameters(self, clusters: int, eps: float | None) -> P:
        """Parameters to begin with.

        Args:
            clusters: how many are asked for.
            eps: a radius in which most points have neighbours, or None.
        """
        has_k = "clusters" in self.parameters.model_fields
        return self.parameters(**({"clusters": clusters} if has_k else {}))

    def change_code(self, code: Code, params: P, seed: int, scaled: bool) -> None:
        """Changes the code where it is more than the estimator's call.

        Args:
            scaled: whether ``scaler`` is there, which has been fitted to the data.
        """

    # --- what is done with that ---------------------------------------------------------------

    def check(self, X: np.ndarray, params: P) -> None:
        """Whether these points can be clustered with these parameters, before any work.

        Raises:
            BadRequest: they cannot; the sentence has the number and the limit.
        """
        check_points(X)
        self.check_count(len(X), params)

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

    def fit(
        self,
        X: np.ndarray,
        params: P,
        seed: int,
        stop: Event,
        tell: OnProgress | None = None,
    ) -> Fitted:
        """Clusters points. The same seed gives the same labels.

        Args:
            X: float64 (n, d), finite; not changed. Own centres are in its coordinates.
            seed: 0 … 2**32 − 1; of no effect where nothing is drawn.
            tell: called with progress, of what has any: our own functions.

        Raises:
            BadRequest: the points do not go with the parameters, as :meth:`check` or scikit-learn
                says.
            Stopped: ``stop`` was set; scikit-learn's own work cannot be broken off, so run what
                takes long by :func:`pipelines.clustering.running.run`.
        """
        self.check(X, params)
        if stop.is_set():
            raise Stopped
        notes: list[Message] = []
        import_module("sklearn.cluster")  # takes seconds the first time, which are not the fit's
        import_module("sklearn.mixture")
        started = time.monotonic()
        own = self.own_call(params, len(X))
        if own is not None:
            found = self._fit_own(own, X, stop, tell)
        else:
            found = self._fit_estimator(X, params, seed, notes)
        seconds = time.monotonic() - started
        if stop.is_set():
            raise Stopped
        return self._make_fitted(params, seed, found, seconds, notes)

    def _fit_own(
        self, call: Call, X: np.ndarray, stop: Event, tell: OnProgress | None
    ) -> dict[str, Any]:
        if tell is not None:
            note = Message(
                "Loading {algorithm}; the first time it is compiled", algorithm=self.title
            )
            tell(Progress(0, 0, note=note))
        found = call(X, stop=stop, notes=tell)
        return {"labels": found.labels, **self.own_details(found)}

    def _fit_estimator(
        self, X: np.ndarray, params: P, seed: int, notes: list[Message]
    ) -> dict[str, Any]:
        estimator = self.call(params, seed)(**self.estimated_arguments(X, params, seed))
        try:
            labels = estimator.fit_predict(X)
        except ValueError as error:  # what depends on the points it can say only now
            raise self.refusal() from error
        clusters = count_clusters(labels)
        if (trouble := self.trouble(estimator, params, clusters)) is not None:
            notes.append(trouble)
        if params.k is not None and clusters < params.k:
            notes.append(
                Message(
                    "{made} clusters have points, of {clusters} that were asked for.",
                    made=clusters,
                    clusters=params.k,
                )
            )
        return {"labels": labels, **self.details(estimator, X)}

    def _make_fitted(
        self, params: P, seed: int, found: dict[str, Any], seconds: float, notes: list[Message]
    ) -> Fitted:
        """What was found, its clusters in order of first appearance."""
        import sklearn

        labels = found.pop("labels")
        about = found.pop("model", {})
        soft = found.pop("soft", None)
        if "centres" in found:
            order = order_of_appearance(labels, len(found["centres"]))
            found |= {name: found[name][order] for name in _PER_CLUSTER if name in found}
            soft = None if soft is None else soft[:, order]
        centres = found.pop("centres", None)
        model = {
            "algorithm": self.name,
            "parameters": params.model_dump(mode="json"),
            "seed": seed,
            "scikit_learn": sklearn.__version__,
            "clusters": count_clusters(labels),
            **about,
        }
        arrays = {} if centres is None else {"centres": (centres, "centres.csv")}
        if soft is not None:
            arrays |= {name: (found[name], "extra.npz") for name in ("weights", "covariances")}
        return Fitted(
            labels=renumber(labels),
            centres=centres,
            noise=int((labels < 0).sum()),
            soft=soft,
            extra=found,
            seconds=seconds,
            model=with_arrays(model, arrays),
            notes=tuple(notes),
        )

    def python_code(
        self,
        params: P,
        seed: int,
        scaling: Scaling = "none",
        file: str = "data.csv",
        points: int = 0,
    ) -> str:
        """Code that gives the same labels with scikit-learn alone.

        It reads a CSV of numbers with a header and leaves ``labels`` int32 (n,); it starts from
        ``X`` where the name is there already, as in a notebook. Own centres are in the units of the
        data.

        Args:
            file: the name in the code, as a file beside it.
            points: how many were clustered. Where that was not done by scikit-learn, a comment says
                by what it was.
        """
        call, scaler = self.call(params, seed), SCALERS.get(scaling)
        code = Code(
            [call.name], {name: _to_python(value) for name, value in call.arguments.items()}
        )
        self.change_code(code, params, seed, scaler is not None)
        lines = ["import numpy as np", f"from {call.module} import {', '.join(sorted(code.names))}"]
        lines += code.imports
        if scaler:
            lines.append(f"from sklearn.preprocessing import {scaler}")
        lines += [
            "",
            'if "X" not in globals():',
            "    X = np.loadtxt(",
            f'        {json.dumps(file)}, delimiter=",", skiprows=1, ndmin=2, encoding="utf-8"',
            "    )",
        ]
        if scaler:
            lines += [f"scaler = {scaler}().fit(X)", "points = scaler.transform(X)"]
        else:
            lines.append("points = X")
        lines += code.before
        if (own := self.own_call(params, points)) is not None:
            listed = ", ".join(f"{name}={value!r}" for name, value in own.arguments.items())
            lines += [
                "",
                f"# Atelier's own {own.name} has run:",
                f"# from {own.module} import {own.name}",
                f"# labels = {own.name}(points, {listed}).labels",
                f"# {self.own_compared}",
            ]
        arguments = "".join(f"    {name}={value},\n" for name, value in code.arguments.items())
        lines += [f"model = {call.name}(\n{arguments})", "labels = model.fit_predict(points)", ""]
        return "\n".join(lines) + code.after + _RENUMBER


_RENUMBER = """\
# Clusters are numbered as their first points come; noise stays -1.
numbers = {-1: -1}
for label in labels.tolist():
    if label not in numbers:
        numbers[label] = len(numbers) - 1
labels = np.array([numbers[label] for label in labels.tolist()], dtype=np.int32)
"""


def _to_python(value: Any) -> str:
    if value == float("inf"):
        return 'float("inf")'
    return json.dumps(value) if isinstance(value, str) else repr(value)


def tree_depth(n: int) -> float:
    """The depth of a tree of n points."""
    return log2(n + 2)


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
