"""Watching what shortens: a board for the newest job of a kind, and one for one's own models.

The page only watches. A job goes on when the page is closed, and a page that is opened later finds
it by its owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import gradio as gr

from pipelines.errors import UserError
from pipelines.messages import Message
from studio import shorten_views, views
from studio.job import CANCELLED, DONE, FAILED, QUEUED, Job
from studio.prunings import SHORTEN, Shortening
from studio.tabs.deletion import UNASKED, Deletion
from studio.widgets import QUIET, Visitor, label

if TYPE_CHECKING:
    from studio.opening import Opening
    from studio.server import Studio

LOOK_SECONDS = 0.5  # between two looks at a job
_NEWEST = ""  # instead of an id: the unfinished one, else the last one
_WATCH = {**QUIET, "trigger_mode": "multiple"}

Draw = Callable[[Job, Visitor, list[Any]], str]


class JobBoard:
    """Draws a board that shows the owner's newest job of one kind, and connects it.

    Args:
        studio: whose jobs.
        kind: of the jobs.
        name: the beginning of the elements' ids.

    Attributes:
        job_id: state with the id of the job on the board, or None.
        followed: the event after which the board shows a job that has ended.
    """

    def __init__(self, studio: Studio, kind: str, name: str) -> None:
        self.studio, self.kind = studio, kind
        # The server keeps the id, so that no page can name another job than the one it shows.
        self.job_id = gr.State(None)
        # How many watches a page has begun. Only the newest one may show anything.
        self._begun = gr.State([0])
        self._board = gr.HTML(elem_id=f"{name}-board")
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
    ) -> None:
        """Let ``button`` submit a job and watch it.

        Args:
            request_of: the fields of a request from the values of ``inputs``.
            draw: HTML of a job that is done, with the values of ``seen``; drawn anew with them.
        """
        self._draw = draw

        def submit(request: gr.Request, *values: Any) -> str:
            visitor = Visitor.of(request)
            try:
                fields = dict(request_of(list(values), visitor))
                self.studio.submit(visitor.owner, self.kind, fields)
            except UserError as error:
                return views.error(error.message, visitor)
            return ""

        refusal = gr.State("")
        outputs = [self._board, self._stop, self.job_id]
        click = button.click(submit, inputs, refusal, preprocess=False, **QUIET)
        clicked = click.then(self._follow, [refusal, self._begun, *seen], outputs,
                             preprocess=False, **_WATCH)  # fmt: skip
        opened = opening.load(self._follow, [gr.State(""), self._begun, *seen], outputs,
                              preprocess=False, **_WATCH)  # fmt: skip
        self.followed = (clicked, opened)
        again = {"preprocess": False, **QUIET, "trigger_mode": "always_last"}
        moved = [getattr(each, "input", each.change) for each in seen]
        if moved:
            gr.on(moved, self._redrawn, [self.job_id, *seen], self._board, **again)
        for event in self.followed:  # what was moved while it ran
            event.then(self._redrawn, [self.job_id, *seen], self._board, **again)
        self._stop.click(self._stopped, self.job_id, self._stop, **QUIET)

    async def _follow(
        self, refusal: str, begun: list[int], request: gr.Request, *values: Any
    ) -> AsyncIterator[list[Any]]:
        begun[0] += 1
        own, visitor, shown = begun[0], Visitor.of(request), None
        look = anyio.to_thread.run_sync
        while True:
            job = await look(self._newest, visitor)
            html = await look(self._shown, job, visitor, refusal, list(values))
            if begun[0] != own:
                return
            ended = job is None or job.ended
            if html != shown or ended:
                shown = html
                stop = gr.update(visible=not ended, interactive=True) if ended else (
                    gr.update(visible=True))  # fmt: skip
                yield [html, stop, job and job.id]
            if ended:
                return
            await asyncio.sleep(LOOK_SECONDS)

    def _redrawn(self, job_id: str | None, request: gr.Request, *values: Any) -> Any:
        visitor = Visitor.of(request)
        try:
            job = self.studio.jobs.get(visitor.owner.id, str(job_id))
        except UserError:  # there is none yet
            return gr.skip()
        if job.state != DONE:
            return gr.skip()
        return views.board(visitor, beside=self._draw(job, visitor, list(values)))

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
        if job is None:
            return views.board(visitor, failure=refusal) if refusal else ""
        failure, drawn = refusal, ""
        if job.error is not None:
            failure += views.error(job.error, visitor)
        if job.state == DONE:
            drawn = self._draw(job, visitor, values)
        progress = progressing(self.studio, job)
        return views.board(visitor, progress=progress, beside=drawn, failure=failure)


class ShortenWatch:
    """Draws a board of one shortened model and connects it with its job.

    Attributes:
        id: state with the id of what is on the board, or None.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.id = gr.State(None)
        self._begun = gr.State([0])
        self._earlier = gr.Dropdown(
            [], label=label("Shortened models"), visible=False, elem_id="shorten-earlier"
        )
        self._board = gr.HTML(elem_id="shorten-board", js_on_load=shorten_views.BOTH_CLICKED)
        with gr.Row(elem_classes="actions"):
            self._stop = self._button("Stop", "shorten-stop")
            self._resume = self._button("Resume", "shorten-resume")
            self._deletion = Deletion("Delete this model", "shorten-delete")
        self._outputs = [
            self.id,
            self._earlier,
            self._board,
            self._stop,
            self._resume,
            *self._deletion.outputs,
        ]

    @staticmethod
    def _button(text: str, elem_id: str) -> gr.Button:
        return gr.Button(label(text), size="sm", visible=False, elem_id=elem_id)

    def connect(
        self,
        opening: Opening,
        button: gr.Button,
        request_of: Callable[[list[Any], Visitor], Mapping[str, Any]],
        inputs: list[gr.components.Component],
    ) -> list[gr.events.Dependency]:
        """Let ``button`` start a shortening; returns the ends of what changes which models are."""

        def submit(request: gr.Request, *values: Any) -> str:
            visitor = Visitor.of(request)
            fields = lambda: dict(request_of(list(values), visitor))  # noqa: E731
            return _tried(lambda: self.studio.submit(visitor.owner, SHORTEN, fields()), visitor)

        def resume(id: str | None, request: gr.Request) -> str:
            visitor = Visitor.of(request)
            return _tried(lambda: self.studio.prunings.resume(visitor.owner, str(id)), visitor)

        def delete(id: str | None, request: gr.Request) -> str:
            visitor = Visitor.of(request)
            owner = visitor.owner.id
            return _tried(lambda: self.studio.prunings.delete(owner, str(id)), visitor)

        refusal, newest = gr.State(""), gr.State(_NEWEST)
        click = button.click(submit, inputs, refusal, preprocess=False, **QUIET)
        resumed = self._resume.click(resume, self.id, refusal, **QUIET)
        deleted = self._deletion.really.click(delete, self.id, refusal, **QUIET)
        watches = [
            begin(self._follow, [*what, self._begun], self._outputs, preprocess=False, **_WATCH)
            for begin, what in (
                (click.then, [refusal, newest]),
                (resumed.then, [refusal, self.id]),
                (deleted.then, [refusal, newest]),
                (opening.load, [gr.State(""), newest]),
                (self._earlier.input, [gr.State(""), self._earlier]),
            )
        ]
        self._stop.click(self._stopped, self.id, self._stop, **QUIET)
        self._deletion.ask(self.id, self._question)
        return watches[:3]

    def send_to(self, tabs: gr.Tabs, target: str) -> None:
        """Let “Chat with both” show the tab of conversations."""
        self._board.both(lambda: gr.update(selected=target), None, tabs, **QUIET)

    # --- events -----------------------------------------------------------------------------

    async def _follow(
        self, refusal: str, id: str | None, begun: list[int], request: gr.Request
    ) -> AsyncIterator[list[Any]]:
        """Show a shortening until it has ended, or the page watches anew."""
        begun[0] += 1
        own, visitor, shown = begun[0], Visitor.of(request), None
        look = anyio.to_thread.run_sync
        while True:
            known = await look(self._find, visitor, id)
            if begun[0] != own:
                return
            if known is None:
                empty = views.empty_board(
                    "Nothing shortened yet",
                    "Score the blocks to see which ones matter, choose how many may go, then press "
                    "Shorten. The result is measured beside the original.",
                    visitor,
                )
                html = views.board(visitor, failure=refusal) if refusal else empty
                hidden = gr.update(visible=False)
                yield [None, hidden, html, hidden, hidden, hidden, UNASKED]
                return
            id, ended = known.id, known.ended
            html = await look(self._shown, visitor, known, refusal)
            if begun[0] != own:
                return
            if html != shown or ended:
                first, shown = shown is None, html
                earlier = self._choices(visitor, known) if first or ended else gr.skip()
                yield [known.id, earlier, html, *self._buttons(known, first), UNASKED]
            if ended:
                return
            await asyncio.sleep(LOOK_SECONDS)

    def _stopped(self, id: str | None, request: gr.Request) -> Any:
        owner = Visitor.of(request).owner.id
        known = self.studio.prunings.get(owner, str(id))
        if known.job is not None:
            self.studio.jobs.cancel(owner, known.job.id)
        return gr.update(interactive=False)

    def _question(self, id: str | None, visitor: Visitor) -> str | None:
        try:
            known = self.studio.prunings.get(visitor.owner.id, str(id))
        except UserError:  # deleted in another window
            return None
        words = Message("Delete {name} and all that its making has kept, for good?",
                        name=known.name)  # fmt: skip
        return views.summary([words], visitor)

    # --- what is shown ----------------------------------------------------------------------

    def _find(self, visitor: Visitor, id: str | None) -> Shortening | None:
        known = self.studio.prunings.list(visitor.owner.id)
        named = [each for each in known if each.id == id]
        unfinished = [each for each in known if not each.ended]
        return next(iter([*named, *unfinished[::-1], *known]), None)

    def _shown(self, visitor: Visitor, known: Shortening, refusal: str) -> str:
        job, progress, failure = known.job, None, refusal
        if job is not None and not job.ended:
            progress = progressing(self.studio, job)
        if job is not None and job.error is not None:
            failure += views.error(job.error, visitor)
        drawn, words = "", []
        if (facts := known.facts) is not None and known.ended:
            both = (known.made.made_from, known.made.model) if known.made is not None else None
            drawn = shorten_views.table(facts, visitor)
            drawn += shorten_views.chat_with(both, visitor) if both else ""
        if job is not None and job.state == CANCELLED:
            words = [Message("Stopped. What was done is kept; it can be resumed.")]
        elif job is not None and job.state == DONE:
            seconds = views.duration((job.result or {}).get("seconds", 0))
            words = [Message("{name} is ready, after {time}. It is in the list of models.",
                             name=known.name, time=seconds)]  # fmt: skip
        summary = views.summary(words, visitor)
        return views.board(
            visitor, progress=progress, beside=drawn, summary=summary, failure=failure
        )

    def _choices(self, visitor: Visitor, shown: Shortening) -> Any:
        known = self.studio.prunings.list(visitor.owner.id)
        choices = [(f"{each.name} · {visitor.say(_STATES[_state(each)])}", each.id)
                   for each in known]  # fmt: skip
        return gr.update(choices=choices, value=shown.id, visible=len(known) > 1)

    @staticmethod
    def _buttons(known: Shortening, first: bool) -> list[Any]:
        """Stop, resume and delete."""
        stop = gr.update(visible=not known.ended)
        if first or known.ended:
            stop = gr.update(visible=not known.ended, interactive=True)
        unfinished = known.job is not None and known.job.state in (CANCELLED, FAILED)
        return [stop, gr.update(visible=unfinished), gr.update(visible=known.ended)]


def progressing(studio: Studio, job: Job) -> views.Progressing | None:
    """How far a job is; None when it has ended."""
    if job.ended:
        return None
    jobs = studio.jobs
    return views.Progressing(
        state=job.state,
        step=job.step,
        total=job.total,
        note=job.note,
        position=jobs.position(job.id),
        wait=jobs.wait(job.id) if job.state == QUEUED else None,
        seconds_left=jobs.seconds_left(job.id) or None,
    )


def _tried(act: Callable[[], object], visitor: Visitor) -> str:
    """Why something was not done, as HTML; empty when it was."""
    try:
        act()
    except UserError as error:
        return views.error(error.message, visitor)
    return ""


def _state(known: Shortening) -> str:
    return known.job.state if known.job is not None else DONE


_STATES = {
    "queued": "waiting",
    "running": "at work",
    "done": "ready",
    "failed": "failed",
    "cancelled": "stopped",
}
