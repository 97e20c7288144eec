"""Cleaning frees disk space: it deletes what can be made again, and what nobody uses.

It is a job with progress that can be stopped and goes on when the page is closed. It needs no
device, and goes to the worker that waits for none.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.core.engine import Request
from pipelines.core.errors import Refused, Stopped
from pipelines.core.events import Progress, Result
from pipelines.core.messages import Message
from pipelines.core.sizes import format_bytes

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.jobs.queue import Jobs
    from studio.core.jobs.record import Job
    from studio.core.quota import Keeper

KIND = "clean_up"  # of job
UPLOADS = "cache"  # below the home folder; where Gradio keeps copies of uploads
IN_USE_SECONDS = 600.0  # an upload this young may still be read by its event


class Cleaner:
    """Deletes what keepers can make again or nobody uses any more, and Gradio's copies of uploads.

    Args:
        home: the home folder.
        keepers: asked in their order; may be filled later.
    """

    def __init__(self, home: Path, keepers: Sequence[Keeper]) -> None:
        self._home, self._keepers = home, keepers

    def clean_up(self, dry_run: bool = False) -> Iterator[int]:
        """Deletes one thing after another; between two it can be left off.

        Yields:
            The bytes that were freed by each thing, or with ``dry_run`` would be.
        """
        for each in self._keepers:
            yield from each.clean_up(dry_run)
        oldest_in_use = time.time() - IN_USE_SECONDS
        for path, status in _uploads(self._home):
            if status.st_mtime > oldest_in_use:
                continue
            if not dry_run:
                path.unlink(missing_ok=True)
            yield status.st_size


def forget_uploads(home: Path, paths: Iterable[str | Path]) -> None:
    """Deletes Gradio's copies of uploads that have been read; other files are left alone.

    They are what people have sent, byte for byte: photos among them may tell where they were taken.
    """
    folder = (home / UPLOADS).resolve()
    for path in map(Path, paths):
        if folder in path.resolve().parents:
            with contextlib.suppress(OSError):
                path.unlink()


def _uploads(home: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in (home / UPLOADS).rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # taken meanwhile
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                yield path, status


class CleaningRequest(Request):
    """A request without fields."""


class CleaningEngine:
    """The engine that frees disk space.

    Args:
        clean_up: ``clean_up(dry_run)`` yields the bytes of each thing that goes.
    """

    request_class = CleaningRequest
    resumes = True

    def __init__(self, clean_up: Callable[[bool], Iterator[int]]) -> None:
        self._clean_up = clean_up

    def run(
        self, request: CleaningRequest, cache: Any, stop: threading.Event, owner: str = ""
    ) -> Iterator[Progress | Result]:
        """Looks first what can go, then deletes it; steps are bytes."""
        start, total, freed = time.monotonic(), 0, 0
        yield Progress(0, 0, note=Message("Looking for what can go"))
        for size in self._until(stop, dry_run=True):
            total += size
        for size in self._until(stop, dry_run=False):
            freed += size
            total = max(total, freed)  # more may have become free meanwhile
            note = Message(
                "{done} of {size} freed", done=format_bytes(freed), size=format_bytes(total)
            )
            yield Progress(freed, total, note=note)
        yield Result({"freed": freed, "seconds": time.monotonic() - start})

    def _until(self, stop: threading.Event, dry_run: bool) -> Iterator[int]:
        with closing(self._clean_up(dry_run)) as sizes:
            for size in sizes:
                yield size
                if stop.is_set():
                    raise Stopped


class Cleanings:
    """Begins and finds such jobs, which are the host's."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._lock = threading.Lock()

    def begin(self, owner: Owner) -> Job:
        """The job that cleans up; the one that is queued or at work already, if there is one.

        Raises:
            Refused: only the host may do that.
            Busy: the owner has too many jobs that need no device.
        """
        if not owner.is_host:
            raise Refused("Only the host may clean up.")
        with self._lock:
            newest = self.newest(owner)
            if newest is not None and not newest.ended:
                return newest
            return self._jobs.submit(owner.id, KIND, CleaningRequest())

    def newest(self, owner: Owner) -> Job | None:
        """The owner's last one, be it at work or ended."""
        return next(iter(self._jobs.list(owner.id, kind=KIND, limit=1)), None)
