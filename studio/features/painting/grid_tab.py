"""A grid: one request painted with several values of some of its settings, on one sheet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import UserError, validate
from pipelines.core.messages import Message
from pipelines.grids.cells import NAMES
from pipelines.grids.requests import GridRequest
from studio.core.exchange import SETTINGS, Exchange, Settings, Taker, Target
from studio.core.feature import Tab
from studio.core.gallery.metadata import axes_of
from studio.features.painting.checks import check_grid
from studio.page import views
from studio.page.components.details import Details
from studio.page.components.paint_form import PaintForm
from studio.page.components.picture_panel import PicturePanel
from studio.page.components.sheet_views import COMPARE, GRID
from studio.page.widgets import QUIET, Visitor, as_text, follow_newest, label

if TYPE_CHECKING:
    from studio.core.jobs.record import Job
    from studio.page.tab_events import TabEvents

NO_AXIS = ""
_AXES = ("X", "Y", "Z")
_SAMPLERS = {"X": ("steps", "8, 15, 25"), "Y": ("sampler", "Euler, DPM++ 2M, UniPC")}
_PRESETS = {
    "Compare samplers": _SAMPLERS,
    "Guidance and steps": {"X": ("guidance", "1-7 [4]"), "Y": ("steps", "10-30 (+10)")},
    "Seeds": {"X": ("seed", "1-6")},
}
_PARTS = ("from_picture", "units")  # of a picture's settings that have no controls here


class GridTab(Tab):
    """Draws the tab.

    Attributes:
        form: the controls of what the axes leave as it is.
        details: of the chosen cell.
    """

    id, label, group = "compare", "Grid", "Text to image"
    takes = (Target(SETTINGS, "compare", "Compare in a grid"),)

    def draw(self) -> None:
        """Makes the controls and what shows results."""
        self.form = PaintForm(self.studio, "compare-", keeps_picture=True)
        with gr.Row(elem_classes="workspace"):
            with gr.Column(scale=4, min_width=320, elem_classes="controls"):
                with gr.Column(elem_classes="first"):
                    self.form.draw_prompt()
                    self._preset = gr.Radio(
                        [(label(name), name) for name in _PRESETS],
                        label=label("Presets"),
                        value=next(iter(_PRESETS)),
                        elem_id="compare-preset",
                    )
                    self._axes = [self._draw_axis(name) for name in _AXES]
                    self._forecast = gr.HTML(elem_id="compare-forecast")
                    with gr.Row():
                        self._start = gr.Button(
                            label("Paint the grid"), variant="primary", elem_id="compare"
                        )
                        self._cancel = gr.Button(
                            label("Cancel"), visible=False, elem_id="compare-cancel"
                        )
                with gr.Column(elem_classes="rest"):
                    # What a picture began from, or was steered by, where its settings came here.
                    self._parts = gr.State({})
                    self._parts_said = gr.HTML(elem_id="compare-parts", visible=False)
                    self.form.draw_rest()
            with gr.Column(scale=6, min_width=320, elem_classes="results"):
                self._panel = gr.HTML(elem_id="compare-panel", js_on_load=PicturePanel.CLICKED)
                self.details = Details(self.studio, "compare")
        self._controls = [control for axis in self._axes for control in axis]
        self._own = [*self._controls, self._parts]

    @staticmethod
    def _draw_axis(name: str) -> tuple[gr.Dropdown, gr.Textbox]:
        field, values = _SAMPLERS.get(name, (NO_AXIS, ""))
        titles = {"X": "Columns", "Y": "Rows", "Z": "Blocks"}
        with gr.Row(elem_classes="axis"):
            setting = gr.Dropdown(
                [(label("None"), NO_AXIS), *((shown, path) for path, shown in NAMES.items())],
                label=label(titles[name]),
                value=field,
                allow_custom_value=True,
                scale=2,
                elem_id=f"compare-{name.lower()}-setting",
            )
            text = gr.Textbox(
                values,
                label=label("Values"),
                scale=3,
                max_lines=4,
                elem_id=f"compare-{name.lower()}-values",
            )
        return setting, text

    def listen(self, events: TabEvents, exchange: Exchange) -> None:
        """Connect the controls with the jobs."""
        watch = _GridPanel(
            self.studio,
            kind=GRID,
            panel=self._panel,
            cancel=self._cancel,
            details=self.details,
            empty=(
                "No grid yet",
                "Choose settings and their values, then press Paint the grid. "
                "Each cell is also a picture of its own in the gallery.",
            ),
        )

        def last_base(visitor: Visitor) -> Mapping[str, Any] | None:
            return (watch.last_request(visitor) or {}).get("base")

        self.form.listen(events, last_base)
        filled = events.fill(
            lambda visitor: self._open(watch.last_request(visitor), visitor),
            [*self._own, self._parts_said],
        )
        inputs = [*self.form.inputs, *self._own]
        watch.connect(events, self._start, self.data, inputs)
        self._preset.input(
            lambda name: _values_of(_PRESETS.get(name, {})), self._preset, self._controls, **QUIET
        )
        self.form.reuse_seed.click(
            watch.last_seed, watch.view.id, self.form.controls["seed"], **QUIET
        )
        moved = [control.change for control in self._controls]
        moved += [self.form.controls[name].change for name in ("model", "steps")]
        follow_newest(moved, self._foretell, inputs, self._forecast)
        # Who has no grid yet is shown the values that are there, and nothing moves.
        for moment in (filled.then, self.form.opened.then):
            moment(self._foretell, inputs, self._forecast, **QUIET)
        self.details.listen(exchange)
        outputs = [*self.form.outputs, *self._own, self._parts_said]
        exchange.take(SETTINGS, Taker(self.id, outputs, self._take), "compare")

    def data(self, values: list[Any]) -> dict[str, Any]:
        """The values of all controls as the fields of a request, not yet checked."""
        at = len(self.form.inputs)
        *texts, parts = values[at:]
        base = {**self.form.data(values[:at]), **(parts or {})}
        chosen = [
            {"field": as_text(field).strip(), "values": as_text(text)}
            for field, text in zip(texts[::2], texts[1::2], strict=True)
            if as_text(field).strip() != NO_AXIS
        ]
        fields = {axis["field"] for axis in chosen}
        if "sampler" in fields and "schedule" not in fields:
            base["schedule"] = None  # that of one sampler seldom fits the others
        axes = dict(zip(("x", "y", "z"), chosen, strict=False))
        return {"base": base, "x": None, **axes}

    def _foretell(self, request: gr.Request, *values: Any) -> str:
        """How many pictures, and how long they take here; or what is wrong with the axes."""
        visitor = Visitor.of(request)
        try:
            asked = validate(GridRequest, self.data(list(values)))
            cells = [cell.request for cell in check_grid(self.studio, visitor.owner, asked).cells()]
        except UserError as error:
            return views.error(error.message, visitor)
        seconds = self.studio.paintings.foretell(visitor.owner, cells)
        if seconds is None:
            words = Message("{count} pictures.", count=len(cells))
        else:
            time = views.duration(seconds)
            words = Message("{count} pictures, about {time}.", count=len(cells), time=time)
        return views.notice(words, visitor)

    # --- what the controls show -----------------------------------------------------------------

    def _open(self, request: Mapping[str, Any] | None, visitor: Visitor) -> list[Any]:
        """The axes of the visitor's last grid, or of the comparison that there was before."""
        if request is None:
            return [gr.skip()] * (len(self._own) + 1)
        axes = {
            name: (str(axis.get("field")), str(axis.get("values")))
            for name in _AXES
            if isinstance(axis := request.get(name.lower()), Mapping)
        }
        if "samplers" in request:
            axes = {
                "X": ("steps", ", ".join(map(str, request["steps"]))),
                "Y": ("sampler", ", ".join(request["samplers"])),
            }
        return [*_values_of(axes), *self._parts_of(request.get("base", {}), visitor)]

    def _take(self, settings: Settings, visitor: Visitor, values: list[Any]) -> list[Any]:
        """A picture's settings; of a grid's sheet its axes too."""
        fields, made = settings.fields, {}
        if settings.picture is not None:
            made = self.studio.gallery.get(visitor.owner.id, settings.picture).request
            made = made.get("base", made)
        axes = axes_of(settings.parameters)
        shown = _values_of(axes) if axes else [gr.skip()] * len(self._controls)
        filled = self.form.fill({**fields, "from_picture": made.get("from_picture")}, visitor)
        return [*filled, *shown, *self._parts_of(made, visitor)]

    def _parts_of(self, made: Mapping[str, Any], visitor: Visitor) -> list[Any]:
        """What has no controls here, and a line that says what that is."""
        parts = {name: made[name] for name in _PARTS if made.get(name)}
        lines = []
        if "from_picture" in parts:
            lines.append(Message("The grid begins from the same picture."))
        if "units" in parts:
            lines.append(Message("The grid is steered by the same units."))
        said = " ".join(map(visitor.say, lines))
        return [parts, gr.update(value=views.notice(said, visitor), visible=bool(parts))]


class _GridPanel(PicturePanel):
    """Shows grids, and the comparisons of samplers that came before there were any."""

    def _jobs(self, visitor: Visitor) -> list[Job]:
        jobs = self.studio.jobs
        both = [job for kind in (GRID, COMPARE) for job in jobs.list(visitor.owner.id, kind=kind)]
        return sorted(both, key=lambda job: job.created, reverse=True)


def _values_of(axes: Mapping[str, tuple[str, str]]) -> list[str]:
    """Of the controls of all axes."""
    return [value for name in _AXES for value in axes.get(name, (NO_AXIS, ""))]
