"""Work on foreign tables and points, in a process of its own that can be ended at once.

scikit-learn's calls cannot be broken off, what they took is not always given back, and what
strange points make of their time and memory is not known beforehand. So whatever fits, scales,
judges or reads runs in :mod:`pipelines.clustering.worker`: a stop kills it, as does a limit on its
memory, and the studio, which all visitors share, goes on.
"""

from __future__ import annotations

import logging
import pickle
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from pipelines.clustering.algorithm import Estimate
from pipelines.clustering.algorithms import find
from pipelines.clustering.calls import DBSCAN_FEW
from pipelines.clustering.fitting import Tell, fit
from pipelines.clustering.parameters import Parameters
from pipelines.clustering.peaks import lower_peak, peak_since
from pipelines.clustering.worker import DISK_FULL
from pipelines.clustering.worker_pool import POOL, Died, MemoryExceeded
from pipelines.errors import OutOfMemory, Stopped, Unavailable, UserError
from pipelines.events import Progress
from pipelines.files import is_full, save_array, temporary_root
from pipelines.messages import Message
from pipelines.sizes import duration, in_words

_log = logging.getLogger(__name__)

LONG_SECONDS = 10.0  # from here on the estimate is told beforehand
SCIKIT_LEARN = ("sklearn.cluster", "sklearn.mixture")  # 100 MB that are not the fit's
LEAST_ALLOWED = 1_000_000_000
"""Bytes that every piece of work may take: an estimate of a megabyte may be off by any factor."""
_OFF = 4  # how far an estimate may be off before the work is ended
_KEPT_FREE = 200_000_000  # bytes of the machine's memory that are for others
_SAY_SECONDS = 1.0  # how often a word is given that it still runs

Work = Callable[..., Iterator[Progress]]
"""A generator function ``work(X, stop=…, **arguments)`` of a module, which returns something."""


def run(
    work: Work,
    X: np.ndarray,
    arguments: dict[str, Any],
    estimate: Estimate,
    stop: threading.Event,
    prepare: Sequence[str] = SCIKIT_LEARN,
) -> Iterator[Progress]:
    """Does ``work`` in a process of its own; returns what it returns.

    Args:
        X: float64 (n, d); not changed.
        arguments: what can be pickled.
        estimate: the work is ended where it takes four times this memory, and a gigabyte.
        prepare: modules that are imported before its memory is limited.

    Raises:
        OutOfMemory: the estimate is above what is free, or the work took more than it may.
        OSError: the work has met it.
        Stopped: ``stop`` was set; within 0.2 seconds.
    """
    check_memory(estimate)
    if is_long(estimate):
        yield Progress(0, 0, note=in_advance(estimate))
    if stop.is_set():
        raise Stopped
    allowed = _allowed(estimate, X.nbytes)
    # Closed to other users.
    with tempfile.TemporaryDirectory(prefix="atelier-", dir=temporary_root()) as name:
        folder = Path(name)
        try:
            save_array(folder / "points.npy", X)
            (folder / "work.pickle").write_bytes(pickle.dumps((work, arguments)))
        except OSError as error:
            if is_full(error):
                raise _no_room(folder, X.nbytes) from error
            raise
        try:
            with closing(POOL.work(folder, allowed, prepare, stop)) as lines:
                yield from _progress(lines, estimate)
        except MemoryExceeded:
            raise _no_memory(allowed) from None
        except Died as error:
            if error.code == DISK_FULL:
                raise _no_room(folder, X.nbytes) from error
            raise RuntimeError(str(error)) from None
        if stop.is_set():
            raise Stopped
        return _outcome(folder, allowed)


def call(
    function: Callable[..., Any],
    arguments: dict[str, Any],
    stop: threading.Event | None = None,
    estimate: Estimate | None = None,
    X: np.ndarray | None = None,
    prepare: Sequence[str] = (),
    limit_seconds: float | None = None,
) -> Any:
    """``function(**arguments)`` in a process of its own, without progress; returns what it returns.

    Args:
        function: of a module.
        stop: None: nobody stops it.
        X: points that it is given as ``X``, if it wants some.
        limit_seconds: after which it is ended.

    Raises:
        Unavailable: it takes longer than ``limit_seconds``.
        OutOfMemory, Stopped: as :func:`run` does.
    """
    stop = stop or threading.Event()
    given = {"function": function, "with_points": X is not None, "arguments": arguments}
    points = np.zeros((0, 1)) if X is None else X
    begun = time.monotonic()
    work = run(_calling, points, given, estimate or Estimate(0, 0), stop, prepare)
    try:
        while True:
            next(work)
            if limit_seconds is not None and time.monotonic() - begun > limit_seconds:
                raise Unavailable(
                    "This took longer than {time} and was ended. Try again with less data, or when "
                    "the machine has less to do.",
                    time=duration(limit_seconds),
                )
    except StopIteration as end:
        return end.value
    finally:
        work.close()


def _calling(
    X: np.ndarray,
    *,
    function: Callable[..., Any],
    with_points: bool,
    arguments: dict[str, Any],
    stop: threading.Event,
) -> Iterator[Progress]:
    yield Progress(0, 1)
    return function(X=X, **arguments) if with_points else function(**arguments)


