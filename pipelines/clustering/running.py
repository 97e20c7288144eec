"""Work of seconds and gigabytes in a process of its own, which can be ended at once.

scikit-learn's calls cannot be broken off, and what they took is not always given back. So what is
estimated to take longer than a moment runs in :mod:`pipelines.clustering.worker`: a stop kills it,
and its memory goes with it. What is short runs here, for starting the process takes a second.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil

from pipelines.catalog import ROOT
from pipelines.clustering.algorithm import Estimate
from pipelines.clustering.algorithms import find
from pipelines.clustering.calls import DBSCAN_FEW
from pipelines.clustering.fitting import Tell, fit
from pipelines.clustering.parameters import Parameters
from pipelines.clustering.worker import DISK_FULL
from pipelines.errors import OutOfMemory, Stopped, Unavailable, UserError
from pipelines.events import Progress
from pipelines.files import is_full, save_array
from pipelines.messages import Message
from pipelines.sizes import duration, in_words

HERE_SECONDS = 1.0
"""What is estimated to take less runs in this process."""
LONG_SECONDS = 10.0  # from here on the estimate is told beforehand
LOOK_SECONDS = 0.1
_SAY_SECONDS = 1.0  # how often a word is given that it still runs

Work = Callable[..., Iterator[Progress]]
"""A generator function ``work(X, stop=…, **arguments)`` of a module, which returns something."""


def run(
    work: Work,
    X: np.ndarray,
    arguments: dict[str, Any],
    estimate: Estimate,
    stop: threading.Event,
    here: bool | None = None,
) -> Iterator[Progress]:
    """Does ``work`` here or in a process of its own; returns what it returns and its memory.

    The memory is in bytes at the peak beyond the data, None where it was not measured.

    Args:
        X: float64 (n, d); not changed.
        arguments: what can be pickled.
        here: whether in this process; None: by the estimate.

    Raises:
        OutOfMemory: the estimate is above what is free, or the system has ended the process.
        Stopped: ``stop`` was set; within 0.2 seconds where it runs in a process of its own.
    """
    check_memory(estimate)
    if is_long(estimate):
        yield Progress(0, 0, note=in_advance(estimate))
    if here is None:
        here = estimate.seconds < HERE_SECONDS
    if here:
        try:
            return (yield from work(X, stop=stop, **arguments)), None
        except MemoryError as error:
            raise _no_memory() from error
    return (yield from _elsewhere(work, X, arguments, estimate, stop))


def fitting(
    X: np.ndarray, *, algorithm: str, params: Parameters, seed: int, stop: threading.Event
) -> Iterator[Progress]:
    """:func:`pipelines.clustering.fitting.fit` as work; returns its :class:`Fitted`."""
    yield Progress(0, 1)
    if algorithm == "dbscan" and len(X) > DBSCAN_FEW:
        fitted = yield from told(lambda tell: fit(algorithm, X, params, seed, stop, tell))
    else:
        fitted = fit(algorithm, X, params, seed, stop)
    yield Progress(1, 1)
    return fitted


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
    here: bool | None = None,
) -> Iterator[Progress]:
    """One fit, wherever :func:`run` does it; returns a :class:`Fitted` with its memory.

    Raises:
        BadRequest: the points do not go with the parameters.
    """
    chosen = find(algorithm)
    chosen.check(X, params)
    arguments = {"algorithm": algorithm, "params": params, "seed": seed}
    estimate = chosen.estimate(*X.shape, params)
    fitted, peak = yield from run(fitting, X, arguments, estimate, stop, here)
    return replace(fitted, peak_bytes=peak)


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


def _elsewhere(
    work: Work,
    X: np.ndarray,
    arguments: dict[str, Any],
    estimate: Estimate,
    stop: threading.Event,
) -> Iterator[Progress]:
    if stop.is_set():
        raise Stopped
    with tempfile.TemporaryDirectory(prefix="atelier-") as name:  # closed to other users
        folder = Path(name)
        try:
            save_array(folder / "points.npy", X)
            (folder / "work.pickle").write_bytes(pickle.dumps((work, arguments)))
        except OSError as error:
            if is_full(error):
                raise _no_room(folder, X.nbytes) from error
            raise
        with (folder / "log.txt").open("w+b") as log, _worker(folder, log) as process:
            yield from _watch(process, estimate, stop)
            code = process.wait()
            if code == DISK_FULL:
                raise _no_room(folder, X.nbytes)
            return _outcome(folder, code)


@contextlib.contextmanager
def _worker(folder: Path, log: IO[bytes]) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.clustering.worker", str(folder)],
        stdin=subprocess.PIPE,  # it ends when this does, that is with the studio
        stdout=subprocess.PIPE,
        stderr=log,
        cwd=ROOT,
        start_new_session=True,  # Ctrl+C is for the studio
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def _watch(
    process: subprocess.Popen, estimate: Estimate, stop: threading.Event
) -> Iterator[Progress]:
    """The worker's progress until it has ended its output."""
    lines: queue.Queue[bytes | None] = queue.Queue()

    def read() -> None:
        with contextlib.suppress(ValueError, OSError):  # closed meanwhile
            for line in process.stdout:
                lines.put(line)
        lines.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    started = said = time.monotonic()
    last = Progress(0, 0)
    try:
        while True:
            if stop.is_set():
                raise Stopped
            try:
                line = lines.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                if time.monotonic() - said >= _SAY_SECONDS:
                    said = time.monotonic()
                    yield replace(last, note=last.note or _so_far(said - started, estimate))
                continue
            if line is None:
                return
            last, said = _progress(json.loads(line)), time.monotonic()
            yield last
    finally:
        process.kill()  # else the reader would wait for it
        reader.join()


def _so_far(seconds: float, estimate: Estimate) -> Message:
    return Message(
        "Computing for {time}; about {estimate} in all were expected",
        time=duration(seconds),
        estimate=duration(rounded(estimate.seconds)),
    )


def _progress(data: dict[str, Any]) -> Progress:
    note = Message.from_json(data["note"]) if data["note"] else None
    return Progress(data["step"], data["total"], note=note)


def _outcome(folder: Path, code: int) -> tuple[Any, int | None]:
    try:
        # Written by our own worker in a folder that nobody else may enter.
        kind, value, peak = pickle.loads((folder / "outcome.pickle").read_bytes())
    except FileNotFoundError:
        if code in (-signal.SIGKILL, 137):
            raise _no_memory() from None
        words = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(words.strip()[-500:] or f"the worker ended with {code}") from None
    if kind == "memory":
        raise _no_memory()
    if kind == "error":
        raise value if isinstance(value, (UserError, Stopped)) else RuntimeError(value)
    return value, peak


def _no_room(folder: Path, needed: int) -> Unavailable:
    return Unavailable(
        "The disk with temporary files is full: about {size} are needed and {free} are free in "
        "{folder}. Free some space there, then send the job again.",
        size=in_words(needed),
        free=in_words(shutil.disk_usage(folder).free),
        folder=str(folder.parent),
    )


def _no_memory() -> OutOfMemory:
    return OutOfMemory(
        "The memory did not suffice: {free} are free now. Take fewer points, or an algorithm that "
        "needs less.",
        free=in_words(psutil.virtual_memory().available),
    )
