"""Sketch & depth: a picture from words that follows drawings, photos or maps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import BadRequest, UserError
from pipelines.diffusion.control.requests import MAX_UNITS
from studio.core.exchange import (
    DRAWING,
    PICTURE,
    SETTINGS,
    Exchange,
    Route,
    Settings,
    Taker,
    Target,
    buttons,
)
from studio.core.feature import Tab
from studio.core.gallery.infotext_change import change_of
from studio.core.gallery.infotext_units import units_of
from studio.page import views
from studio.page.components.canvas import FIT_JS, bring_from_gallery, offer_picture, settled_js
from studio.page.components.details import Details
from studio.page.components.live import LiveView
from studio.page.components.paint_form import PaintForm
from studio.page.components.picture_panel import PicturePanel
from studio.page.components.versus import VERSUS_MOVED, versus
from studio.page.tab_events import BROUGHT, FILLED, TabEvents
from studio.page.units.unit_form import UnitForm
from studio.page.widgets import QUIET, Visitor, label

if TYPE_CHECKING:
    from studio.core.gallery.gallery import SavedPicture

KIND = "control"
FAMILIES = {"sd1", "sd2", "sdxl"}  # for which there are ControlNets and T2I-Adapters
_FURTHER = ("Second picture", "Third picture")


class ControlTab(Tab):
    """Draws the tab.

    Attributes:
        form: the controls of the request but its units.
        units: those of the units.
        details: of the chosen picture.
        outputs: what :meth:`fill` updates.
    """

    id, label = "steer", "Sketch & depth"
    takes = (
        Target(SETTINGS, "use"),
        Target(PICTURE, "steer", "Send to sketch & depth"),
    )

    def draw(self) -> None:
        """Makes the controls and what shows results."""
        self.form = PaintForm(self.studio, "steer-", lambda entry: entry.family in FAMILIES)
        self._live = LiveView(self.studio, KIND, "steer-")
        self.units = [UnitForm(self.studio, number) for number in range(1, MAX_UNITS + 1)]
        first, *further = self.units
        self._over = {
            target: gr.Button(
                label(target.button),
                size="sm",
                elem_id=f"steer-{target.name}",
                elem_classes="quiet",
                render=False,
            )
            for target in buttons(self.studio.features.tabs(), (DRAWING,))
        }
        self._folds: list[gr.Accordion] = []
        with gr.Row(elem_classes="workspace"):
            with gr.Column(scale=4, min_width=320, elem_classes="controls"):
                with gr.Column(elem_classes="first"):
                    first.draw_picture()
                    for button in self._over.values():
                        button.render()
                    self._unsent = gr.HTML(elem_id="steer-unsent", visible=False)
                    self.form.draw_prompt()
                    with gr.Row():
                        self._paint = gr.Button(label("Paint"), variant="primary", elem_id="steer")
                        self._cancel = gr.Button(
                            label("Cancel"), visible=False, elem_id="steer-cancel"
                        )
                        self._live.draw_switch()
                with gr.Column(elem_classes="rest"):
                    first.draw_steering()
                    for unit, title in zip(further, _FURTHER, strict=True):
                        with gr.Accordion(label(title), open=False, elem_id=unit.name) as fold:
                            unit.draw_picture()
                            unit.draw_steering()
                        self._folds.append(fold)
                    self.form.draw_rest()
            with gr.Column(scale=6, min_width=320, elem_classes="results"):
                self._live.draw_picture([unit.canvas.elem_id for unit in self.units])
                self._panel = gr.HTML(
                    elem_id="steer-panel", js_on_load=PicturePanel.CLICKED + VERSUS_MOVED
                )
                self.details = Details(self.studio, "steered")
        self.outputs = [
            *self.form.outputs,
            *(output for unit in self.units for output in unit.outputs),
            *self._folds,
        ]

    def listen(self, events: TabEvents, exchange: Exchange) -> None:
        """Connect the controls with one another and with the jobs."""
        watch = PicturePanel(
            self.studio,
            kind=KIND,
            panel=self._panel,
            cancel=self._cancel,
            details=self.details,
            empty=(
                "Nothing drawn and painted yet",
                "Draw some lines or bring in a picture, say what it should become, then press "
                "Paint.",
            ),
            beside=self._beside,
        )
        controls = self.form.controls
        self.form.listen(events, watch.last_request)
        self.form.reuse_seed.click(watch.last_seed, watch.view.id, controls["seed"], **QUIET)
        self._size = [controls["width"], controls["height"]]
        resized = [unit.listen(controls["model"], *self._size) for unit in self.units]
        for event in (*resized, self.form.model_chosen):
            self.read_after(event)
        self._fit_of_units(self.form.opened.then)
        self._fit_of_units(*(each.change for each in self._size))

        of_units = self.outputs[len(self.form.outputs) :]

        def open_tab(visitor: Visitor) -> list[Any]:
            fields = watch.last_request(visitor) or {}
            updates = self._units(fields, fields.get("units", ()), visitor)
            for unit in self.units:  # a drawing of this browser tab's own stays where it is
                at = of_units.index(unit.canvas)
                updates[at] = offer_picture(updates[at])
            return updates

        events.fill(open_tab, of_units, pictures=[self.units[0].canvas])
        self._stage = events.stage
        self.outputs.append(self._stage)
        inputs = [*self.form.inputs, *(each for unit in self.units for each in unit.inputs)]
        drawings = {inputs.index(unit.canvas): unit.canvas.elem_id for unit in self.units}
        js = settled_js(drawings)
        watch.connect(events, self._paint, self.data, inputs, js=js)
        chosen = [self.form.model_chosen.then]
        self._live.connect(watch.view, self.data, inputs, controls["seed"], chosen, js)
        self.details.listen(exchange)
        watch.take_variations(exchange, self.id)
        settings = Taker(self.id, self.outputs, self._take_settings, after=self.read_after)
        exchange.take(SETTINGS, settings, "use")
        canvas = [self.units[0].canvas, self._stage]
        exchange.take(PICTURE, Taker(self.id, canvas, self._take_picture), "steer")
        for target, button in self._over.items():
            connect = partial(self._send_over, button, inputs, js)
            exchange.offer(target.kind, connect, target.name)

    def _send_over(self, button: gr.Button, inputs: list[Any], js: str, route: Route) -> None:
        """Lets a button hand the drawing to another tab, with all that is asked of it here."""

        def send(request: gr.Request, *values: Any) -> list[Any]:
            visitor, count = Visitor.of(request), len(inputs)
            try:
                fields = self.data(values[:count])
                sent = route.send(fields, visitor, values[count:])
            except UserError as error:
                said = gr.update(value=views.error(error.message, visitor), visible=True)
                return [*[gr.skip()] * len(route.outputs), said]
            return [*sent, gr.update(visible=False)]

        given, outputs = [*inputs, *route.inputs], [*route.outputs, self._unsent]
        route.follow(button.click(send, given, outputs, js=js, **QUIET))

    def data(self, values: Sequence[Any]) -> dict[str, Any]:
        """The values of all controls as the fields of a request, not yet checked.

        Raises:
            BadRequest: there is no picture to follow, or no control model for one.
        """
        at = len(self.form.inputs)
        fields, units = self.form.data(values[:at]), []
        for unit in self.units:
            count = len(unit.inputs)
            units.append(unit.data(values[at : at + count]))
            at += count
        followed = [unit for unit in units if unit is not None]
        if not followed:
            raise BadRequest(
                "There is nothing to follow yet. Draw something, or bring in a picture."
            )
        return {**fields, "units": followed}

    def fill(
        self, fields: Mapping[str, Any], units: Sequence[Mapping[str, Any]], visitor: Visitor
    ) -> list[Any]:
        """Updates of :attr:`outputs` that show ``fields`` and ``units``; see their forms' fill."""
        return [*self.form.fill(fields, visitor), *self._units(fields, units, visitor), FILLED]

    def _take_settings(
        self, settings: Settings, visitor: Visitor, values: list[Any]
    ) -> list[Any] | None:
        """The controls as a picture that was steered had them; other pictures are not taken."""
        units = self._units_of(settings, visitor)
        return self.fill(settings.fields, units, visitor) if units else None

    def _units_of(self, settings: Settings, visitor: Visitor) -> list[dict[str, Any]]:
        """The units that a picture was steered by: of one's own with their pictures.

        None where it was begun from another picture besides, for which there are no controls here.
        """
        if settings.picture is not None:
            with contextlib.suppress(UserError):  # deleted; its parameters are still known
                made = self.studio.gallery.get(visitor.owner.id, settings.picture).request
                return [] if made.get("from_picture") else made.get("units", [])
        if change_of(settings.parameters) is not None:
            return []
        return units_of(settings.parameters, self.studio.control)

    def _take_picture(self, picture: str, visitor: Visitor, values: list[Any]) -> list[Any]:
        """A picture of the gallery on the first canvas."""
        [brought] = bring_from_gallery(self.studio, visitor, picture)
        return [brought.id, BROUGHT]

    def read_after(self, event: gr.events.Dependency) -> None:
        """Make all maps anew after an event that has used :meth:`fill`, or changed the size."""
        for unit in self.units:
            unit.read_after(event)
        self._fit_of_units(event.then)

    def _fit_of_units(self, *moments: Callable[..., Any]) -> None:
        """Give empty of_units the result's proportions."""
        for moment in moments:
            moment(None, self._size, js=FIT_JS, **QUIET)

    def _units(
        self, fields: Mapping[str, Any], units: Sequence[Mapping[str, Any]], visitor: Visitor
    ) -> list[Any]:
        base = self.form.entry_of(fields, visitor)
        padded = [*units, *[None] * MAX_UNITS][:MAX_UNITS]
        filled = [
            update
            for form, unit in zip(self.units, padded, strict=True)
            for update in form.fill(unit, base, visitor)
        ]
        folds = [gr.update(open=unit is not None) for unit in padded[1:]]
        return [*filled, *folds]

    def _beside(self, visitor: Visitor, row: SavedPicture) -> str:
        """The picture with a slider over its maps, where all that it followed is still here."""
        units = row.request.get("units", [])
        try:
            for unit in units:
                self.studio.inputs.get(visitor.owner.id, unit["picture"])
        except UserError:
            return ""
        if not units:
            return ""
        sources = [f"api/v1/pictures/{row.id}/condition/{n}.png" for n in range(len(units))]
        alt, slider = "The map that was followed", "Between the map and the picture"
        return versus(row.id, sources, visitor, alt, slider)
