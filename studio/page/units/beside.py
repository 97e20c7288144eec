"""A unit beside a picture that is changed: it follows that picture itself, or one of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import BadRequest, validate
from pipelines.core.events import Progress
from pipelines.diffusion.control.requests import MAX_UNITS, ControlUnit, MapRequest
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.models.catalog import ModelEntry
from studio.page.components.canvas import canvas, offer_picture, picture_on
from studio.page.units.unit_form import UnitForm
from studio.page.widgets import QUIET, Visitor, as_text, from_field, label

if TYPE_CHECKING:
    from PIL import Image

    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio

PREFIX = "change-"
FURTHER = ("Second picture", "Third picture")
NOTHING, ITSELF, ANOTHER = "nothing", "itself", "another"
# What a unit's map depends on, as one text; empty where nothing is followed. The mask is a part of
# it where the picture is followed that is painted, and only a part of that is.
_WANTED_JS = """(paints, count, ...values) => {
  const [part, rest] = [values.slice(0, count), values.slice(count)];
  const [, , source, along] = rest;
  if (source === %s) return "";
  const follows = source === %s || along;
  return JSON.stringify([follows && paints(part) ? part : [], rest]);
}"""
_CHOICES = (("None", NOTHING), ("The picture itself", ITSELF), ("Another picture", ANOTHER))


@dataclass(frozen=True, slots=True)
class PaintedPart:
    """The controls that say which part of a picture is painted.

    Attributes:
        inputs: those.
        paints_js: JavaScript, their values → whether it is a part, or more than the picture.
        data: their values → fields of a :class:`FromPicture`.
    """

    inputs: Sequence[Any]
    paints_js: str
    data: Callable[[Sequence[Any]], dict[str, Any]]


class UnitBeside(UnitForm):
    """Draws the controls of a :class:`ControlUnit` that goes with a picture to begin from.

    Args:
        studio: whose pictures, preprocessors and control models.
        number: 1, 2 or 3.
        painted: the canvas of the picture that is changed.
        fit: how that is fitted to the result.
        part: which part of it is painted.
    """

    def __init__(
        self,
        studio: Studio,
        number: int,
        painted: gr.HTML,
        fit: gr.components.Component,
        part: PaintedPart,
    ) -> None:
        super().__init__(studio, number, PREFIX)
        self._painted, self._fitted, self._part = painted, fit, part

    @property
    def outputs(self) -> list[Any]:
        return [*super().outputs, self._own, self._steers]

    @property
    def _picture(self) -> list[gr.components.Component]:
        return [self._source, self._along, *super()._picture]

    @property
    def _of_map(self) -> list[gr.components.Component]:
        return [*self._part.inputs, self._painted, self._fitted, *super()._of_map]

    def draw_wanted(self) -> None:
        """What nobody sees, and what tells of itself even where all is folded away."""
        self._wanted = gr.Textbox("", visible="hidden", elem_id=f"{self.name}-wanted")

    def draw(self) -> None:
        """All controls; they are seen once there is something to follow."""
        self._source = gr.Radio(
            [(label(words), value) for words, value in _CHOICES],
            value=NOTHING,
            label=label("Follow"),
            info=label(
                "What the result follows besides: lines, depth or a pose, of the picture itself "
                "or of another one."
            ),
            elem_id=f"{self.name}-source",
        )
        with gr.Column(visible=False, elem_id=f"{self.name}-own") as self._own:
            self.canvas = canvas(f"{self.name}-canvas", elem_classes="canvas")
            self._along = from_field(
                ControlUnit, "crop_along", kind=gr.Checkbox, value=False,
                elem_id=f"{self.name}-crop-along",
            )  # fmt: skip
        with gr.Column(visible=False, elem_id=f"{self.name}-steering") as self._steers:
            self._draw_reading()
            self.draw_steering()

    def _draw_below_map(self) -> None:
        pass  # the size is that of the picture that is changed

    def follow(self, base: gr.Dropdown, width: gr.Slider, height: gr.Slider) -> None:
        super().follow(base, width, height)
        shown = [self._own, self._steers, self._resize]
        self._source.input(_show, self._source, shown, **QUIET)

    def _read_at(self, moments: Sequence[Any]) -> None:
        # The server is asked where the map may be another one: not for each line of a mask or a
        # drawing that no unit follows.
        own = [each.input for each in (self._source, self._along, self._painted)]
        layer, *rest = self._part.inputs
        own += [layer.input, *(each.change for each in (self._fitted, *rest))]
        gr.on([*moments, *own], None, self._of_map, self._wanted, js=self._wanted_js, **QUIET,
              trigger_mode="multiple")  # fmt: skip
        super()._read_at([self._wanted.change])

    def read_after(self, event: gr.events.Dependency) -> None:
        event.then(None, self._of_map, self._wanted, js=self._wanted_js, **QUIET)

    @property
    def _wanted_js(self) -> str:
        js = _WANTED_JS % (json.dumps(NOTHING), json.dumps(ITSELF))
        return f"(...values) => ({js})({self._part.paints_js}, {len(self._part.inputs)}, ...values)"

    def data(
        self, values: Sequence[Any], painted: str = "", fit: str = "crop"
    ) -> dict[str, Any] | None:
        """The values of :attr:`inputs` as a unit's fields; None where nothing is followed.

        Args:
            painted: id of the picture that is changed.
            fit: how that is fitted.

        Raises:
            NotFound, BadRequest: as of a unit alone, or its own canvas is empty.
        """
        source, along, *_ = values
        unit = super().data([painted, fit, *values])
        if source == ANOTHER and unit is None:
            raise BadRequest(
                "Picture {number} to follow is empty. Draw something or bring one in, or follow "
                "nothing there.",
                number=self.number,
            )
        if source == ANOTHER and (along or unit["picture"] == painted):
            unit["crop_along"] = bool(along)
        return unit

    def _condition(self, values: Sequence[Any]) -> dict[str, Any]:
        painted, fit, source, along, picture, preprocessor, resize, *parameters = values
        picture = {ITSELF: painted, ANOTHER: picture}.get(as_text(source), "")
        if along or source == ITSELF:
            resize = fit
        return super()._condition([picture, preprocessor, resize, *parameters])

    def _make_map(
        self, values: Sequence[Any], owner: Owner, tell: Callable[[Progress], None], **options: Any
    ) -> Image.Image | None:
        count = len(self._part.inputs)
        part, values = values[:count], values[count:]
        painted, fit, source, along, *_ = values
        if source == ITSELF or (source == ANOTHER and along):
            options["lay_out"] = partial(self._lay_out, part, picture_on(painted), fit, owner)
        return super()._make_map(values, owner, tell, **options)

    def _lay_out(
        self, part: Sequence[Any], painted: str, fit: Any, owner: Owner, wanted: MapRequest
    ) -> tuple[MapRequest, tuple]:
        """The map as the engine lays it out: cropped along with the picture that is changed."""
        if not painted:
            return wanted, ()
        asked = validate(FromPicture, {"picture": painted, "fit": fit, **self._part.data(part)})
        if not asked.paints_a_part:
            return wanted, ()
        for id in asked.inputs():
            self.studio.inputs.get(owner.id, id)
        # The engine's modules bring torch, which the page does without.
        from pipelines.diffusion.control.paint import painted_part
        from pipelines.diffusion.from_picture.outpainting import size_for

        width, height = size_for(asked, wanted.size, self.studio.home)
        laid = {"width": width, "height": height, "resize_mode": "stretch"}
        found = painted_part(asked, (width, height), self.studio.home)
        return wanted.model_copy(update=laid), found

    def fill(
        self,
        unit: Mapping[str, Any] | None,
        base: ModelEntry,
        visitor: Visitor,
        painted: str = "",
        is_offered: bool = False,
    ) -> list[Any]:
        """Updates of :attr:`outputs` that show ``unit``.

        Args:
            painted: id of the picture that is changed.
            is_offered: its own picture is put on its canvas only where the browser's tab has none.
        """
        source, along = NOTHING, unit is not None and unit.get("crop_along")
        if unit is not None:
            is_itself = unit.get("picture") == painted and along is not False
            source = ITSELF if is_itself else ANOTHER
        own = unit if source == ANOTHER else {**(unit or {}), "picture": ""}
        filled = super().fill(own, base, visitor)
        if is_offered:
            filled[0] = offer_picture(filled[0])
        *columns, resize = _show(source)
        place = super()._picture.index(self._resize)
        filled[place] = {**resize, "value": filled[place]}
        return [source, source == ANOTHER and bool(along), *filled, *columns]


class UnitsBeside:
    """Draws the units that go with a picture to begin from, folded away.

    Args:
        studio: whose pictures, preprocessors and control models.
        painted: the canvas of the picture that is changed.
        part: which part of it is painted.

    Attributes:
        canvases: their own.
    """

    def __init__(self, studio: Studio, painted: gr.HTML, part: PaintedPart) -> None:
        self.studio, self._painted, self._part = studio, painted, part
        self._units: list[UnitBeside] = []
        self._folds: list[gr.Accordion] = []

    def draw(self, fit: gr.components.Component) -> None:
        """All controls; ``fit``: how the picture that is changed is fitted to the result.

        Without the feature that makes maps there are none.
        """
        if self.studio.find("conditions") is None:
            return
        self._units = [
            UnitBeside(self.studio, number, self._painted, fit, self._part)
            for number in range(1, MAX_UNITS + 1)
        ]
        for unit in self._units:
            unit.draw_wanted()
        first, *further = self._units
        with gr.Accordion(
            label("Follow lines, depth or another picture"), open=False, elem_id=f"{PREFIX}units"
        ) as whole:
            first.draw()
            self._folds = [whole]
            for unit, title in zip(further, FURTHER, strict=True):
                with gr.Accordion(label(title), open=False, elem_id=unit.name) as fold:
                    unit.draw()
                self._folds.append(fold)

    @property
    def inputs(self) -> list[gr.components.Component]:
        """The controls of the request, in the order of :meth:`data`."""
        return [each for unit in self._units for each in unit.inputs]

    @property
    def outputs(self) -> list[Any]:
        """What :meth:`fill` updates."""
        return [*(each for unit in self._units for each in unit.outputs), *self._folds]

    @property
    def canvases(self) -> list[gr.HTML]:
        return [unit.canvas for unit in self._units]

    def listen(self, base: gr.Dropdown, size: Sequence[Any], chosen: gr.events.Dependency) -> None:
        """Connect the controls; ``chosen``: the event of another base model."""
        for unit in self._units:
            unit.follow(base, *size)
        self.read_after(chosen)

    def read_after(self, event: gr.events.Dependency) -> None:
        """Make all maps anew after an event that has used :meth:`fill`."""
        for unit in self._units:
            unit.read_after(event)

    def data(self, values: Sequence[Any], painted: str, fit: str) -> list[dict[str, Any]]:
        """The units' fields, not yet checked; arguments as of :meth:`UnitBeside.data`."""
        rest = iter(values)
        units = [unit.data([next(rest) for _ in unit.inputs], painted, fit) for unit in self._units]
        return [unit for unit in units if unit is not None]

    def fill(
        self,
        units: Sequence[Mapping[str, Any]],
        base: ModelEntry,
        visitor: Visitor,
        painted: str,
        is_offered: bool = False,
    ) -> list[Any]:
        """Updates of :attr:`outputs`; the arguments are those of :meth:`UnitBeside.fill`."""
        padded = [*units, *[None] * MAX_UNITS][: len(self._units)]
        filled = [
            update
            for form, unit in zip(self._units, padded, strict=True)
            for update in form.fill(unit, base, visitor, painted, is_offered)
        ]
        return [*filled, *(gr.update(open=unit is not None) for unit in padded)]


def _show(source: str) -> list[Any]:
    """Updates of an own canvas, of all that steers, and of how an own picture is fitted."""
    is_own = source == ANOTHER
    return [
        gr.update(visible=is_own),
        gr.update(visible=source != NOTHING),
        gr.update(visible=is_own),
    ]