def fitting(
    X: np.ndarray, *, algorithm: str, params: Parameters, seed: int, stop: threading.Event
) -> Iterator[Progress]:
    """:func:`pipelines.clustering.fitting.fit` as work; returns its :class:`Fitted` with the memory
    that it took beyond the data."""
    yield Progress(0, 1)
    before = lower_peak()
    if algorithm == "dbscan" and len(X) > DBSCAN_FEW:
        fitted = yield from told(lambda tell: fit(algorithm, X, params, seed, stop, tell))
    else:
        fitted = fit(algorithm, X, params, seed, stop)
    yield Progress(1, 1)
    return replace(fitted, peak_bytes=peak_since(before))


def told(work: Callable[[Tell], Any]) -> Iterator[Progress]:
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


def run_fit(
    algorithm: str,
    X: np.ndarray,
    params: Parameters,
    seed: int,
    stop: threading.Event,
) -> Iterator[Progress]:
    """One fit as :func:`run` does it; returns a :class:`Fitted` with its memory.

    Raises:
        BadRequest: the points do not go with the parameters.
    """
    chosen = find(algorithm)
    chosen.check(X, params)
    arguments = {"algorithm": algorithm, "params": params, "seed": seed}
    return (yield from run(fitting, X, arguments, chosen.estimate(*X.shape, params), stop))


def outcome(work: Iterator[Progress]) -> Any:
    """What a generator returns; its progress is passed over."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def is_long(estimate: Estimate) -> bool:
    """Whether it is told beforehand what a piece of work will take: in time, or half the memory."""
    return estimate.seconds > LONG_SECONDS or estimate.bytes > psutil.virtual_memory().total / 2


def in_advance(estimate: Estimate) -> Message:
    """The sentence that says what is to come."""
    return Message(
        "This will take about {time} and {memory} of memory",
        time=duration(rounded(estimate.seconds)),
        memory=in_words(int(estimate.bytes)),
    )


def rounded(seconds: float) -> float:
    """No finer than an estimate is: two digits of seconds, from a minute on one of tens of them,
    from ten minutes on whole minutes."""
    if seconds < 60:
        return float(f"{seconds:.2g}")
    step = 10 if seconds < 600 else 60
    return step * round(seconds / step)


def check_memory(estimate: Estimate) -> None:
    """Whether there is as much memory as the estimate says.

    Raises:
        OutOfMemory: there is not.
    """
    free = psutil.virtual_memory().available
    if estimate.bytes > free:
        raise OutOfMemory(
            "This needs about {memory} of memory; {free} are free. Take fewer points, or an "
            "algorithm that needs less.",
            memory=in_words(int(estimate.bytes)),
            free=in_words(free),
        )


def _allowed(estimate: Estimate, given: int) -> int:
    """Bytes that a piece of work may take, of the machine's memory at most what is free.

    Args:
        given: bytes of its points, which it may scale and copy.
    """
    wanted = max(LEAST_ALLOWED, int(_OFF * estimate.bytes)) + 4 * given
    free = psutil.virtual_memory().available - _KEPT_FREE
    return max(min(wanted, free), LEAST_ALLOWED // 4, int(estimate.bytes) + given)


def _progress(lines: Iterator[dict[str, Any] | None], estimate: Estimate) -> Iterator[Progress]:
    started = said = time.monotonic()
    last = Progress(0, 0)
    for line in lines:
        now = time.monotonic()
        if line is not None:
            note = Message.from_json(line["note"]) if line["note"] else None
            last, said = Progress(line["step"], line["total"], note=note), now
            yield last
        elif now - said >= _SAY_SECONDS:
            said = now
            yield replace(last, note=last.note or _so_far(now - started, estimate))


def _so_far(seconds: float, estimate: Estimate) -> Message:
    return Message(
        "Computing for {time}; about {estimate} in all were expected",
        time=duration(seconds),
        estimate=duration(rounded(estimate.seconds)),
    )


def _outcome(folder: Path, allowed: int) -> Any:
    # Written by our own worker in a folder that nobody else may enter.
    with (folder / "outcome.pickle").open("rb") as file:
        kind, value = pickle.load(file)
    if kind == "memory":
        raise _no_memory(allowed)
    if kind == "system":
        raise OSError(*value)
    if kind == "error":
        raise value if isinstance(value, UserError) else RuntimeError(value)
    return value


def _no_room(folder: Path, needed: int) -> Unavailable:
    _log.warning("%s is full", folder.parent)
    return Unavailable(
        "The disk with temporary files is full: about {size} are needed and {free} are free. "
        "Free some space there, then send the job again.",
        size=in_words(needed),
        free=in_words(shutil.disk_usage(folder).free),
    )


def _no_memory(allowed: int) -> OutOfMemory:
    return OutOfMemory(
        "The memory did not suffice: {limit} were allowed, and {free} are free now. Take fewer "
        "points, another scaling, or an algorithm that needs less.",
        limit=in_words(allowed),
        free=in_words(psutil.virtual_memory().available),
    )
