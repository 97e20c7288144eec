"""Work on foreign tables and points, in a process of its own that can be ended at once.

scikit-learn's calls cannot be broken off, what they took is not always given back, and what
strange points make of their time and memory is not known beforehand. So whatever fits, scales,
judges or reads runs in :mod:`pipelines.clustering.worker`: a stop kills it, as does a limit on its
memory, and the studio, which all visitors share, goes on.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from pipelines.clustering import wire
from pipelines.clustering.algorithms.base import Estimate
from pipelines.clustering.wire import UnreadableAnswer
from pipelines.clustering.worker import DISK_FULL, outcome_of
from pipelines.clustering.worker_pool import POOL, Command, Died, MemoryExceeded, Step
from pipelines.core.child_process import unreadable_answer
from pipelines.core.errors import OutOfMemory, Stopped, Unavailable, rebuild_error
from pipelines.core.events import Progress
from pipelines.core.files import is_full, temporary_root
from pipelines.core.messages import Message
from pipelines.core.sizes import duration, format_bytes

_log = logging.getLogger(__name__)

LONG_SECONDS = 10.0  # from here on the estimate is told beforehand
SCIKIT_LEARN = ("sklearn.cluster", "sklearn.mixture")  # 100 MB that are not the fit's
LEAST_ALLOWED = 1_000_000_000
"""Bytes that every piece of work may take: an estimate of a megabyte may be off by any factor."""
_OFF = 4  # how far an estimate may be off before the work is ended
_KEPT_FREE = 200_000_000  # bytes of the machine's memory that are for others
_SAY_SECONDS = 1.0  # how often a word is given that it still runs

Work = Callable[..., Generator[Progress, None, Any]]
"""A generator function ``work(X, *, …, stop)`` of a module, which returns something. Its type hints
are those of :mod:`pipelines.clustering.wire`."""


def run(
    work: Work,
    X: np.ndarray,
    arguments: dict[str, Any],
    estimate: Estimate,
    stop: threading.Event,
    *,
    owner: str,
    prepare: Sequence[str] = SCIKIT_LEARN,
) -> Generator[Progress, None, Any]:
    """Does ``work`` in a process of its own; returns what it returns.

    What is returned may come from a process that a hostile file has taken over: it has the types
    that ``work`` says, and where it has a method ``check``, that has been called with ``X``.

    Args:
        X: float64 (n, d); not changed.
        arguments: of the types that ``work`` says.
        estimate: the work is ended where it takes four times this memory, and a gigabyte.
        owner: whose data these are, by an id; no process serves two owners.
        prepare: modules that are imported before its memory is limited.

    Raises:
        OutOfMemory: the estimate is above what is free, or the work took more than it may.
        OSError: the work has met it.
        Stopped: ``stop`` was set; within 0.2 seconds.
        Unavailable: the process gave no answer that can be read, or the disk is full.
    """
    return (yield from _run(work, X, {"X": X, **arguments}, estimate, stop, owner, prepare))


def call(
    function: Callable[..., Any],
    arguments: dict[str, Any],
    stop: threading.Event | None = None,
    estimate: Estimate | None = None,
    X: np.ndarray | None = None,
    prepare: Sequence[str] = (),
    limit_seconds: float | None = None,
    *,
    owner: str,
) -> Any:
    """``function(**arguments)`` in a process of its own, without progress; returns what it returns.

    Args:
        function: of a module; its type hints are those of :mod:`pipelines.clustering.wire`.
        stop: None: nobody stops it.
        X: points that it is given as ``X``, if it wants some.
        limit_seconds: after which it is ended.

    Raises:
        Unavailable: it takes longer than ``limit_seconds``.
        OutOfMemory, Stopped: as :func:`run` does.
    """
    stop, estimate = stop or threading.Event(), estimate or Estimate(0, 0)
    points = np.zeros((0, 1)) if X is None else X
    given = arguments if X is None else {"X": X, **arguments}
    begun = time.monotonic()
    work = _run(function, points, given, estimate, stop, owner, prepare)
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


def _run(
    function: Callable[..., Any],
    X: np.ndarray,
    given: dict[str, Any],
    estimate: Estimate,
    stop: threading.Event,
    owner: str,
    prepare: Sequence[str],
) -> Generator[Progress, None, Any]:
    check_memory(estimate)
    if is_long(estimate):
        yield Progress(0, 0, note=in_advance(estimate))
    if stop.is_set():
        raise Stopped
    arguments, result = wire.types_of(function)
    allowed = _bytes_allowed(estimate, X.nbytes)
    # Closed to other users.
    with tempfile.TemporaryDirectory(prefix="atelier-", dir=temporary_root()) as name:
        folder = Path(name)
        try:
            wire.write(folder / "task", arguments, given)
        except OSError as error:
            if is_full(error):
                raise _no_room(folder, X.nbytes) from error
            raise
        try:
            with POOL.lend(owner, Command(function, folder, allowed, prepare), stop) as worker:
                yield from _progress(worker.follow(allowed, stop), estimate)
                if stop.is_set():
                    raise Stopped
                # What is allowed to the work is more than what it can find.
                status, *values = wire.read(folder / "answer", outcome_of(result), allowed)
                if hasattr(found := values[0] if values else None, "check"):
                    found.check(X)
        except MemoryExceeded:
            raise _no_memory(allowed) from None
        except UnreadableAnswer as error:
            _log.warning("a worker's answer to %s cannot be read: %s", function.__name__, error)
            raise unreadable_answer() from None
        except Died as error:
            if error.code == DISK_FULL:
                raise _no_room(folder, X.nbytes) from error
            raise RuntimeError(str(error)) from None
        return _result_of(status, values, allowed)


def _result_of(status: str, values: list[Any], allowed: int) -> Any:
    """The result of an answer, or what it says that went wrong."""
    match status, values:
        case "done", [found]:
            return found
        case "memory", []:
            raise _no_memory(allowed)
        case "system", [number, words]:
            raise OSError(number, words)
        case "refused", [kind, message]:
            raise rebuild_error(kind, message)
        case _, [words]:
            raise RuntimeError(words)


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
        time=duration(round_seconds(estimate.seconds)),
        memory=format_bytes(int(estimate.bytes)),
    )


def round_seconds(seconds: float) -> float:
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
            memory=format_bytes(int(estimate.bytes)),
            free=format_bytes(free),
        )


def _bytes_allowed(estimate: Estimate, given: int) -> int:
    """Bytes that a piece of work may take, of the machine's memory at most what is free.

    Args:
        given: bytes of its points, which it may scale and copy.
    """
    wanted = max(LEAST_ALLOWED, int(_OFF * estimate.bytes)) + 4 * given
    free = psutil.virtual_memory().available - _KEPT_FREE
    return max(min(wanted, free), LEAST_ALLOWED // 4, int(estimate.bytes) + given)


def _progress(steps: Iterator[Step | None], estimate: Estimate) -> Iterator[Progress]:
    started = said = time.monotonic()
    last = Progress(0, 0)
    for step in steps:
        now = time.monotonic()
        if step is not None:
            last, said = Progress(step.step, step.total, note=step.note), now
            yield last
        elif now - said >= _SAY_SECONDS:
            said = now
            yield replace(last, note=last.note or _so_far(now - started, estimate))


def _so_far(seconds: float, estimate: Estimate) -> Message:
    return Message(
        "Computing for {time}; about {estimate} in all were expected",
        time=duration(seconds),
        estimate=duration(round_seconds(estimate.seconds)),
    )


def _no_room(folder: Path, needed: int) -> Unavailable:
    _log.warning("%s is full", folder.parent)
    return Unavailable(
        "The disk with temporary files is full: about {size} are needed and {free} are free. "
        "Free some space there, then send the job again.",
        size=format_bytes(needed),
        free=format_bytes(shutil.disk_usage(folder).free),
    )


def _no_memory(allowed: int) -> OutOfMemory:
    return OutOfMemory(
        "The memory did not suffice: {limit} were allowed, and {free} are free now. Take fewer "
        "points, another scaling, or an algorithm that needs less.",
        limit=format_bytes(allowed),
        free=format_bytes(psutil.virtual_memory().available),
    )
