"""Make it larger: a picture at a larger size, by an upscaler alone or painted on as well."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import BadRequest, UserError
from pipelines.diffusion.from_picture.sizes import size_step
from pipelines.diffusion.hires.requests import Hires
from pipelines.diffusion.picture_sides import SIZE_STEP
from pipelines.diffusion.requests import ChangeRequest
from pipelines.upscaling.catalog import LANCZOS
from pipelines.upscaling.requests import UpscaleRequest
from studio.core.exchange import PICTURE, Exchange, Taker, Target
from studio.core.feature import Tab
from studio.page.components.canvas import (
    bring_from_gallery,
    canvas,
    offer_picture,
    picture_on,
    settled_js,
)
from studio.page.components.details import Details
from studio.page.components.job_view import NEWEST
from studio.page.components.paint_form import first_of
from studio.page.components.paint_form import offered_models as offered_models
from studio.page.components.picture_panel import PicturePanel
from studio.page.components.versus import VERSUS_MOVED, versus
from studio.page.tab_events import FILLED, TabEvents
from studio.page.widgets import DRAFT, Visitor, from_field, label

if TYPE_CHECKING:
    from studio.core.gallery.gallery import SavedPicture
    from studio.core.jobs.queue import Job

UPSCALE, ENLARGE = "upscale", "enlarge"
"""Kinds of jobs: by an upscaler alone, and painted on."""
_STRENGTH = 0.35  # of painting on: what the picture shows stays
_LARGER = Target(PICTURE, "larger", "Make it larger")
# What a second pass of its own has, or would paint another picture.
_NOT_TAKEN = ("hires", "units", "from_picture", "detail_fix", "batch_count", "batch_size", "style")


class LargerTab(Tab):
    """Draws the tab.

    Attributes:
        canvas: its value is the picture's id.
        details: of the result.
    """

    id, label, group = "larger", "Make it larger", "From a picture"
    takes = (_LARGER,)

    def draw(self) -> None:
        """Makes the controls and what shows results."""
        networks = [each.name for each in self.studio.upscalers.list() if each.path is not None]
        with gr.Row(elem_classes="workspace"):
            with gr.Column(scale=4, min_width=320, elem_classes="controls"):
                with gr.Column(elem_classes="first"):
                    self.canvas = canvas("larger-canvas", elem_classes="canvas")
                    self._by = gr.Radio(
                        [(label("An upscaler alone"), UPSCALE), (label("Painting on"), ENLARGE)],
                        value=UPSCALE if networks else ENLARGE,
                        label=label("Make it larger by"),
                        elem_id="larger-by",
                    )
                    with gr.Row():
                        self._start = gr.Button(
                            label("Make it larger"), variant="primary", elem_id="larger"
                        )
                        self._cancel = gr.Button(
                            label("Cancel"), visible=False, elem_id="larger-cancel"
                        )
                with gr.Column(elem_classes="rest"):
                    self._scale = _field(UpscaleRequest, "scale", step=0.05)
                    self._upscaler = _field(
                        UpscaleRequest, "upscaler", kind=gr.Dropdown, choices=self._names(),
                        value=(networks or [LANCZOS])[0],
                    )  # fmt: skip
                    with gr.Accordion(
                        label("Painting on"), open=not networks, elem_id="larger-painting"
                    ):
                        self._draw_painting()
            with gr.Column(scale=6, min_width=320, elem_classes="results"):
                self._panel = gr.HTML(
                    elem_id="larger-panel", js_on_load=PicturePanel.CLICKED + VERSUS_MOVED
                )
                self.details = Details(self.studio, "larger")
        # Id of the gallery's picture on the canvas, whose settings are taken over.
        self._source = gr.State("")
        self._settings = [self._by, self._scale, self._upscaler, *self._painting.values()]

    def _draw_painting(self) -> None:
        entries = [each for each in offered_models(self.studio) if not each.edits_only]
        self._painting = {
            "strength": _field(Hires, "strength", value=_STRENGTH, step=0.01),
            "steps": _field(Hires, "steps", kind=gr.Number),
            "prompt": _field(ChangeRequest, "prompt", lines=2, max_lines=8, elem_classes=DRAFT,
                             placeholder=label("What the picture shows.")),
            "model": _field(ChangeRequest, "model", kind=gr.Dropdown,
                            choices=[(each.title, each.name) for each in entries],
                            value=first_of(entries).name),
        }  # fmt: skip

    def listen(self, events: TabEvents, exchange: Exchange) -> None:
        """Connect the controls with the jobs and with other tabs."""
        watch = LargerPanel(
            self.studio,
            kind=UPSCALE,
            panel=self._panel,
            cancel=self._cancel,
            details=self.details,
            empty=(
                "Nothing made larger yet",
                "Bring in a picture, or press “Make it larger” below one of your own.",
            ),
            beside=self._beside,
        )
        inputs = [self.canvas, self._source, *self._settings]
        js = settled_js({0: self.canvas.elem_id})
        watch.view.act(self._start.click, self._submit, inputs, js=js)
        watch.view.retry(self._panel.again)
        watch.view.open(events)
        begun = gr.State(0)
        watch.view.watch(begun.change, gr.State(NEWEST))
        events.fill(lambda visitor: self._open(watch, visitor), [self.canvas, self._upscaler])
        self.details.listen(exchange)
        shown = [self._painting["prompt"], self._painting["model"]]
        outputs = [self.canvas, self._source, *shown, begun, events.stage]
        exchange.take(PICTURE, Taker(self.id, outputs, self._take, self._settings), _LARGER.name)

    # --- events -----------------------------------------------------------------------------

    def _submit(self, visitor: Visitor, value: Any, source: str, *settings: Any) -> object:
        picture = picture_on(value)
        if not picture:
            raise BadRequest(
                "There is no picture yet. Bring one in, or press “Make it larger” below one of "
                "your own."
            )
        return self._begin(visitor, picture, source, settings)

    def _begin(
        self, visitor: Visitor, picture: str, source: str, settings: Sequence[Any]
    ) -> object:
        """Queues the job; ``settings``: the values of the controls."""
        row = self._row_of(visitor, source, picture)
        by, scale, upscaler, *painting = settings
        if by == UPSCALE:
            about = row.parameters if row is not None else ""
            fields = {"picture": picture, "scale": scale, "upscaler": upscaler, "about": about}
            return self.studio.submissions.submit(visitor.owner, UPSCALE, fields)
        own = dict(zip(self._painting, painting, strict=True))
        brought = self.studio.inputs.get(visitor.owner.id, picture)
        fields = enlargement_fields(
            row.request if row is not None else {},
            picture,
            (brought.width, brought.height),
            {"scale": scale, "upscaler": upscaler, "strength": own["strength"],
             "steps": own["steps"] or None},
            prompt=own["prompt"],
            model=own["model"],
            step=size_step(self.studio.catalog.get(own["model"])),
        )  # fmt: skip
        return self.studio.submissions.submit(visitor.owner, ENLARGE, fields)

    def _take(self, id: str, visitor: Visitor, values: list[Any]) -> list[Any]:
        """Begins with a picture of the gallery at once, by what the controls say."""
        row = self.studio.gallery.get(visitor.owner.id, id)
        [brought] = bring_from_gallery(self.studio, visitor, id)
        picture = brought.id
        by, scale, upscaler, strength, steps, prompt, model = values
        prompt = row.request.get("prompt") or prompt
        if row.request.get("model") in self._models():
            model = row.request["model"]
        self._begin(visitor, picture, id, [by, scale, upscaler, strength, steps, prompt, model])
        return [picture, id, prompt, model, time.time_ns(), FILLED]

    def _open(self, watch: LargerPanel, visitor: Visitor) -> list[Any]:
        last = watch.last_request(visitor) or {}
        picture = _picture_in(last)
        try:
            if picture:
                self.studio.inputs.get(visitor.owner.id, picture)
        except UserError:
            picture = ""
        return [offer_picture(picture), gr.update(choices=self._names())]

    # --- what is there ----------------------------------------------------------------------

    def _row_of(self, visitor: Visitor, source: str, picture: str) -> SavedPicture | None:
        """The gallery's picture that lies on the canvas; None where another one does."""
        if not source:
            return None
        try:
            row = self.studio.gallery.get(visitor.owner.id, source)
            return row if self.studio.inputs.from_gallery(visitor.owner.id, source).id == picture \
                else None  # fmt: skip
        except UserError:  # deleted meanwhile
            return None

    def _names(self) -> list[str]:
        return [entry.name for entry in self.studio.upscalers.list()]

    def _models(self) -> set[str]:
        return {each.name for each in offered_models(self.studio) if not each.edits_only}

    def _beside(self, visitor: Visitor, row: SavedPicture) -> str:
        """The picture with a slider over the small one, if that is still here."""
        picture = _picture_in(row.request)
        try:
            self.studio.inputs.get(visitor.owner.id, picture)
        except UserError:
            return ""
        source, slider = f"api/v1/inputs/{picture}.png", "Between before and after"
        return versus(row.id, [source], visitor, "The picture before", slider)


