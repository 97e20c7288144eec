"""From a picture: a picture that is brought in, drawn or sent here is painted on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import BadRequest, UserError
from pipelines.core.paths import ASSETS
from pipelines.diffusion.from_picture.requests import FromPicture, Outpaint
from pipelines.diffusion.requests import MAX_PICTURES, ChangePicturesRequest
from studio.core.exchange import (
    DRAWING,
    PICTURE,
    PICTURES,
    SETTINGS,
    Exchange,
    Settings,
    Taker,
    Target,
)
from studio.core.feature import Tab
from studio.core.gallery.infotext_change import change_of
from studio.core.gallery.infotext_units import NO_PICTURE, units_beside
from studio.features.from_picture.editing import EditingForm
from studio.features.from_picture.fixing import FIX, fix_of
from studio.features.from_picture.mask_form import SIDES, MaskForm
from studio.features.from_picture.noise_form import NoiseForm
from studio.features.from_picture.several import several_of, several_on, several_pictures
from studio.features.from_picture.size_form import NOTHING, SizeForm
from studio.features.from_picture.strength_curves import strength_curves
from studio.page.components.canvas import (
    FIT_JS,
    bring_from_gallery,
    canvas,
    offer_picture,
    picture_on,
    settled_js,
)
from studio.page.components.details import Details
from studio.page.components.live import LiveView
from studio.page.components.mask import mask_of
from studio.page.components.paint_form import PaintForm
from studio.page.components.picture_panel import PicturePanel
from studio.page.components.versus import VERSUS_MOVED, versus
from studio.page.tab_events import BROUGHT, BROUGHT_WITH_WORDS, FILLED, TabEvents
from studio.page.units.beside import UnitsBeside
from studio.page.widgets import QUIET, Visitor, from_field, label

if TYPE_CHECKING:
    from studio.core.gallery.gallery import SavedPicture

KIND = "from_picture"
_FIELDS = ("strength", "fit", "all_steps")
# New sides are painted anew, unless somebody has chosen how strongly.
_FULL_JS = (
    "(strength, ...sides) => sides.some((side) => side > 0) && strength === "
    f"{FromPicture.model_fields['strength'].default} ? 1 : {json.dumps(gr.skip())}"
)
_CSS_FIT = {"crop": "cover", "pad": "contain", "stretch": "fill"}


class FromPictureTab(Tab):
    """Draws the tab.

    Attributes:
        form: the controls of the request but those of the picture.
        canvas: its value is the picture's id.
        details: of the chosen result.
        outputs: what :meth:`fill` updates.
    """

    id, label, group = "from-picture", "Change", "From a picture"
    styles = (ASSETS / "from_picture.css",)
    takes = (
        Target(SETTINGS, "use"),
        Target(DRAWING, "change", "Paint over my drawing"),
        Target(PICTURE, "change", "Change this picture"),
        Target(PICTURES, "change", "Change them"),
        FIX,
    )

    def draw(self) -> None:
        """Makes the controls and what shows results."""
        self.form = PaintForm(self.studio, "change-", lambda entry: True)
        self._live = LiveView(self.studio, KIND, "change-")
        self.editing = EditingForm(self.studio, self.form)
        self.mask = MaskForm(self.studio, "change-")
        self.size = SizeForm(self.studio, self.form, "change-")
        self.noise = NoiseForm("change-")
        with gr.Row(elem_classes="workspace"):
            with gr.Column(scale=4, min_width=320, elem_classes="controls"):
                with gr.Column(elem_classes="first"):
                    self.canvas = canvas("change-canvas", elem_classes="canvas")
                    self.mask.draw_layer("change-canvas")
                    self.several = several_pictures(
                        "change-several", "change-canvas", MAX_PICTURES - 1, elem_classes="canvas"
                    )
                    self.form.draw_prompt()
                    self.editing.draw()
                    with gr.Column(elem_classes="strength"):
                        self._strength = self._field("strength")
                        self._curves = gr.HTML(elem_id="change-curves", padding=False)
                    with gr.Row():
                        self._paint = gr.Button(label("Paint"), variant="primary", elem_id="change")
                        self._cancel = gr.Button(
                            label("Cancel"), visible=False, elem_id="change-cancel"
                        )
                        self._live.draw_switch()
                with gr.Column(elem_classes="rest"):
                    self.mask.draw_fields()
                    self.size.draw()
                    self._own_sizes = from_field(
                        ChangePicturesRequest, "own_sizes", elem_id="change-own-sizes"
                    )
                    self._fit = self._field(
                        "fit",
                        kind=gr.Radio,
                        choices=[
                            (label("Crop"), "crop"),
                            (label("Pad"), "pad"),
                            (label("Stretch"), "stretch"),
                        ],
                    )
                    self._all_steps = self._field(
                        "all_steps",
                        kind=gr.Radio,
                        choices=[
                            (label("Where steps are few"), ""),
                            (label("Yes"), "yes"),
                            (label("No"), "no"),
                        ],
                        value="",
                    )
                    self.noise.draw()
                    self.units = UnitsBeside(self.studio, self.canvas, self.mask.painted_part)
                    self.units.draw(self._fit)
                    self.form.draw_rest()
            with gr.Column(scale=6, min_width=320, elem_classes="results"):
                self._live.draw_picture(
                    [each.elem_id for each in (self.canvas, *self.units.canvases)]
                )
                self._panel = gr.HTML(
                    elem_id="change-panel", js_on_load=PicturePanel.CLICKED + VERSUS_MOVED
                )
                self.details = Details(self.studio, "changed")
        self._laid = [self.canvas, self.mask.layer, self.several]
        own = [self._strength, self._fit, self._all_steps, self._own_sizes]
        self._fields = [*own, *self.noise.inputs, *self.mask.inputs]
        self._picture = [*self._laid, *self.editing.inputs, *self._fields, *self.units.inputs]
        change = [*self.editing.outputs, *self._fields, self._curves]
        self._filled = [*self._laid, *change, *self.units.outputs]
        self.outputs = [*self.form.outputs, *self._filled]

    def listen(self, events: TabEvents, exchange: Exchange) -> None:
        """Connect the controls with one another, with the jobs and with other tabs."""
        watch = PicturePanel(
            self.studio,
            kind=KIND,
            panel=self._panel,
            cancel=self._cancel,
            details=self.details,
            empty=(
                "Nothing changed yet",
                "Bring in a picture or draw one, say what it should become, then press Paint.",
            ),
            beside=self._beside,
        )
        controls = self.form.controls
        self.form.listen(events, watch.last_request)
        self.form.reuse_seed.click(watch.last_seed, watch.view.id, controls["seed"], **QUIET)
        size = [controls["width"], controls["height"]]
        for moment in (self.form.opened.then, self.form.model_chosen.then):
            moment(None, size, js=FIT_JS, **QUIET)
        for control in size:
            control.change(None, size, js=FIT_JS, **QUIET)
        self.units.listen(controls["model"], size, self.form.model_chosen)
        self.mask.listen(self.canvas, self._fit, size, self.form.opened.then)
        self.size.listen(self.canvas)

        def open_tab(visitor: Visitor) -> list[Any]:
            request = watch.last_request(visitor) or {}
            asked = request.get("from_picture")
            picture, mask = self._picture_and_mask(asked, visitor)
            # A drawing of this browser tab's own stays where it is.
            return [
                offer_picture(picture),
                mask_of(picture, mask, is_offered=True),
                several_of(self._pictures_here(request, visitor), is_offered=True),
                *self._values_of(asked or {}, request, visitor),
                *self._units_of(request, visitor, is_offered=True),
            ]

        self.units.read_after(events.fill(open_tab, self._filled, pictures=self._laid))
        self.editing.listen(self._strength)
        sides = [self.mask.sides[side] for side in SIDES]
        for side in sides:
            side.input(None, [self._strength, *sides], self._strength, js=_FULL_JS, **QUIET)
        self.form.model_chosen.then(self._curves_of, controls["model"], self._curves, **QUIET)
        inputs = [*self.form.inputs, *self._picture]
        drawings = [*self._laid, *self.units.canvases]
        js = settled_js({inputs.index(each): each.elem_id for each in drawings})
        watch.connect(events, self._paint, self.data, inputs, js=js)
        chosen = [self.form.model_chosen.then]
        self._live.connect(watch.view, self.data, inputs, controls["seed"], chosen, js)
        self.details.listen(exchange)
        watch.take_variations(exchange, self.id)
        watch.take_job(exchange, self.id, FIX, partial(fix_of, self.studio))
        outputs = [*self.outputs, events.stage]
        read = self.units.read_after
        settings = Taker(self.id, outputs, self._take_settings, after=read)
        exchange.take(SETTINGS, settings, "use")
        drawn = Taker(self.id, outputs, self._take_drawing, after=read)
        exchange.take(DRAWING, drawn, "change")
        brought = [self.canvas, self.several, events.stage]
        with_words = [self.canvas, self.several, *self.form.words, events.stage]
        exchange.take(PICTURE, Taker(self.id, with_words, self._take_picture), "change")
        exchange.take(PICTURES, Taker(self.id, brought, self._take_pictures), "change")

    def data(self, values: Sequence[Any]) -> dict[str, Any]:
        """The values of all controls as the fields of a request, not yet checked.

        Raises:
            BadRequest: there is no picture.
        """
        at = len(self.form.inputs)
        laid, rest = values[at : at + len(self._laid)], values[at + len(self._laid) :]
        count = len(rest) - len(self.units.inputs)
        rest, steering = rest[:count], rest[count:]
        how, further, strength, fit, every, own_sizes, *rest = rest
        noise, mask = rest[: len(self.noise.inputs)], rest[len(self.noise.inputs) :]
        value, layer, several = laid
        pictures = [picture_on(value), *several_on(several)]
        picture, *pictures = [id for id in pictures if id] or [""]
        if not picture:
            raise BadRequest(NOTHING)
        asked = {
            "picture": picture,
            "strength": strength,
            "fit": fit,
            "all_steps": {"yes": True, "no": False}.get(str(every)),
            **self.noise.data(noise),
            **self.mask.data(mask, layer),
        }
        fields = self.form.data(values[:at])
        asked |= self.editing.data((how, further), fields.get("model"))
        return {
            **fields,
            "from_picture": asked,
            "pictures": pictures,
            "own_sizes": own_sizes,
            "units": self.units.data(steering, picture, fit),
        }

    def _pictures_here(self, request: Mapping[str, Any], visitor: Visitor) -> list[str]:
        """The ids of a request's further pictures that are still here."""
        return [id for id in request.get("pictures") or () if self._is_here(id, visitor)]

    def _picture_and_mask(
        self, asked: Mapping[str, Any] | None, visitor: Visitor
    ) -> tuple[str, str | None]:
        """The ids of picture and mask of a request; what is no longer here is left out."""
        asked = asked or {}
        picture = asked.get("picture", "") if self._is_here(asked.get("picture"), visitor) else ""
        mask = asked.get("mask") if picture and self._is_here(asked.get("mask"), visitor) else None
        return picture, mask

    def _is_here(self, id: Any, visitor: Visitor) -> bool:
        try:
            return bool(id and self.studio.inputs.get(visitor.owner.id, id))
        except UserError:
            return False

    def _values_of(
        self, asked: Mapping[str, Any], request: Mapping[str, Any], visitor: Visitor
    ) -> list[Any]:
        """Values of the controls of a picture's change; what is not named is at its default."""
        entry = self.form.entry_of(request, visitor)
        fields = {name: FromPicture.model_fields[name].default for name in _FIELDS}
        fields |= {name: value for name, value in asked.items() if name in _FIELDS}
        every = {True: "yes", False: "no"}.get(fields["all_steps"], "")
        # A picture that is shown with an instruction is not begun from.
        strength = gr.update(value=fields["strength"], visible=not asked.get("edit"))
        return [
            *self.editing.fill(asked, entry, visitor),
            strength,
            fields["fit"],
            every,
            request.get("own_sizes", True),
            *self.noise.fill(asked),
            *self.mask.fill(asked),
            strength_curves(entry, visitor),
        ]

    def _take_settings(
        self, settings: Settings, visitor: Visitor, values: list[Any]
    ) -> list[Any] | None:
        """The controls as a picture that was changed had them; other pictures are not taken."""
        if settings.picture is None:
            return self._take_file(settings, visitor)
        try:
            row = self.studio.gallery.get(visitor.owner.id, settings.picture)
        except UserError:  # deleted meanwhile
            return None
        if (asked := row.request.get("from_picture")) is None:
            return None
        picture, mask = self._picture_and_mask(asked, visitor)
        change = self._values_of(asked, settings.fields, visitor)
        filled = [picture, mask_of(picture, mask), several_of([]), *change]
        filled += self._units_of({**settings.fields, **row.request}, visitor)
        return [*self.form.fill(settings.fields, visitor), *filled, FILLED]

    def _take_file(self, settings: Settings, visitor: Visitor) -> list[Any] | None:
        """The controls as a file says; the canvas stays as it is, as the file has no picture."""
        asked = change_of(settings.parameters)
        if asked is None:
            return None
        laid = [gr.skip()] * len(self._laid)
        filled = self.form.fill(settings.fields, visitor)
        change = self._values_of(asked, settings.fields, visitor)
        units = units_beside(settings.parameters, self.studio.control)
        fields = {**settings.fields, "from_picture": {"picture": NO_PICTURE}, "units": units}
        return [*filled, *laid, *change, *self._units_of(fields, visitor), FILLED]

    def _units_of(
        self, request: Mapping[str, Any], visitor: Visitor, is_offered: bool = False
    ) -> list[Any]:
        """Values of the controls of what a request follows besides."""
        painted = (request.get("from_picture") or {}).get("picture", "")
        entry, units = self.form.entry_of(request, visitor), request.get("units") or ()
        return self.units.fill(units, entry, visitor, painted, is_offered)

    def _take_drawing(
        self, request: Mapping[str, Any], visitor: Visitor, values: list[Any]
    ) -> list[Any]:
        """A drawing, or another picture that was followed, is painted over and still followed.

        Args:
            request: the fields of a request with units; the first one's picture is painted over.
        """
        picture = request["units"][0]["picture"]
        fields = {**request, "from_picture": {"picture": picture}}
        filled = self.form.fill({**request, "from_picture": None}, visitor)
        laid = [picture, mask_of(picture, None), several_of([])]
        change = self._values_of({}, fields, visitor)
        return [*filled, *laid, *change, *self._units_of(fields, visitor), FILLED]

    def _take_picture(self, picture: str, visitor: Visitor, values: list[Any]) -> list[Any]:
        """A picture of the gallery on the canvas, with the words that it was painted by."""
        [brought] = bring_from_gallery(self.studio, visitor, picture)
        request = self.studio.gallery.get(visitor.owner.id, picture).request
        if request.get("prompt"):
            words = [request["prompt"], request.get("negative_prompt", "")]
            return [brought.id, several_of([]), *words, BROUGHT_WITH_WORDS]
        return [brought.id, several_of([]), *[gr.skip()] * len(self.form.words), BROUGHT]

    def _take_pictures(self, pictures: list[str], visitor: Visitor, values: list[Any]) -> list[Any]:
        """Pictures of the gallery: the first on the canvas, the others beside it.

        Raises:
            BadRequest: there are more than are changed at once.
        """
        if len(pictures) > MAX_PICTURES:
            raise BadRequest(
                "{count} pictures are chosen; at most {limit} are changed at once. Choose fewer.",
                count=len(pictures),
                limit=MAX_PICTURES,
            )
        first, *further = [each.id for each in bring_from_gallery(self.studio, visitor, *pictures)]
        return [first, several_of(further), BROUGHT]

    def _beside(self, visitor: Visitor, row: SavedPicture) -> str:
        """The picture with a slider over the one that it began from, if that is still here."""
        asked = row.request.get("from_picture") or {}
        try:
            brought = self.studio.inputs.get(visitor.owner.id, asked.get("picture", ""))
        except UserError:
            return ""
        fit, sides = _CSS_FIT[asked["fit"]], (0.0, 0.0, 0.0, 0.0)
        if asked.get("outpaint"):
            added = Outpaint(**asked["outpaint"]).pixels((brought.width, brought.height))
            fit, sides = "fill", tuple(side / row.width for side in added)
        source = f"api/v1/inputs/{asked['picture']}.png"
        alt, slider = "The picture before", "Between before and after"
        return versus(row.id, [source], visitor, alt, slider, fit, sides)

    def _curves_of(self, model: Any, request: gr.Request) -> str:
        visitor = Visitor.of(request)
        return strength_curves(self.form.entry_of({"model": model}, visitor), visitor)

    @staticmethod
    def _field(name: str, **options: Any) -> gr.components.Component:
        elem_id = f"change-{name.replace('_', '-')}"
        return from_field(FromPicture, name, elem_id=elem_id, **options)
