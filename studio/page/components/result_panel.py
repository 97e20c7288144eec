"""A panel of an owner's newest job of a kind whose result is drawn, not saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import UserError
from studio.core.jobs.record import CANCELLED, DONE, Job
from studio.page import views
from studio.page.components.job_view import Frame, JobView, Look, Renderer, unfinished_or_newest
from studio.page.widgets import NEWEST, Visitor, follow_newest, label

if TYPE_CHECKING:
    from studio.core.services import Studio
    from studio.page.tab_events import TabEvents

Draw = Callable[[Job, Visitor, list[Any]], str]


class ResultPanel(Renderer):
    """Draws a panel that shows the owner's newest job of one kind, and connects it.

    Args:
        studio: whose jobs.
        kind: of the jobs.
        name: the beginning of the elements' ids.
        script: JavaScript for what is drawn.
        empty: title and words of a panel without any job; none: it stays blank.

    Attributes:
        panel: what is drawn on; its script's triggers are its events.
        view: connects it with the jobs; has the id of the one in the panel.
        followed: the event after which the panel shows a job that has ended.
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
        self.panel = gr.HTML(elem_id=f"{name}-panel", js_on_load=views.ANNOUNCED + (script or ""))
        self._stop = gr.Button(
            label("Stop"), size="sm", visible=False, elem_id=f"{name}-stop", elem_classes="quiet"
        )
        self.outputs = [self.panel, self._stop]

    def connect(
        self,
        events: TabEvents,
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
        self.view = view = JobView(self.studio, self.kind, self, seen)
        started = [
            view.submit(moment, request_of, inputs)
            for moment in (button.click, *(event.then for event in also))
        ]
        self.followed = (*started, view.open(events))
        again = {"fn": self._redraw, "inputs": [view.id, view.refusal, *seen],
                 "outputs": self.panel, "preprocess": False}  # fmt: skip
        moved = [getattr(each, "input", each.change) for each in seen]
        if moved:
            follow_newest(moved, **again)
        for event in self.followed:  # what was moved while it ran
            event.then(**again, **NEWEST)
        view.stop(self._stop)

    def begin(self, visitor: Visitor, refusal: str, which: str | None, values: list[Any]) -> Look:
        def look() -> Frame:
            job = self.find(visitor, which)
            ended = job is None or job.ended
            stop = gr.update(visible=False, interactive=True) if ended else gr.update(visible=True)
            return Frame(
                job and job.id, [self._panel_of(job, visitor, refusal, values), stop], ended
            )

        return look

    def _redraw(self, job_id: str | None, refusal: str, request: gr.Request, *values: Any) -> Any:
        visitor = Visitor.of(request)
        try:
            job = self.studio.jobs.get(visitor.owner.id, str(job_id))
        except UserError:  # there is none yet
            return gr.skip()
        if job.state != DONE:
            return gr.skip()
        drawn = self._draw(job, visitor, list(values))
        return views.result_panel(visitor, beside=drawn, failure=refusal)

    def find(self, visitor: Visitor, which: str | None) -> Job | None:
        """The one that runs, the one that is next, or else the last one that was not stopped."""
        jobs = self.studio.jobs.list(visitor.owner.id, kind=self.kind)
        return unfinished_or_newest([job for job in jobs if job.state != CANCELLED])

    def _panel_of(self, job: Job | None, visitor: Visitor, refusal: str, values: list[Any]) -> str:
        if job is None and self._empty is not None and not refusal:
            return views.empty_panel(*self._empty, visitor)
        if job is None:
            return views.result_panel(visitor, failure=refusal) if refusal else ""
        failure, drawn = refusal, ""
        if job.error is not None:
            failure += views.error(job.error, visitor)
        if job.state == DONE:
            drawn = self._draw(job, visitor, values)
        progress = None if job.ended else views.Progressing.of(self.studio.jobs, job)
        return views.result_panel(visitor, progress=progress, beside=drawn, failure=failure)
