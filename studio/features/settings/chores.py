"""How a chore is shown that a button begins: a job that needs no device, with how it has ended."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.page import views
from studio.page.components.job_view import NEWEST, Frame, Look, Renderer

if TYPE_CHECKING:
    from pipelines.core.messages import Message
    from studio.core.jobs.record import Job
    from studio.core.services import Studio
    from studio.page.widgets import Visitor


class ChoreView(Renderer):
    """How far the visitor's newest chore is, then what came of it.

    Args:
        studio: whose jobs.
        outputs: the panel, the buttons that begin and cancel, and where :attr:`describe` stands.

    Attributes:
        describe: what the chore is about, as HTML; asked anew when one has ended.
    """

    look_seconds = 0.3
    describe: Callable[[Visitor], str]

    def __init__(self, studio: Studio, outputs: list[Any]) -> None:
        self.studio, self.outputs = studio, outputs

    def begin(self, visitor: Visitor, refusal: str, which: str | None, values: list[Any]) -> Look:
        is_news = which == NEWEST

        def look() -> Frame:
            nonlocal is_news
            job = self.find(visitor, which)
            if refusal or job is None or (job.ended and not is_news):
                return Frame(None, [refusal or gr.skip(), *(gr.skip() for _ in range(3))], True)
            is_news = True
            if not job.ended:
                progress = views.Progressing.of(self.studio.jobs, job)
                busy = [gr.update(interactive=False), gr.update(visible=True), gr.skip()]
                return Frame(job.id, [views.progress_bar(progress, visitor), *busy], False)
            free = gr.update(interactive=True), gr.update(visible=False, interactive=True)
            if job.error is not None:
                panel = views.error(job.error, visitor)
            else:
                panel = views.notice(self.outcome(job), visitor)
            return Frame(job.id, [panel, *free, self.describe(visitor)], True)

        return look

    @abstractmethod
    def find(self, visitor: Visitor, which: str | None) -> Job | None:
        """The visitor's newest, be it at work or ended."""

    @abstractmethod
    def outcome(self, job: Job) -> Message:
        """What became of one that did not fail."""
