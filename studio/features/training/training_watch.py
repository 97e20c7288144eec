"""Watching a training: loss curve, samples and numbers on a board; stop, resume, duplicate, delete.

The page only watches. A training goes on when the page is closed, and a page that is opened later
finds it by its owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import gradio as gr

from pipelines.core.errors import UserError
from pipelines.core.messages import Message
from studio.core.jobs.record import CANCELLED, FAILED
from studio.features.training import train_views
from studio.features.training.subjects import KIND
from studio.features.training.train_views import Learning
from studio.page import views
from studio.page.components.deletion import UNASKED, Deletion
from studio.page.components.latest_watch import Turns
from studio.page.components.work_watch import WorkWatch
from studio.page.widgets import Visitor

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio
    from studio.features.training.trainings import Training
    from studio.page.opening import Opening

LOOK_SECONDS = 1.0  # between two looks at a training


class TrainingWatch(WorkWatch["Training"]):
    """Draws a board of one training and connects it with its job.

    Attributes:
        id: state with the id of the training on the board, or None.
        duplicate: the button that takes its settings over into the form.
        ended: called for with the updates of its outputs when a training has ended.
    """

    def __init__(self, studio: Studio) -> None:
        super().__init__(
            studio,
            studio.trainings,
            kind=KIND,
            name="train",
            earlier="Trainings",
            states=_STATES,
        )
        self._board = gr.HTML(elem_id="train-board", js_on_load=views.ANNOUNCED)
        with gr.Row(elem_classes="actions"):
            self.stop = self._button("Stop and keep what is learnt", "stop")
            self.resume = self._button("Resume", "resume")
            self.duplicate = self._button("Duplicate with changes", "duplicate")
            self._deletion = Deletion("Delete training", "training-delete")
        self._outputs = [
            self.id,
            self._earlier,
            self._board,
            self.stop,
            self.resume,
            self.duplicate,
            *self._deletion.outputs,
        ]

    def connect(
        self,
        opening: Opening,
        button: gr.Button,
        request_of: Callable[[list[Any]], Mapping[str, Any]],
        inputs: list[gr.components.Component],
        after: Callable[[Training | None, Visitor], list[Any]],
        after_outputs: list[Any],
    ) -> None:
        """Let ``button`` start a training and watch it.

        Args:
            request_of: the fields of a request from the values of ``inputs``.
            after: updates of ``after_outputs`` for the training that the board shows.
        """
        self._after, self._after_count = after, len(after_outputs)
        self._listen(
            opening,
            button,
            lambda values, visitor: request_of(values),
            inputs,
            stop=self.stop,
            resume=self.resume,
            deletion=self._deletion,
            outputs=[*self._outputs, *after_outputs],
        )

    # --- events -----------------------------------------------------------------------------

    async def _follow(
        self, refusal: str, id: str | None, turns: Turns, request: gr.Request
    ) -> AsyncIterator[list[Any]]:
        own, visitor = turns.begin(), Visitor.of(request)
        look = anyio.to_thread.run_sync
        training = await look(self._find, visitor, id)
        if training is None:
            empty = views.empty_board(
                "Nothing taught yet",
                "Add photos of one thing, say what it is, then press Train. The loss and sample "
                "pictures appear here while it learns.",
                visitor,
            )
            shown = views.board(visitor, failure=refusal) if refusal else empty
            hidden = [gr.update(visible=False), shown, *_HIDDEN]
            async with turns.of(own) as may_show:
                if may_show:
                    yield [None, *hidden, *self._after(None, visitor)]
            return
        found, heard, shown = Learning(), 0, None
        while True:
            ended = training.job.ended
            lines, reached = await look(self._hear, visitor, training, heard)
            if reached < heard:  # a resume has shortened it
                found, (lines, reached) = Learning(), await look(self._hear, visitor, training, 0)
            heard = reached
            found.hear(lines)
            html = await look(self._shown, visitor, training, found, refusal)
            async with turns.of(own) as may_show:
                if not may_show:
                    return
                if html != shown or ended:
                    first, shown = shown is None, html
                    after, earlier = [gr.skip()] * self._after_count, gr.skip()
                    if first or ended:
                        after = self._after(training, visitor)
                        earlier = self._choices(visitor, training)
                    buttons = self._buttons(training)
                    yield [training.id, earlier, html, *buttons, UNASKED, *after]
            if ended:
                # A busy browser may take an older watch's last word after this one's.
                await asyncio.sleep(2 * LOOK_SECONDS)
                async with turns.of(own) as may_show:
                    if may_show:
                        unchanged = [gr.skip()] * (1 + self._after_count)
                        yield [training.id, gr.skip(), html, *buttons, *unchanged]
                return
            await asyncio.sleep(LOOK_SECONDS)
            try:
                training = await look(self.studio.trainings.get, visitor.owner.id, training.id)
            except UserError as error:  # deleted meanwhile
                gone = views.board(visitor, failure=views.error(error.message, visitor))
                async with turns.of(own) as may_show:
                    if may_show:
                        yield [None, gr.skip(), gone, *_HIDDEN, *self._after(None, visitor)]
                return

    def _resume(self, owner: Owner, id: str) -> object:
        return self.studio.trainings.resume(owner.id, id)

    def _question(self, id: str | None, visitor: Visitor) -> str | None:
        training = self._named(visitor, id)
        if training is None:
            return None
        words = Message(
            "Delete the training {name} for good? Its curve, sample pictures and checkpoint go "
            "with it. What it has put on the shelf stays.",
            name=training.name,
        )
        return views.summary([words], visitor)

    # --- what is shown ----------------------------------------------------------------------

    def _hear(self, visitor: Visitor, training: Training, start: int) -> tuple[list, int]:
        return self.studio.trainings.progress(visitor.owner.id, training.id, start)

    def _shown(self, visitor: Visitor, training: Training, found: Learning, refusal: str) -> str:
        job = training.job
        progress = None if job.ended else views.Progressing.of(self.studio.jobs, job)
        failure = refusal + (views.error(job.error, visitor) if job.error is not None else "")
        total = training.request.steps
        return views.board(
            visitor,
            progress=progress,
            beside=train_views.learning(found, training.id, total, visitor),
            summary=views.summary(self._outcome(training, found), visitor),
            failure=failure,
        )

    def _outcome(self, training: Training, found: Learning) -> list[Message]:
        job, name = training.job, training.name
        if job.state == CANCELLED:
            at = found.last.get("step", 0)
            if not at:
                return [Message("Stopped before the first step.")]
            return [Message("Stopped at step {step}. What {name} has learnt is kept.",
                            step=at, name=name)]  # fmt: skip
        if job.state == FAILED or not job.ended:
            return []
        result = job.result or {}
        ready = Message("{name} is ready, after {time}. Try it below.",
                        name=result.get("name", name),
                        time=views.duration(result.get("seconds", 0)))  # fmt: skip
        return [ready, *(Message.from_json(note) for note in result.get("notes", ()))]

    @staticmethod
    def _buttons(training: Training) -> list[Any]:
        running = not training.job.ended
        unfinished = training.job.state in (CANCELLED, FAILED)
        return [
            gr.update(visible=running, interactive=True),
            gr.update(visible=unfinished),
            gr.update(visible=not running),
            gr.update(visible=not running),
        ]


_HIDDEN = [gr.update(visible=False)] * 4 + [UNASKED]
_STATES = {
    "queued": "waiting",
    "running": "training",
    "done": "ready",
    "failed": "failed",
    "cancelled": "stopped",
}
