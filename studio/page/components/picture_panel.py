"""A panel of pictures: a job's progress and preview, what it paints, the chosen one's settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import BadRequest, UserError
from pipelines.core.messages import Message
from pipelines.diffusion.seeds import RANDOM
from studio.core.exchange import PICTURE, Exchange, Taker, Target
from studio.core.gallery.metadata import parse_parameters
from studio.core.gallery.reuse import fields_of
from studio.core.jobs.record import CANCELLED, DONE
from studio.page import views
from studio.page.components import sheet_views
from studio.page.components.details import Details
from studio.page.components.job_view import NEWEST, JobView, OneAfterAnother
from studio.page.widgets import QUIET, Visitor

if TYPE_CHECKING:
    from studio.core.gallery.gallery import SavedPicture
    from studio.core.jobs.queue import Job
    from studio.core.services import Studio
    from studio.page.tab_events import TabEvents

VARY = Target(PICTURE, "vary", "Variations of this")
VARIATIONS, STRENGTH = 4, 0.2
"""How many pictures that button asks for, and how far they are from the first."""


class PicturePanel(OneAfterAnother):
    """Shows the progress, preview and pictures of one kind's jobs in a panel, and connects it.

    Args:
        studio: whose jobs and gallery.
        kind: of the jobs.
        panel: shows progress and pictures; made with ``js_on_load=PicturePanel.CLICKED``.
        cancel: the button, seen while there is something to cancel.
        details: shows the settings of the chosen picture.
        empty: title and words of a panel without any job.
        beside: HTML that shows a picture large, beside what it was made of; empty: as it is.
    """

    CLICKED = views.ANNOUNCED + views.PICTURE_CLICKED + views.AGAIN_CLICKED

    def __init__(
        self,
        studio: Studio,
        *,
        kind: str,
        panel: gr.HTML,
        cancel: gr.Button,
        details: Details,
        empty: tuple[str, str],
        beside: Callable[[Visitor, SavedPicture], str] = lambda visitor, row: "",
    ) -> None:
        self.studio, self.kind = studio, kind
        self.details, self.empty, self.beside = details, empty, beside
        self.outputs = [panel, cancel, *details.outputs]
        self._panel = panel
        self.view = JobView(studio, kind, self)
        self.view.stop(cancel)
        panel.pick(self._choose, self.view.id, [panel, *details.outputs], **QUIET)

    def connect(
        self,
        events: TabEvents,
        button: gr.Button,
        request_of: Callable[[list[Any]], dict[str, Any]],
        inputs: list[gr.components.Component],
        js: str | None = None,
    ) -> None:
        """Let ``button`` submit ``request_of(values of inputs)`` and watch the job.

        When the tab is opened, the owner's unfinished job is watched, or else the last one shown.
        ``js`` may put the newest values in place of those that the browser has.
        """
        self.view.submit(button.click, lambda values, visitor: request_of(values), inputs, js)
        self.view.retry(self._panel.again)
        self.view.open(events)

    def last_request(self, visitor: Visitor) -> dict[str, Any] | None:
        """The fields of the visitor's newest request of this kind."""
        job = next(iter(self._jobs(visitor)), None)
        return job.request if job is not None else None

    def last_seed(self, job_id: str | None, request: gr.Request) -> Any:
        """The seed of the first picture in the panel; nothing changes when there is none."""
        rows = self.studio.gallery.of_job(Visitor.of(request).owner.id, job_id) if job_id else []
        seeds = [fields_of(parse_parameters(row.parameters)).get("seed") for row in rows]
        return next((seed for seed in seeds if seed is not None), gr.skip())

    def take_variations(self, exchange: Exchange, tab: str, of_any: bool = False) -> None:
        """Paints variations of a picture when it is sent here, and watches them.

        Args:
            tab: id of the panel's.
            of_any: also of pictures of kinds that no other panel takes.
        """

        def fields_of(visitor: Visitor, row: SavedPicture) -> dict[str, Any] | None:
            return variations_of(row.request) if of_any or row.kind == self.kind else None

        self.take_job(exchange, tab, VARY, fields_of)

    def take_job(
        self,
        exchange: Exchange,
        tab: str,
        target: Target,
        fields_of: Callable[[Visitor, SavedPicture], dict[str, Any] | None],
    ) -> None:
        """Does a job with a picture that is sent here, and watches it.

        Args:
            tab: id of the panel's.
            fields_of: the request's fields; None where the picture is not taken.
        """
        begun = gr.State(0)
        self.view.watch(begun.change, gr.State(NEWEST))

        def take(picture: str, visitor: Visitor, values: list[Any]) -> list[Any] | None:
            row = self.studio.gallery.get(visitor.owner.id, picture)
            fields = fields_of(visitor, row)
            if fields is None:
                return None
            self.studio.submissions.submit(visitor.owner, self.kind, fields)
            return [time.time_ns()]

        exchange.take(PICTURE, Taker(tab, [begun], take), target.name)

    # --- events -----------------------------------------------------------------------------

    def _choose(self, job_id: str | None, event: gr.EventData, request: gr.Request) -> list[Any]:
        visitor = Visitor.of(request)
        try:
            row = self.studio.gallery.get(visitor.owner.id, str(event._data.get("id")))
            job = self.studio.jobs.get(visitor.owner.id, str(job_id))
        except UserError as error:  # deleted in the gallery meanwhile
            return [gr.skip(), views.error(error.message, visitor), gr.update(visible=False), None]
        panel = self._panel_of(visitor, job, row.id) if job.ended else gr.skip()
        return [panel, *self.details.show(parse_parameters(row.parameters), visitor, row.id)]

    # --- what is shown ----------------------------------------------------------------------

    def show_running(self, visitor: Visitor, job: Job, before: str) -> list[Any]:
        preview = self.studio.jobs.preview(visitor.owner.id, job.id)
        progress = replace(
            views.Progressing.of(self.studio.jobs, job),
            preview=views.preview_uri(preview) if preview is not None else None,
        )
        pictures = views.picture_names(self._pictures(visitor, job), visitor)
        panel = views.result_panel(visitor, progress=progress, pictures=pictures, failure=before)
        return [panel, gr.update(visible=True), *(gr.skip() for _ in self.details.outputs)]

    def show_ended(
        self, visitor: Visitor, job: Job | None, before: str, is_news: bool
    ) -> list[Any]:
        idle = gr.update(visible=False, interactive=True)
        if job is None:
            empty = views.empty_panel(*self.empty, visitor)
            panel = views.result_panel(visitor, failure=before) if before else empty
            return [panel, idle, *self.details.hide()]
        first = next(iter(self._pictures(visitor, job)), None)
        if first is None:
            return [self._panel_of(visitor, job, None, before), idle, *self.details.hide()]
        details = self.details.show(parse_parameters(first.parameters), visitor, first.id)
        return [self._panel_of(visitor, job, first.id, before), idle, *details]

    def show_ended_before(self, visitor: Visitor, job: Job) -> str:
        return _failure(job, visitor)

    def _panel_of(self, visitor: Visitor, job: Job, chosen: str | None, failures: str = "") -> str:
        """The panel of a finished job."""
        rows = self.studio.gallery.of_job(visitor.owner.id, job.id)
        shown_large = [self.beside(visitor, row) for row in rows if row.id == chosen]
        painted = views.picture_names([row for row in rows if row.position >= 0], visitor)
        again, cancelled = views.again(visitor), job.state == CANCELLED
        return views.result_panel(
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


def variations_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request for pictures much like the one that ``request`` has made.

    Raises:
        BadRequest: it has no seed.
    """
    if "seed" not in request:
        raise BadRequest("This picture was not painted from a single seed; choose one that was.")
    varied = {**(request.get("variation") or {}), "seed": RANDOM, "strength": STRENGTH}
    return {**request, "variation": varied, "batch_count": VARIATIONS, "batch_size": 1}


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
