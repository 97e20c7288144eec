"""Submitting a job and watching it: progress, preview and pictures on a board, until it is done.

The page only watches. A job goes on when the page is closed, and a page that is opened later finds
it again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import gradio as gr

from pipelines.errors import UserError
from pipelines.messages import Message
from studio import views
from studio.metadata import parse_parameters
from studio.tabs.details import Details
from studio.widgets import QUIET, Visitor

if TYPE_CHECKING:
    from studio.jobs import Job
    from studio.server import Studio

LOOK_SECONDS = 0.2  # between two looks at a running job
LOOK_SECONDS_WAITING = 0.6  # at one that waits in the queue


@dataclass(slots=True)
class _Pace:
    """When a job's counted steps began, for the time that is left."""

    job_id: str
    step: int
    at: float = field(default_factory=time.monotonic)

    def seconds_left(self, step: int, total: int) -> float | None:
        done = step - self.step
        if done < 1 or step >= total:
            return None
        return (time.monotonic() - self.at) / done * (total - step)


class Watch:
    """Connects one board with the jobs of one kind.

    Args:
        studio: whose jobs and gallery.
        kind: of the jobs.
        board: shows progress and pictures; made with ``js_on_load=Watch.CLICKED``.
        cancel: the button, seen while there is something to cancel.
        details: shows the settings of the chosen picture.
        empty: title and words of a board without any job.
    """

    CLICKED = views.PICTURE_CLICKED

    def __init__(
        self,
        studio: Studio,
        *,
        kind: str,
        board: gr.HTML,
        cancel: gr.Button,
        details: Details,
        empty: tuple[str, str],
    ) -> None:
        self.studio = studio
        self.kind = kind
        self.details = details
        self.empty = empty
        # The server keeps the id, so that no page can name another job than the one it shows.
        self.job_id = gr.State(None)
        self._board = board
        self._outputs = [board, cancel, self.job_id, *details.outputs]
        cancel.click(self._cancel, self.job_id, cancel, **QUIET)
        board.pick(self._choose, self.job_id, [board, *details.outputs], **QUIET)

    def connect(
        self,
        page: gr.Blocks,
        button: gr.Button,
        request_of: Callable[[list[Any]], dict[str, Any]],
        inputs: list[gr.components.Component],
    ) -> None:
        """Let ``button`` submit ``request_of(values of inputs)`` and watch the job.

        When the page is opened, the owner's unfinished job is watched, or else the last one shown.
        """

        def submit(request: gr.Request, *values: Any) -> str:
            visitor = Visitor.of(request)
            try:
                self.studio.submit(visitor.owner, self.kind, request_of(list(values)))
            except UserError as error:
                return views.error(error.message, visitor)
            return ""

        refusal = gr.State("")
        # Gradio's own checks know less than the request's and say it worse.
        click = button.click(submit, inputs, refusal, preprocess=False, **QUIET)
        watch = {**QUIET, "trigger_mode": "multiple"}
        watching = [
            click.then(self._follow, refusal, self._outputs, **watch),
            page.load(self._follow, gr.State(""), self._outputs, **watch),
        ]
        # The new watch shows the earlier jobs as well.
        button.click(None, cancels=watching, api_visibility="private")

    def last_request(self, visitor: Visitor) -> dict[str, Any] | None:
        """The fields of the visitor's newest request of this kind."""
        job = next(iter(self._jobs(visitor)), None)
        return job.request if job is not None else None

    # --- events -----------------------------------------------------------------------------

    async def _follow(self, refusal: str, request: gr.Request) -> AsyncIterator[list[Any]]:
        """Show the owner's jobs of this kind, oldest first, until none is unfinished.

        ``refusal`` is why the newest request was not taken, as HTML, or empty.
        """
        visitor = Visitor.of(request)
        look = anyio.to_thread.run_sync
        job = await look(self._unfinished_or_last, visitor)
        if refusal and (job is None or job.ended):
            yield [views.board(visitor, failure=refusal), *self._idle(job and job.id)]
            return
        if job is None:
            yield [views.empty_board(*self.empty, visitor), *self._idle(None)]
            return
        failures, pace, shown = refusal, None, None
        while not job.ended:
            if job.step and (pace is None or pace.job_id != job.id or job.step < pace.step):
                pace = _Pace(job.id, job.step)
            html = await look(self._running, visitor, job, pace, failures)
            if html != shown:
                shown = html
                yield [html, gr.update(visible=True), job.id, *(gr.skip(),) * 3]
            await asyncio.sleep(LOOK_SECONDS if job.state == "running" else LOOK_SECONDS_WAITING)
            seen, job = job, await look(self._next, visitor, job)
            if job.id != seen.id:  # what went wrong stays in sight while the next one runs
                failures += await look(self._failure_of, visitor, seen.id)
        yield await look(self._finished, visitor, job, failures)

    def _choose(self, job_id: str | None, event: gr.EventData, request: gr.Request) -> list[Any]:
        visitor = Visitor.of(request)
        try:
            row = self.studio.gallery.get(visitor.owner.id, str(event._data.get("id")))
            job = self.studio.jobs.get(visitor.owner.id, str(job_id))
        except UserError as error:  # deleted in the gallery meanwhile
            return [gr.skip(), views.error(error.message, visitor), gr.update(visible=False), None]
        board = self._board_of(visitor, job, row.id) if job.ended else gr.skip()
        return [board, *self.details.shown(parse_parameters(row.parameters), visitor, row.id)]

    def _cancel(self, job_id: str | None, request: gr.Request) -> Any:
        owner = Visitor.of(request).owner
        if job_id is not None:
            self.studio.jobs.cancel(owner.id, job_id)
        return gr.update(interactive=False)

    # --- what is shown ----------------------------------------------------------------------

    def _idle(self, job_id: str | None) -> list[Any]:
        return [gr.update(visible=False, interactive=True), job_id, *self.details.hidden()]

    def _unfinished_or_last(self, visitor: Visitor) -> Job | None:
        jobs = self._jobs(visitor)
        unfinished = [job for job in jobs if not job.ended]
        return next(iter([*unfinished[::-1], *jobs]), None)

    def _jobs(self, visitor: Visitor) -> list[Job]:
        """Newest first."""
        return self.studio.jobs.list(visitor.owner.id, kind=self.kind)

    def _next(self, visitor: Visitor, job: Job) -> Job:
        """The same job as it is now, or the owner's next one where it is finished."""
        now = self.studio.jobs.get(visitor.owner.id, job.id)
        following = self._unfinished_or_last(visitor) if now.ended else None
        return following if following is not None and not following.ended else now

    def _running(self, visitor: Visitor, job: Job, pace: _Pace | None, failures: str) -> str:
        preview = self.studio.jobs.preview(visitor.owner.id, job.id)
        progress = views.Progressing(
            state=job.state,
            step=job.step,
            total=job.total,
            note=job.note,
            position=self.studio.jobs.position(job.id),
            seconds_left=pace.seconds_left(job.step, job.total) if pace else None,
            preview=views.preview_uri(preview) if preview is not None else None,
        )
        pictures = self._pictures(visitor, job)
        return views.board(visitor, progress=progress, pictures=pictures, failure=failures)

    def _finished(self, visitor: Visitor, job: Job, failures: str) -> list[Any]:
        pictures = self._pictures(visitor, job)
        if not pictures:
            return [self._board_of(visitor, job, None, failures), *self._idle(job.id)]
        first = self.studio.gallery.get(visitor.owner.id, pictures[0])
        details = self.details.shown(parse_parameters(first.parameters), visitor, first.id)
        idle = self._idle(job.id)[:2]
        return [self._board_of(visitor, job, first.id, failures), *idle, *details]

    def _board_of(self, visitor: Visitor, job: Job, chosen: str | None, failures: str = "") -> str:
        """The board of a finished job."""
        rows = self.studio.gallery.of_job(visitor.owner.id, job.id)
        return views.board(
            visitor,
            pictures=[row.id for row in rows if row.position >= 0],
            sheet=next((row.id for row in rows if row.position < 0), None),
            chosen=chosen,
            summary=views.summary(_outcome(job), visitor),
            failure=failures + _failure(job, visitor),
        )

    def _pictures(self, visitor: Visitor, job: Job) -> list[str]:
        rows = self.studio.gallery.of_job(visitor.owner.id, job.id)
        return [row.id for row in rows if row.position >= 0]

    def _failure_of(self, visitor: Visitor, job_id: str) -> str:
        return _failure(self.studio.jobs.get(visitor.owner.id, job_id), visitor)


def _failure(job: Job, visitor: Visitor) -> str:
    return views.error(job.error, visitor) if job.error is not None else ""


def _outcome(job: Job) -> list[Message]:
    """What there is to say of a job that is over."""
    if job.state == "cancelled":
        return [Message("Cancelled. What was painted before is kept.")]
    result = job.result or {}
    messages = []
    if "seconds" in result:
        seconds = views.duration(result["seconds"])
        count = result.get("pictures", 1)
        messages.append(
            Message("{count} pictures in {time}.", count=count, time=seconds)
            if count > 1
            else Message("Painted in {time}.", time=seconds)
        )
    return messages + [Message.from_json(note) for note in result.get("notes", ())]
