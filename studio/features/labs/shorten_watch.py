"""Watching a model being shortened: how far it is, then its figures beside the original's.

The page only watches. A job goes on when the page is closed, and a page that is opened later finds
it by its owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import gradio as gr

from pipelines.core.messages import Message
from studio.core.exchange import Route
from studio.core.jobs.record import CANCELLED, DONE, FAILED
from studio.features.labs import shorten_views
from studio.features.labs.prunings import SHORTEN, Shortening
from studio.page import views
from studio.page.components.deletion import UNASKED, Deletion
from studio.page.components.latest_watch import Turns
from studio.page.components.work_watch import WorkWatch
from studio.page.widgets import QUIET, Visitor

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio
    from studio.page.opening import Opening

LOOK_SECONDS = 0.5  # between two looks at a job


class ShortenWatch(WorkWatch["Shortening"]):
    """Draws a board of one shortened model and connects it with its job.

    Attributes:
        id: state with the id of what is on the board, or None.
    """

    def __init__(self, studio: Studio) -> None:
        super().__init__(
            studio,
            studio.prunings,
            kind=SHORTEN,
            name="shorten",
            earlier="Shortened models",
            states=_STATES,
        )
        self._board = gr.HTML(
            elem_id="shorten-board", js_on_load=views.ANNOUNCED + shorten_views.BOTH_CLICKED
        )
        with gr.Row(elem_classes="actions"):
            self._stop = self._button("Stop", "stop")
            self._resume_it = self._button("Resume", "resume")
            self._deletion = Deletion("Delete this model", "shorten-delete")
        self._outputs = [
            self.id,
            self._earlier,
            self._board,
            self._stop,
            self._resume_it,
            *self._deletion.outputs,
        ]

    def connect(
        self,
        opening: Opening,
        button: gr.Button,
        request_of: Callable[[list[Any], Visitor], Mapping[str, Any]],
        inputs: list[gr.components.Component],
    ) -> list[gr.events.Dependency]:
        """Let ``button`` start a shortening; returns the ends of what changes which models are."""
        return self._listen(
            opening,
            button,
            request_of,
            inputs,
            stop=self._stop,
            resume=self._resume_it,
            deletion=self._deletion,
            outputs=self._outputs,
        )

    def send_to(self, route: Route) -> None:
        """Let “Chat with both” show the tab of conversations; its scripts begin the new one."""
        self._board.both(lambda: route.send((), None)[-1], None, route.tabs, **QUIET)

    # --- events -----------------------------------------------------------------------------

    async def _follow(
        self, refusal: str, id: str | None, turns: Turns, request: gr.Request
    ) -> AsyncIterator[list[Any]]:
        own, visitor, shown = turns.begin(), Visitor.of(request), None
        look = anyio.to_thread.run_sync
        while True:
            known = await look(self._find, visitor, id)
            if known is None:
                empty = views.empty_board(
                    "Nothing shortened yet",
                    "Score the blocks to see which ones matter, choose how many may go, then press "
                    "Shorten. The result is measured beside the original.",
                    visitor,
                )
                html = views.board(visitor, failure=refusal) if refusal else empty
                hidden = gr.update(visible=False)
                async with turns.of(own) as may_show:
                    if may_show:
                        yield [None, hidden, html, hidden, hidden, hidden, UNASKED]
                return
            id, ended = known.id, known.ended
            html = await look(self._shown, visitor, known, refusal)
            async with turns.of(own) as may_show:
                if not may_show:
                    return
                if html != shown or ended:
                    first, shown = shown is None, html
                    earlier = self._choices(visitor, known) if first or ended else gr.skip()
                    yield [known.id, earlier, html, *self._buttons(known, first), UNASKED]
            if ended:
                # A busy browser may take an older watch's last word after this one's.
                await asyncio.sleep(2 * LOOK_SECONDS)
                async with turns.of(own) as may_show:
                    if may_show:
                        yield [known.id, gr.skip(), html, *self._buttons(known, first), gr.skip()]
                return
            await asyncio.sleep(LOOK_SECONDS)

    def _resume(self, owner: Owner, id: str) -> object:
        return self.studio.prunings.resume(owner, id)

    def _question(self, id: str | None, visitor: Visitor) -> str | None:
        known = self._named(visitor, id)
        if known is None:
            return None
        words = Message("Delete {name} and all that its making has kept, for good?",
                        name=known.name)  # fmt: skip
        return views.summary([words], visitor)

    # --- what is shown ----------------------------------------------------------------------

    def _shown(self, visitor: Visitor, known: Shortening, refusal: str) -> str:
        job, progress, failure = known.job, None, refusal
        if job is not None and not job.ended:
            progress = views.Progressing.of(self.studio.jobs, job)
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

    @staticmethod
    def _buttons(known: Shortening, first: bool) -> list[Any]:
        """Stop, resume and delete."""
        stop = gr.update(visible=not known.ended)
        if first or known.ended:
            stop = gr.update(visible=not known.ended, interactive=True)
        unfinished = known.job is not None and known.job.state in (CANCELLED, FAILED)
        return [stop, gr.update(visible=unfinished), gr.update(visible=known.ended)]


_STATES = {
    "queued": "waiting",
    "running": "at work",
    "done": "ready",
    "failed": "failed",
    "cancelled": "stopped",
}
