"""A board of an owner's newest job of a kind whose result is drawn, not saved.

The page only watches. A job goes on when the page is closed, and a page that is opened later finds
it by its owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import gradio as gr

from pipelines.core.errors import UserError
from studio.core.jobs.record import DONE, FAILED, Job
from studio.page import views
from studio.page.components.latest_watch import Turns, ending_silently
from studio.page.widgets import NEWEST, QUIET, Visitor, follow_newest, label

if TYPE_CHECKING:
    from studio.core.services import Studio
    from studio.page.opening import Opening

LOOK_SECONDS = 0.5  # between two looks at a job
_WATCH = {**QUIET, "trigger_mode": "multiple"}

Draw = Callable[[Job, Visitor, list[Any]], str]


class JobBoard:
    """Draws a board that shows the owner's newest job of one kind, and connects it.

    Args:
        studio: whose jobs.
        kind: of the jobs.
        name: the beginning of the elements' ids.
        script: JavaScript for what is drawn.
        empty: title and words of a board without any job; none: it stays blank.

    Attributes:
        board: what is drawn on; its script's triggers are its events.
        job_id: state with the id of the job on the board, or None.
        followed: the event after which the board shows a job that has ended.
    """

    def __init__(
        self,
        studio: Studio,
        kind: str,
        name: str,
        script: str | None = None,
        empty: tuple[str, str] | None = None,
    ) -> None:
        self.studio, self.kind, self._empty = studio, kind, empty
        # The server keeps the id, so that no page can name another job than the one it shows.
        self.job_id = gr.State(None)
        self._turns = gr.State(Turns())
        self.board = gr.HTML(elem_id=f"{name}-board", js_on_load=views.ANNOUNCED + (script or ""))
        self._stop = gr.Button(
            label("Stop"), size="sm", visible=False, elem_id=f"{name}-stop", elem_classes="quiet"
        )

    def connect(
        self,
        opening: Opening,
        button: gr.Button,
        request_of: Callable[[list[Any], Visitor], Mapping[str, Any]],
        inputs: list[gr.components.Component],
        draw: Draw,
        seen: list[gr.components.Component],
        also: Sequence[gr.events.Dependency] = (),
    ) -> None:
        """Let ``button`` submit a job and watch it.

        Args:
            also: events after which the same is done as at a click.
            request_of: the fields of a request from the values of ``inputs``.
            draw: HTML of a job that is done, with the values of ``seen``; drawn anew with them.
        """
        self._draw = draw

        def submit(request: gr.Request, *values: Any) -> str:
            visitor = Visitor.of(request)

            def act() -> object:
                fields = dict(request_of(list(values), visitor))
                return self.studio.submissions.submit(visitor.owner, self.kind, fields)

            return views.refusal(act, visitor)

        refusal = gr.State("")
        outputs = [self.board, self._stop, self.job_id]
        follow = ending_silently(self._follow, len(outputs))
        started = [
            moment(submit, inputs, refusal, preprocess=False, **QUIET).then(
                follow, [refusal, self._turns, *seen], outputs, preprocess=False, **_WATCH
            )
            for moment in (button.click, *(event.then for event in also))
        ]
        opened = opening.load(follow, [gr.State(""), self._turns, *seen], outputs,
                              preprocess=False, **_WATCH)  # fmt: skip
        self.followed = (*started, opened)
        again = {"fn": self._redrawn, "inputs": [self.job_id, refusal, *seen],
                 "outputs": self.board, "preprocess": False}  # fmt: skip
        moved = [getattr(each, "input", each.change) for each in seen]
        if moved:
            follow_newest(moved, **again)
        for event in self.followed:  # what was moved while it ran
            event.then(**again, **NEWEST)
        self._stop.click(self._stopped, self.job_id, self._stop, **QUIET)

    async def _follow(
        self, refusal: str, turns: Turns, request: gr.Request, *values: Any
    ) -> AsyncIterator[list[Any]]:
        own, visitor, shown = turns.begin(), Visitor.of(request), None
        look = anyio.to_thread.run_sync
        while True:
            job = await look(self._newest, visitor)
            html = await look(self._shown, job, visitor, refusal, list(values))
            ended = job is None or job.ended
            async with turns.of(own) as may_show:
                if not may_show:
                    return
                if html != shown or ended:
                    shown = html
                    stop = gr.update(visible=not ended, interactive=True) if ended else (
                        gr.update(visible=True))  # fmt: skip
                    yield [html, stop, job and job.id]
            if ended:
                return
            await asyncio.sleep(LOOK_SECONDS)

    def _redrawn(self, job_id: str | None, refusal: str, request: gr.Request, *values: Any) -> Any:
        visitor = Visitor.of(request)
        try:
            job = self.studio.jobs.get(visitor.owner.id, str(job_id))
        except UserError:  # there is none yet
            return gr.skip()
        if job.state != DONE:
            return gr.skip()
        drawn = self._draw(job, visitor, list(values))
        return views.board(visitor, beside=drawn, failure=refusal)

    def _stopped(self, job_id: str | None, request: gr.Request) -> Any:
        if job_id is not None:
            self.studio.jobs.cancel(Visitor.of(request).owner.id, job_id)
        return gr.update(interactive=False)

    def _newest(self, visitor: Visitor) -> Job | None:
        """The one that runs, the one that is next, or else the last one that was not stopped."""
        jobs = self.studio.jobs.list(visitor.owner.id, kind=self.kind)
        unfinished = [job for job in jobs if not job.ended]
        kept = [job for job in jobs if job.state in (DONE, FAILED)]
        return next(iter([*unfinished[::-1], *kept]), None)

    def _shown(self, job: Job | None, visitor: Visitor, refusal: str, values: list[Any]) -> str:
        if job is None and self._empty is not None and not refusal:
            return views.empty_board(*self._empty, visitor)
        if job is None:
            return views.board(visitor, failure=refusal) if refusal else ""
        failure, drawn = refusal, ""
        if job.error is not None:
            failure += views.error(job.error, visitor)
        if job.state == DONE:
            drawn = self._draw(job, visitor, values)
        progress = None if job.ended else views.Progressing.of(self.studio.jobs, job)
        return views.board(visitor, progress=progress, beside=drawn, failure=failure)
