"""Submitting a job and watching it: progress, preview and pictures on a board, until it is done.

The page only watches. A job goes on when the page is closed, and a page that is opened later finds
it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import gradio as gr

from pipelines.core.errors import UserError
from pipelines.core.messages import Message
from studio.core.broadcast import Broadcast
from studio.core.gallery.metadata import parse_parameters
from studio.core.gallery.reuse import fields_of
from studio.core.jobs.record import CANCELLED, DONE, QUEUED
from studio.page import views
from studio.page.components import sheet_views
from studio.page.components.details import Details
from studio.page.widgets import QUIET, Visitor

if TYPE_CHECKING:
    from studio.core.gallery.gallery import SavedPicture
    from studio.core.jobs.queue import Job
    from studio.core.services import Studio
    from studio.page.opening import Opening

LOOK_SECONDS = 0.2  # between two looks at a running job
LOOK_SECONDS_WAITING = 0.6  # at one that waits in the queue


class Watch:
    """Connects one board with the jobs of one kind.

    Args:
        studio: whose jobs and gallery.
        kind: of the jobs.
        board: shows progress and pictures; made with ``js_on_load=Watch.CLICKED``.
        cancel: the button, seen while there is something to cancel.
        details: shows the settings of the chosen picture.
        empty: title and words of a board without any job.
        beside: HTML that shows a picture large, beside what it was made of; empty: as it is.
    """

    CLICKED = views.ANNOUNCED + views.PICTURE_CLICKED + views.AGAIN_CLICKED

    def __init__(
        self,
        studio: Studio,
        *,
        kind: str,
        board: gr.HTML,
        cancel: gr.Button,
        details: Details,
        empty: tuple[str, str],
        beside: Callable[[Visitor, SavedPicture], str] = lambda visitor, row: "",
    ) -> None:
        self.studio = studio
        self.kind = kind
        self.details = details
        self.empty = empty
        self.beside = beside
        # The server keeps the id, so that no page can name another job than the one it shows.
        self.job_id = gr.State(None)
        self._board = board
        self._watched = Broadcast(self._shown_jobs)  # once for all pages that an owner has open
        self._outputs = [board, cancel, self.job_id, *details.outputs]
        cancel.click(self._cancel, self.job_id, cancel, **QUIET)
        board.pick(self._choose, self.job_id, [board, *details.outputs], **QUIET)

    def connect(
        self,
        opening: Opening,
        button: gr.Button,
        request_of: Callable[[list[Any]], dict[str, Any]],
        inputs: list[gr.components.Component],
        js: str | None = None,
    ) -> None:
        """Let ``button`` submit ``request_of(values of inputs)`` and watch the job.

        When the tab is opened, the owner's unfinished job is watched, or else the last one shown.
        ``js`` may put the newest values in place of those that the browser has.
        """

        def submit(request: gr.Request, *values: Any) -> str:
            visitor = Visitor.of(request)

            def act() -> object:
                return self.studio.submissions.submit(
                    visitor.owner, self.kind, request_of(list(values))
                )

            return views.refusal(act, visitor)

        refusal = gr.State("")
        # Gradio's own checks know less than the request's and say it worse.
        click = button.click(submit, inputs, refusal, preprocess=False, js=js, **QUIET)
        again = self._board.again(self._retry, self.job_id, refusal, **QUIET)
        watch = {**QUIET, "trigger_mode": "multiple"}
        watching = [
            click.then(self._follow, refusal, self._outputs, **watch),
            again.then(self._follow, refusal, self._outputs, **watch),
            opening.load(self._follow, gr.State(""), self._outputs, **watch),
        ]
        # The new watch shows the earlier jobs as well.
        button.click(None, cancels=watching, api_visibility="private")

    def last_request(self, visitor: Visitor) -> dict[str, Any] | None:
        """The fields of the visitor's newest request of this kind."""
        job = next(iter(self._jobs(visitor)), None)
        return job.request if job is not None else None

    def last_seed(self, job_id: str | None, request: gr.Request) -> Any:
        """The seed of the first picture on the board; nothing changes when there is none."""
        rows = self.studio.gallery.of_job(Visitor.of(request).owner.id, job_id) if job_id else []
        seeds = [fields_of(parse_parameters(row.parameters)).get("seed") for row in rows]
        return next((seed for seed in seeds if seed is not None), gr.skip())

    # --- events -----------------------------------------------------------------------------

    async def _follow(self, refusal: str, request: gr.Request) -> AsyncIterator[list[Any]]:
        """Show the owner's jobs of this kind, oldest first, until none is unfinished.

        ``refusal`` is why the newest request was not taken, as HTML, or empty.
        """
        visitor = Visitor.of(request)
        shown = self._shown_jobs(visitor, refusal) if refusal else self._watched.listen(visitor)
        while True:
            async with aclosing(shown):
                async for values in shown:
                    yield deepcopy(values)
            # What ended may have looked for the last time before the newest job was there.
            job = await anyio.to_thread.run_sync(self._unfinished_or_last, visitor)
            if job is None or job.ended:
                return
            shown = self._watched.listen(visitor)

    async def _shown_jobs(self, visitor: Visitor, refusal: str = "") -> AsyncIterator[list[Any]]:
        look = anyio.to_thread.run_sync
        job = await look(self._unfinished_or_last, visitor)
        if job is None:
            empty = views.empty_board(*self.empty, visitor)
            board = views.board(visitor, failure=refusal) if refusal else empty
            yield [board, *self._idle(None)]
            return
        failures, shown = refusal, None
        while not job.ended:
            html = await look(self._running, visitor, job, failures)
            if html != shown:
                shown = html
                yield [html, gr.update(visible=True), job.id, *(gr.skip(),) * 3]
            await asyncio.sleep(LOOK_SECONDS_WAITING if job.state == QUEUED else LOOK_SECONDS)
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

    def _retry(self, job_id: str | None, request: gr.Request) -> str:
        """Queues the request of the job on the board again; why it was not taken, as HTML."""
        visitor = Visitor.of(request)
        return views.refusal(
            lambda: self.studio.submissions.retry(visitor.owner, str(job_id)), visitor
        )

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

    def _running(self, visitor: Visitor, job: Job, failures: str) -> str:
        preview = self.studio.jobs.preview(visitor.owner.id, job.id)
        progress = replace(
            views.Progressing.of(self.studio.jobs, job),
            preview=views.preview_uri(preview) if preview is not None else None,
        )
        pictures = views.named(self._pictures(visitor, job), visitor)
        return views.board(visitor, progress=progress, pictures=pictures, failure=failures)

    def _finished(self, visitor: Visitor, job: Job, failures: str) -> list[Any]:
        pictures = self._pictures(visitor, job)
        if not pictures:
            return [self._board_of(visitor, job, None, failures), *self._idle(job.id)]
        first = pictures[0]
        details = self.details.shown(parse_parameters(first.parameters), visitor, first.id)
        idle = self._idle(job.id)[:2]
        return [self._board_of(visitor, job, first.id, failures), *idle, *details]

    def _board_of(self, visitor: Visitor, job: Job, chosen: str | None, failures: str = "") -> str:
        """The board of a finished job."""
        rows = self.studio.gallery.of_job(visitor.owner.id, job.id)
        shown_large = [self.beside(visitor, row) for row in rows if row.id == chosen]
        painted = views.named([row for row in rows if row.position >= 0], visitor)
        again, cancelled = views.again(visitor), job.state == CANCELLED
        return views.board(
            visitor,
            pictures=painted,
            sheet=next((row.id for row in rows if row.position < 0), None),
            caption=sheet_views.caption(job),
            chosen=chosen,
            beside="".join(shown_large),
            summary=views.summary(_outcome(job), visitor) + (again if cancelled else ""),
            failure=failures + (_failure(job, visitor) + again if job.error is not None else ""),
            finished=_announcement(job, list(painted.values())),
        )

    def _pictures(self, visitor: Visitor, job: Job) -> list[SavedPicture]:
        rows = self.studio.gallery.of_job(visitor.owner.id, job.id)
        return [row for row in rows if row.position >= 0]

    def _failure_of(self, visitor: Visitor, job_id: str) -> str:
        return _failure(self.studio.jobs.get(visitor.owner.id, job_id), visitor)


def _failure(job: Job, visitor: Visitor) -> str:
    return views.error(job.error, visitor) if job.error is not None else ""


def _announcement(job: Job, names: list[str]) -> Message | None:
    """What is said aloud of a job that has painted pictures of these names."""
    if job.state != DONE or not names:
        return None
    if len(names) == 1:
        return Message("Finished: {picture}", picture=names[0])
    return Message("Finished: {count} pictures", count=len(names))


def _outcome(job: Job) -> list[Message]:
    """What there is to say of a job that is over."""
    if job.state == CANCELLED:
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
