"""Deleting all that an owner keeps, whatever features there are.

It is a job with progress that can be stopped and goes on when the page is closed. It needs no
device, and goes to the worker that waits for none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.core.engine import Request
from pipelines.core.errors import Stopped
from pipelines.core.events import Progress, Result
from pipelines.core.messages import Message

if TYPE_CHECKING:
    from studio.core.quota import Keeper

KIND = "delete_everything"  # of job
LOOK_SECONDS = 0.1  # between two looks at jobs that are still to end


class EverythingRequest(Request):
    """A request without fields: all that its owner keeps is deleted."""


class OwnerDeletion:
    """The engine that deletes all that an owner keeps.

    Args:
        keepers: asked in their order; may be filled later.
        cancel_jobs: ``cancel_jobs(owner)`` cancels an owner's jobs, but for this one, and returns
            whether all have ended.
    """

    request_class = EverythingRequest
    resumes = True

    def __init__(self, keepers: Sequence[Keeper], cancel_jobs: Callable[[str], bool]) -> None:
        self._keepers, self._cancel_jobs = keepers, cancel_jobs

    def run(
        self, request: EverythingRequest, cache: Any, stop: threading.Event, owner: str
    ) -> Iterator[Progress | Result]:
        """Cancels the owner's jobs, waits for their end, then deletes what each keeper has."""
        start, deleted = time.monotonic(), 0
        while not self._cancel_jobs(owner):
            yield Progress(0, len(self._keepers), note=Message("Cancelling your jobs"))
            if stop.wait(LOOK_SECONDS):
                raise Stopped
        for done, keeper in enumerate(self._keepers, start=1):
            if stop.is_set():
                raise Stopped
            deleted += keeper.delete_all(owner)
            yield Progress(done, len(self._keepers))
        yield Result({"deleted": deleted, "seconds": time.monotonic() - start})
