"""What the worker does with points: it scales them, and fits, judges, compares or draws.

Each function is a generator ``task(X, *, …, stop)`` for :func:`pipelines.clustering.running.run`.
``X`` are the points as the data set has them; scaling is part of the task, so that it too happens
where memory has a limit.
"""

from __future__ import annotations

import contextlib
import ctypes
import queue
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from pipelines.clustering.algorithms.base import Estimate, Fitted, OnProgress
from pipelines.clustering.algorithms.fields import Parameters
from pipelines.clustering.algorithms.registry import AnyParameters, find
from pipelines.clustering.curves import plan, to_chart
from pipelines.clustering.data.scaling import Scaling, scale
from pipelines.clustering.metrics import (
    SAMPLE,
    Agreement,
    Scores,
    compare_with_truth,
    judge,
    silhouette_seconds,
)
from pipelines.clustering.model_selection import first_eps
from pipelines.clustering.requests import OF_AN_ALGORITHM, ClusterRequest, CurveRequest
from pipelines.clustering.wire import Json, Labels, Matrix, UnreadableAnswer
from pipelines.clustering.worker import status_bytes
from pipelines.core.errors import Stopped
from pipelines.core.events import Progress
from pipelines.core.messages import Message

_TRUTH = tuple[Labels, tuple[str, ...] | None]


@dataclass(frozen=True, slots=True)
class Clustered:
    """A fit and what is said of it.

    Attributes:
        fitted: by the algorithm, on scaled points.
        scores: of its labels.
        agreement: with the true labels, or None.
        centres: float64 (clusters, d) in the units of the data, or None.
        notes: of the scaling.
    """

    fitted: Fitted
    scores: Scores
    agreement: Agreement | None
    centres: Matrix | None
    notes: tuple[Message, ...]

    def check(self, X: np.ndarray) -> None:
        """Whether this can be of the points ``X`` (n, d); raises as :meth:`Fitted.check`."""
        self.fitted.check(X)
        if self.centres is not None and self.centres.shape != self.fitted.centres.shape:
            raise UnreadableAnswer("the centres are not those of the fit")


def cluster(
    X: Matrix,
    *,
    algorithm: str,
    params: AnyParameters,
    scaling: Scaling,
    columns: tuple[str, ...] | None,
    seed: int,
    truth: _TRUTH | None,
    stop: Event,
) -> Generator[Progress, None, Clustered]:
    """Scales, fits and judges; returns a :class:`Clustered`.

    Args:
        params: own centres are in the units of the data.
        truth: true labels (n,) and their names; None: not known.

    Raises:
        BadRequest: the points cannot be scaled so, or do not go with the parameters.
    """
    scaled = scale(X, scaling, columns)
    params = params.in_scale(scaled, X.shape[1])
    fitted = yield from fit(scaled.X, algorithm=algorithm, params=params, seed=seed, stop=stop)
    yield Progress(1, 1, note=Message("Judging the clusters"))
    scores = judge(scaled.X, fitted.labels, seed)
    agreement = None if truth is None else compare_with_truth(fitted.labels, *truth)
    centres = None if fitted.centres is None else scaled.back(fitted.centres)
    return Clustered(fitted, scores, agreement, centres, scaled.notes)


def fit(
    X: Matrix, *, algorithm: str, params: AnyParameters, seed: int, stop: threading.Event
) -> Generator[Progress, None, Fitted]:
    """:meth:`pipelines.clustering.algorithms.base.Algorithm.fit` as work.

    Returns:
        Its :class:`Fitted`, with the memory that it took beyond the data.
    """
    yield Progress(0, 1)
    before, chosen = lower_peak(), find(algorithm)
    if chosen.own_call(params, len(X)) is not None:  # they say how far they are
        fitted = yield from run_in_thread(lambda tell: chosen.fit(X, params, seed, stop, tell))
    else:
        fitted = chosen.fit(X, params, seed, stop)
    yield Progress(1, 1)
    return replace(fitted, peak_bytes=peak_since(before))


def run_in_thread(work: Callable[[OnProgress], Any]) -> Iterator[Progress]:
    """What ``work(tell)`` tells, as it tells it; returns what it returns, or raises what it raises.

    It is done in a thread; where nobody listens any more, its next word raises :class:`Stopped`.
    """
    said: queue.SimpleQueue[Progress | None] = queue.SimpleQueue()
    left = threading.Event()
    outcome: list[Any] = []
    trouble: list[BaseException] = []

    def tell(progress: Progress) -> None:
        if left.is_set():
            raise Stopped
        said.put(progress)

    def call() -> None:
        try:
            outcome.append(work(tell))
        except BaseException as error:  # whoever waits for it is to have it
            trouble.append(error)
        said.put(None)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    try:
        while (progress := said.get()) is not None:
            yield progress
    finally:
        left.set()
        thread.join()
    if trouble:
        raise trouble[0]
    return outcome[0]


def cluster_estimate(algorithm: str, n: int, d: int, params: Parameters) -> Estimate:
    """What :func:`cluster` takes."""
    fit = find(algorithm).estimate(n, d, params)
    return Estimate(fit.seconds + silhouette_seconds(min(n, SAMPLE), d), fit.bytes)


def curve(
    X: Matrix, *, request: CurveRequest, columns: tuple[str, ...], stop: Event
) -> Generator[Progress, None, tuple[dict[str, Json], tuple[Message, ...]]]:
    """Computes a curve; returns what is drawn of it, as JSON, and the notes of the scaling."""
    scaled = scale(X, request.scaling, columns)
    params = None
    if request.curve in OF_AN_ALGORITHM or request.curve == "reachability":
        params = request.params.in_scale(scaled, X.shape[1])
    asked = plan(request, scaled.X, params)
    found = yield from asked.work(scaled.X, stop=stop, **asked.arguments)
    return to_chart(found), scaled.notes


def propose_eps(
    X: Matrix, *, scaling: Scaling, seed: int, stop: Event
) -> Generator[Progress, None, float | None]:
    """Returns a radius for DBSCAN to begin with, or None."""
    yield Progress(0, 1)
    return first_eps(scale(X, scaling).X, seed, stop)


def cluster_arguments(
    request: ClusterRequest, columns: tuple[str, ...], truth: _TRUTH | None
) -> dict[str, Any]:
    """What :func:`cluster` is given for a request."""
    return {
        "algorithm": request.algorithm,
        "params": request.params,
        "scaling": request.scaling,
        "columns": columns,
        "seed": request.seed,
        "truth": truth,
    }


def lower_peak() -> int | None:
    """Sets the peak of this process' memory to what it takes now; returns that in bytes, or None
    where the system cannot do it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # C libraries other than glibc
            ctypes.CDLL(None).malloc_trim(0)  # what earlier work has left would hide the new peak
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return status_bytes("VmHWM")


def peak_since(before: int | None) -> int | None:
    """Bytes at the peak beyond ``before``, which x has returned."""
    return None if before is None else max(0, (status_bytes("VmHWM") or 0) - before)
