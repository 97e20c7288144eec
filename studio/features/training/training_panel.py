"""The panel of a training: loss curve, samples and numbers; stop, resume, duplicate, delete."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.messages import Message
from studio.core.jobs.record import CANCELLED, FAILED
from studio.features.training import train_views
from studio.features.training.subjects import KIND
from studio.features.training.train_views import Learning
from studio.page import views
from studio.page.components.work_panel import WorkPanel
from studio.page.widgets import Visitor

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.features.training.training_jobs import Training
    from studio.page.tab_events import TabEvents


class TrainingPanel(WorkPanel["Training"]):
    """Draws a panel of one training and connects it with its job.

    Attributes:
        duplicate: the button that takes its settings over into the form.
    """

    kind, name = KIND, "train"
    earlier, stop = "Trainings", "Stop and keep what is learnt"
    delete = ("Delete training", "training-delete")
    states = MappingProxyType({**WorkPanel.states, "running": "training"})
    look_seconds = 1.0
    empty = (
        "Nothing taught yet",
        "Add photos of one thing, say what it is, then press Train. The loss and sample pictures "
        "appear here while it learns.",
    )

    def _draw_further(self) -> list[gr.Button]:
        self.duplicate = self._button("Duplicate with changes", "duplicate")
        return [self.duplicate]

    def begin_work(
        self,
        events: TabEvents,
        button: gr.Button,
        request_of: Callable[[list[Any]], Mapping[str, Any]],
        inputs: list[gr.components.Component],
        after: Callable[[Training | None, Visitor], list[Any]],
        after_outputs: list[Any],
    ) -> None:
        """Let ``button`` start a training and watch it.

        Args:
            request_of: the fields of a request from the values of ``inputs``.
            after: updates of ``after_outputs`` for the training that the panel shows.
        """
        self.further = after
        self.outputs += after_outputs
        self.connect(events, button, lambda values, visitor: request_of(values), inputs)

    def resume(self, owner: Owner, id: str) -> object:
        return self.studio.trainings.resume(owner.id, id)

    def question(self, work: Training, visitor: Visitor) -> str:
        words = Message(
            "Delete the training {name} for good? Its curve, sample pictures and checkpoint go "
            "with it. What it has put in the library stays.",
            name=work.name,
        )
        return views.summary([words], visitor)

    def begin_drawing(self, visitor: Visitor) -> Callable[[Training, str], str]:
        found, heard = Learning(), 0

        def draw(training: Training, refusal: str) -> str:
            nonlocal found, heard
            hear = self.studio.trainings.progress
            lines, reached = hear(visitor.owner.id, training.id, heard)
            if reached < heard:  # a resume has shortened it
                found, (lines, reached) = Learning(), hear(visitor.owner.id, training.id, 0)
            heard = reached
            found.hear(lines)
            return self._draw_panel(visitor, training, found, refusal)

        return draw

    def _draw_panel(
        self, visitor: Visitor, training: Training, found: Learning, refusal: str
    ) -> str:
        job = training.job
        progress = None if job.ended else views.Progressing.of(self.studio.jobs, job)
        failure = refusal + (views.error(job.error, visitor) if job.error is not None else "")
        total = training.request.steps
        return views.result_panel(
            visitor,
            progress=progress,
            beside=train_views.learning_view(found, training.id, total, visitor),
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
