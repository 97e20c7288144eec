"""Deleting many pictures: a job with progress, which goes on when the page is closed.

It needs no device, and has a worker of its own: nobody waits hours for a training before some disk
space is free again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.core.engine import Request
from pipelines.core.errors import BadRequest, Stopped
from pipelines.core.events import Progress, Result

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.gallery.gallery import Gallery
    from studio.core.gallery.inputs import Inputs
    from studio.core.jobs.queue import Jobs
    from studio.core.jobs.record import Job

KIND = "delete_pictures"
AT_ONCE = 50  # pictures that go in one transaction; the job can be stopped between two
MOST = 20_000  # pictures that can be named in one request


class DeletionRequest(Request):
    """Which pictures go; made by :class:`PictureDeletions` alone, never of what somebody sent.

    It uses none of them: to be about to go is no reason to stay.

    Attributes:
        owner: whose they are.
        ids: of pictures of the gallery.
        inputs: ids of brought-in pictures.
    """

    owner: str
    ids: list[str]
    inputs: tuple[str, ...] = ()


class DeletionEngine:
    """The engine that deletes pictures, one after another."""

    request_class = DeletionRequest
    resumes = True

    def __init__(self, gallery: Gallery, inputs: Inputs) -> None:
        self._gallery, self._inputs = gallery, inputs

    def run(
        self, request: DeletionRequest, cache: Any, stop: threading.Event, owner: str = ""
    ) -> Iterator[Progress | Result]:
        start, total = time.monotonic(), len(request.ids) + len(request.inputs)
        deleted = done = 0
        for kind, ids in ((self._gallery, request.ids), (self._inputs, request.inputs)):
            for some in _portions(ids):
                if stop.is_set():
                    raise Stopped
                deleted += kind.delete_several(request.owner, some)
                done += len(some)
                yield Progress(done, total)
        yield Result({"deleted": deleted, "seconds": time.monotonic() - start})


class PictureDeletions:
    """Begins such jobs; each method works for one owner only."""

    def __init__(self, jobs: Jobs, gallery: Gallery, inputs: Inputs) -> None:
        self._jobs, self._gallery, self._inputs = jobs, gallery, inputs

    def begin(self, owner: Owner, ids: Sequence[str]) -> Job:
        """Deletes these pictures of the owner's; what is no longer there is passed over.

        Raises:
            BadRequest: there are none, or too many.
            Busy: the owner has too many jobs of this kind.
        """
        if not ids:
            raise BadRequest("No pictures are chosen. Choose some first.")
        if len(ids) > MOST:
            raise BadRequest(
                "{count} pictures are named; {limit} can be at a time.",
                count=len(ids),
                limit=MOST,
            )
        return self._submit(owner, list(ids))

    def begin_all(self, owner: Owner) -> Job:
        """Deletes all of the owner's pictures, those brought in as well; raises Busy."""
        inputs = [each.id for each in self._inputs.list(owner.id, limit=-1)]
        return self._submit(owner, self._gallery.ids(owner.id), inputs)

    def _submit(self, owner: Owner, ids: list[str], inputs: Sequence[str] = ()) -> Job:
        request = DeletionRequest(owner=owner.id, ids=ids, inputs=tuple(inputs))
        return self._jobs.submit(owner.id, KIND, request)


def _portions(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(ids), AT_ONCE):
        yield ids[at : at + AT_ONCE]
