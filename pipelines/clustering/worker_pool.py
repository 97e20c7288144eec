"""Processes that read tables and cluster: started when they are needed, used again, ended at once.

What a stranger's file or a strange choice of settings makes of memory and time is never known for
sure. So such work is done in :mod:`pipelines.clustering.worker`, with a limit on its memory; what
goes beyond it, or is asked to stop, is killed, and the studio stands.

A process that has ended its work waits for more of the same owner's, never of another's: a file
that took it over would read what it is given later. A new process costs 0.2 seconds of computing,
with pandas 0.4, with scikit-learn 1.5 and with UMAP 2.0 (on one core of a server of 2023); so much
an owner's first piece of work takes longer. :data:`MOST_IDLE` wait at a time, those of the owners
who were served last.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from pipelines.clustering import wire
from pipelines.core.child_process import LineProcess
from pipelines.core.files import temporary_root
from pipelines.core.messages import Message
from pipelines.core.sandbox import Files, clean_environment

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
# Packages that these processes alone import, with what numba has compiled of them beside.
_COMPILED = [
    *(Path(sysconfig.get_path("purelib"), name, "__pycache__") for name in ("umap", "pynndescent")),
    Path(__file__).with_name("dbscan") / "__pycache__",
]
_Count = Annotated[int, Field(ge=0, le=2**53)]


@dataclass(frozen=True, slots=True)
class Begun:
    """A process says that it has begun with a piece of work."""

    begun: Literal[True]


@dataclass(frozen=True, slots=True)
class Step:
    """A process says how far it is."""

    step: _Count
    total: _Count
    note: Message | None


@dataclass(frozen=True, slots=True)
class Ended:
    """A process says that it has ended a piece of work."""

    ended: Literal[True]


@dataclass(frozen=True, slots=True)
class Command:
    """A piece of work for a process.

    Attributes:
        function: what is to be done, of a module.
        folder: has its arguments, and will have the answer.
        allowed: bytes that it may take beyond what the process has.
        prepare: modules that are imported before that is counted.
    """

    function: Callable[..., Any]
    folder: Path
    allowed: int
    prepare: Sequence[str] = ()

    def line(self) -> bytes:
        """What the process reads."""
        values = {
            "function": f"{self.function.__module__}:{self.function.__qualname__}",
            "folder": str(self.folder),
            "allowed": self.allowed,
            "prepare": list(self.prepare),
        }
        return json.dumps(values).encode() + b"\n"


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
    """One process of one owner, its log, and what it says; ``folder`` has its first work."""

    def __init__(
        self, owner: str, folder: Path, files: Files, environment: Mapping[str, str]
    ) -> None:
        self.owner = owner
        self._log = tempfile.TemporaryFile(dir=temporary_root())  # noqa: SIM115  as long as the process
        self._process = LineProcess(
            *("pipelines.clustering.worker", str(folder)),
            log=self._log,
            files=files,
            environment=environment,
        )

    @property
    def alive(self) -> bool:
        return self._process.alive

    def begin(self, command: Command, stop: threading.Event) -> bool:
        """Gives it a piece of work; returns whether it has begun with it, or ``stop`` was set.

        Raises:
            UnreadableAnswer: it says anything else.
        """
        if not self._process.write(command.line()):  # it has ended this moment, for want of work
            return False
        while not stop.is_set():
            if (line := self._process.line(LOOK_SECONDS)) is not None:
                return bool(line and wire.parse(line, Begun))
        return True

    def follow(self, allowed: int, stop: threading.Event) -> Iterator[Step | None]:
        """What it says until it has ended its work, or ``stop`` is set; None every 0.1 s.

        Raises:
            MemoryExceeded: it took more than ``allowed`` bytes beyond what it had.
            Died: it has ended by itself.
            UnreadableAnswer: it says what it should not.
        """
        limit, weighed = self.bytes_held() + int(1.2 * allowed) + 200_000_000, time.monotonic()
        while not stop.is_set():
            said = self.next(LOOK_SECONDS)
            if isinstance(said, Ended):
                return
            if time.monotonic() - weighed > _WEIGH_SECONDS:
                weighed = time.monotonic()
                if self.bytes_held() > limit:
                    raise MemoryExceeded
            yield said

    def next(self, seconds: float) -> Step | Ended | None:
        """What it says next; None where that is nothing within so many seconds.

        Raises:
            Died, UnreadableAnswer: as :meth:`follow` does.
        """
        if (line := self._process.line(seconds)) is None:
            return None
        if not line:
            raise self.death()
        return wire.parse(line, Step | Ended)

    def death(self) -> Died:
        """How it has ended, which it has, or is about to."""
        return Died(self._process.wait(), self._last_words())

    def bytes_held(self) -> int:
        """Bytes of memory that it takes."""
        return self._process.bytes_held

    def _last_words(self) -> str:
        self._log.seek(0, 2)
        self._log.seek(max(0, self._log.tell() - 4000))
        return self._log.read().decode("utf-8", "replace").strip()[-500:]

    def end(self) -> None:
        """Kills it, whatever it does, with all that it has started."""
        self._process.end()
        self._log.close()


class WorkerPool:
    """Processes that wait for work, the one that was given back last at the end."""

    def __init__(self) -> None:
        self._idle: list[_Worker] = []
        self._folders: set[Path] = set()
        self._compiled = Path(temporary_root(), "numba")
        self._lock = threading.Lock()

    def allow(self, *folders: Path, compiled: Path) -> None:
        """Lets processes have what is in some folders, besides temporary files.

        Args:
            compiled: where numba keeps what it compiles, if packages cannot be written to.
        """
        self._folders.update(folders)
        self._compiled = compiled

    @contextlib.contextmanager
    def lend(self, owner: str, command: Command, stop: threading.Event) -> Iterator[_Worker]:
        """A process that has begun with a piece of work, for this owner alone.

        Whatever is raised inside ends the process; else it waits for more.

        Args:
            owner: whose work it is, by an id.

        Raises:
            MemoryExceeded: it took too much, or the system has ended it.
            Died: it has ended by itself.
            UnreadableAnswer: it says what it should not.
        """
        worker = self._take(owner, command, stop)
        try:
            yield worker
        except Died as error:
            worker.end()
            if error.code in (*_KILLED, *_BROKEN):
                raise MemoryExceeded from error
            raise
        except BaseException:
            worker.end()
            raise
        self._give_back(worker)

    def end(self) -> None:
        """Ends all that wait for work."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.end()

    def _take(self, owner: str, command: Command, stop: threading.Event) -> _Worker:
        while True:
            worker = self._idle_of(owner)
            fresh = worker is None
            worker = worker or _Worker(owner, command.folder, *self._surroundings())
            try:
                if worker.begin(command, stop):
                    return worker
                if fresh:
                    raise worker.death()
            except BaseException:
                worker.end()
                raise
            worker.end()

    def _surroundings(self) -> tuple[Files, dict[str, str]]:
        """The files that a process may have, and its variables.

        The folders in which numba keeps what it compiles are made here, since a process has only
        what there is: beside the packages, or else all in one.
        """
        environment = clean_environment()
        folders = [each for each in _COMPILED if each.parent.is_dir()]
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.mkdir(exist_ok=True)
        if "NUMBA_CACHE_DIR" in environment or not all(
            os.access(each, os.W_OK) for each in folders
        ):
            folders = [Path(environment.setdefault("NUMBA_CACHE_DIR", str(self._compiled)))]
            folders[0].mkdir(parents=True, exist_ok=True)
        return Files((temporary_root(), *self._folders, *folders)), environment

    def _idle_of(self, owner: str) -> _Worker | None:
        with self._lock:
            for worker in reversed(self._idle):
                if worker.owner == owner:
                    self._idle.remove(worker)
                    return worker
        return None

    def _give_back(self, worker: _Worker) -> None:
        with self._lock:
            kept = [*self._idle, worker] if worker.bytes_held() <= _LARGEST_IDLE else self._idle
            alive = [each for each in kept if each.alive]
            over = {*self._idle, worker} - {*alive[-MOST_IDLE:]}
            self._idle = alive[-MOST_IDLE:]
        for each in over:
            each.end()


POOL = WorkerPool()
"""Of this process: whoever needs one takes it from here."""