class LargerPanel(PicturePanel):
    """The pictures of both kinds of jobs."""

    def _jobs(self, visitor: Visitor) -> list[Job]:
        jobs = self.studio.jobs
        found = [job for kind in (UPSCALE, ENLARGE) for job in jobs.list(visitor.owner.id, kind)]
        return sorted(found, key=lambda job: job.created, reverse=True)


def enlargement_fields(
    request: Mapping[str, Any],
    picture: str,
    size: tuple[int, int],
    hires: Mapping[str, Any],
    prompt: str,
    model: str,
    step: int = SIZE_STEP,
) -> dict[str, Any]:
    """The fields of a request that paints on a picture at a larger size.

    Its first pass leaves the picture as it is.

    Args:
        request: that of the picture, whose settings are kept; empty where none is known.
        size: of the picture.
        hires: fields of the second pass.
        step: pixels of which the sides of what the model paints are multiples.
    """
    kept = {
        name: value
        for name, value in request.items()
        if name in ChangeRequest.model_fields and name not in _NOT_TAKEN
    }
    if model != kept.get("model"):  # of another model, its own are better
        kept = {name: kept[name] for name in ("negative_prompt", "seed") if name in kept}
    width, height = (max(step, round(side / step) * step) for side in size)
    begun = {"picture": picture, "strength": 0, "fit": "stretch"}
    changes = {"prompt": prompt, "model": model, "width": width, "height": height}
    return {**kept, **changes, "from_picture": begun, "hires": dict(hires)}


def _picture_in(request: Mapping[str, Any]) -> str:
    """The id of the picture that a job of either kind has made larger."""
    return request.get("picture") or (request.get("from_picture") or {}).get("picture", "")


def _field(model: type, name: str, **options: Any) -> gr.components.Component:
    return from_field(model, name, elem_id=f"larger-{name}", **options)
