"""Cleaning up: a job with progress that can be stopped and goes on when the page is closed.

It needs no device, and goes to the worker that waits for none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from pipelines.core.engines import Request
from pipelines.core.errors import Refused, Stopped
from pipelines.core.events import Progress, Result
from pipelines.core.messages import Message
from pipelines.core.sizes import format_bytes

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.jobs.queue import Jobs
    from studio.core.jobs.record import Job

KIND = "clean_up"


class CleaningRequest(Request):
    """There is nothing to choose."""


class CleaningEngine:
    """Does the work; as :class:`pipelines.core.engines.Engine`.

    Args:
        cleaning: ``cleaning(dry_run)`` yields the bytes of each thing that goes.
    """

    request_class = CleaningRequest
    resumes = True

    def __init__(self, cleaning: Callable[[bool], Iterator[int]]) -> None:
        self._cleaning = cleaning

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
        with closing(self._cleaning(dry_run)) as sizes:
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
