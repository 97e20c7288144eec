"""Processes that read tables and cluster: started when they are needed, used again, ended at once.

What a stranger's file or a strange choice of settings makes of memory and time is never known for
sure. So such work is done in :mod:`pipelines.clustering.worker`, with a limit on its memory; what
goes beyond it, or is asked to stop, is killed, and the studio stands. A process that has ended its
work waits for more, since importing scikit-learn takes a second.
"""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from pipelines.catalog import ROOT
from pipelines.files import temporary_root

LOOK_SECONDS = 0.1
MOST_IDLE = 2  # processes that wait for work
_LARGEST_IDLE = 700_000_000  # bytes; what holds more is ended rather than used again
_WEIGH_SECONDS = 0.3  # how often the memory of one at work is looked at

_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL) if hasattr(signal, "SIGKILL") else ()
_BROKEN = tuple(
    sign * getattr(signal, name) + offset
    for name in ("SIGABRT", "SIGSEGV", "SIGBUS")
    if hasattr(signal, name)
    for sign, offset in ((-1, 0), (1, 128))
)


class MemoryExceeded(Exception):
    """The work took more memory than it may, or ended as libraries do that got none."""


class Died(Exception):
    """A process ended amid its work.

    Attributes:
        code: its exit code.
        words: the last ones of its log.
    """

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words or f"the worker ended with {code}")
        self.code, self.words = code, words


class _Worker:
    """One process, its log, and what it says; ``folder`` has its first work."""

    def __init__(self, folder: str) -> None:
        self._log = tempfile.TemporaryFile(dir=temporary_root())  # noqa: SIM115  as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.clustering.worker", folder],
            stdin=subprocess.PIPE,  # it ends when this does, that is with the studio
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=ROOT,
            start_new_session=True,  # Ctrl+C is for the studio
        )
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(ValueError, OSError):  # closed meanwhile
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put(None)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def tell(self, command: dict[str, Any], stop: threading.Event) -> bool:
        """Gives it a piece of work; returns whether it has begun with it, or ``stop`` was set."""
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):  # it has ended this moment, for want of work
            return False
        while not stop.is_set():
            with contextlib.suppress(queue.Empty):
                return self._lines.get(timeout=LOOK_SECONDS) is not None
        return True

    def line(self, seconds: float) -> dict[str, Any] | None:
        """What it says next; None where that is nothing within so many seconds.

        Raises:
            Died: it has ended.
        """
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return None
        if line is None:
            self._lines.put(None)
            raise Died(self._process.wait(), self._last_words())
        return json.loads(line)

    def held(self) -> int:
        """Bytes of memory that it takes."""
        try:
            return psutil.Process(self._process.pid).memory_info().rss
        except psutil.Error:  # it has ended
            return 0

    def _last_words(self) -> str:
        self._log.seek(0, 2)
        self._log.seek(max(0, self._log.tell() - 4000))
        return self._log.read().decode("utf-8", "replace").strip()[-500:]

    def end(self) -> None:
        """Kills it, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        with contextlib.suppress(OSError):  # what it did not read
            self._process.stdin.close()
        self._process.stdout.close()
        self._log.close()


class WorkerPool:
    """Processes that wait for work."""

    def __init__(self) -> None:
        self._idle: list[_Worker] = []
        self._lock = threading.Lock()

    def work(
        self, folder: Path, allowed: int, prepare: Sequence[str], stop: threading.Event
    ) -> Iterator[dict[str, Any] | None]:
        """Has the work in ``folder`` done; yields lines of progress, and None every 0.1 s.

        The process is killed where ``stop`` is set, where the caller closes the generator, and
        where it takes more than ``allowed`` bytes beyond what it had.

        Raises:
            MemoryExceeded: it took too much, or the system has ended it.
            Died: it has ended by itself.
        """
        command = {"folder": str(folder), "allowed": allowed, "prepare": list(prepare)}
        worker = self._taken(command, stop)
        done = False
        try:
            limit, weighed = worker.held() + int(1.2 * allowed) + 200_000_000, time.monotonic()
            while not stop.is_set():
                line = worker.line(LOOK_SECONDS)
                if line is not None and "ended" in line:
                    done = line["ended"] <= _LARGEST_IDLE
                    return
                if time.monotonic() - weighed > _WEIGH_SECONDS:
                    weighed = time.monotonic()
                    if worker.held() > limit:
                        raise MemoryExceeded
                yield line
        except Died as error:
            if error.code in (*_KILLED, *_BROKEN):
                raise MemoryExceeded from error
            raise
        finally:
            if done:
                self._give_back(worker)
            else:
                worker.end()

    def end(self) -> None:
        """Ends all that wait for work."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.end()

    def _taken(self, command: dict[str, Any], stop: threading.Event) -> _Worker:
        while True:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            fresh = worker is None
            worker = worker or _Worker(command["folder"])
            if worker.tell(command, stop):
                return worker
            try:
                if fresh:
                    worker.line(0)  # raises: it has ended
            finally:
                worker.end()

    def _give_back(self, worker: _Worker) -> None:
        with self._lock:
            over = [each for each in self._idle if not each.alive]
            self._idle = [each for each in self._idle if each.alive]
            room = len(self._idle) < MOST_IDLE
            (self._idle if room else over).append(worker)
        for each in over:
            each.end()


POOL = WorkerPool()
"""Of this process: whoever needs one takes it from here."""
