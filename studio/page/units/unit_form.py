"""One picture to follow: what is drawn or brought in, what it is read as, and how it steers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import gradio as gr

from pipelines.core.errors import BadRequest, UserError, validate
from pipelines.core.events import Progress
from pipelines.core.matching import find_name
from pipelines.core.messages import Message
from pipelines.diffusion.control.catalog import ControlEntry
from pipelines.diffusion.control.requests import ControlUnit, MapRequest
from pipelines.diffusion.from_picture.sizes import size_like, size_step
from pipelines.models.catalog import ModelEntry
from pipelines.preprocessors import registry
from studio.page import views
from studio.page.components.canvas import canvas, picture_on
from studio.page.components.parameters import Parameters
from studio.page.units import map_views
from studio.page.widgets import QUIET, Visitor, follow_newest, from_field, label

if TYPE_CHECKING:
    from PIL import Image

    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio

LOOK_SECONDS = 0.3  # between two looks at a map that takes its time
FIRST = "scribble"  # what a drawing is read as at first; needs no weights
METHODS = (("ControlNet", "controlnet"), ("T2I-Adapter", "t2i_adapter"))
STRANGE = 3  # the distance of maps of another kind
GRIDS = {"color", "grid"}  # a preset's word and a preprocessor's for the same
_NO_MAP = "What the picture is read as is shown here."


class UnitForm:
    """Draws the controls of a :class:`ControlUnit` in two parts.

    Args:
        studio: whose pictures, preprocessors and control models.
        number: 1, 2 or 3.
        prefix: of the controls' ``elem_id``, where units stand in several tabs.

    Attributes:
        canvas: its value is the picture's id.
        map: shows what the picture is read as.
    """

    def __init__(self, studio: Studio, number: int, prefix: str = "") -> None:
        self.studio, self.number = studio, number
        self.name = f"{prefix}unit-{number}"

    @property
    def inputs(self) -> list[gr.components.Component]:
        """The controls of the request, in the order of :meth:`data`."""
        return [*self._picture, self._model, self._weight, self._start, self._end, self._mode]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What :meth:`fill` updates."""
        return [*self.inputs, self._method, self._fit, self._reading]

    @property
    def _picture(self) -> list[gr.components.Component]:
        """What the map depends on, besides its size."""
        return [self.canvas, self._preprocessor, self._resize, *self._parameters.controls]

    @property
    def _of_map(self) -> list[gr.components.Component]:
        """What the map is made of, the result's width and height last."""
        return [*self._picture, *self._size]

    def draw_picture(self) -> None:
        """The canvas, what is on it read as, and the map of that."""
        self.canvas = canvas(f"{self.name}-canvas", elem_classes="canvas")
        self._draw_reading()

    def _draw_below_map(self) -> None:
        """What stands below the map."""
        self._take_size = gr.Button(
            label("Size from picture"),
            size="sm",
            elem_id=f"{self.name}-take-size",
            elem_classes="quiet",
        )
        self._no_size = gr.HTML(elem_id=f"{self.name}-no-size", visible=False)

    def _draw_reading(self) -> None:
        """The map, and what the picture is read as."""
        first = registry.get(FIRST)
        with gr.Row(elem_classes="read-as"):
            with gr.Column(min_width=150, scale=1, elem_classes="of-map"):
                self.map = gr.HTML(
                    map_views.no_map(label(_NO_MAP)), elem_id=f"{self.name}-map", elem_classes="map"
                )
                self._draw_below_map()
            with gr.Column(min_width=180, scale=2):
                self._preprocessor = self._field(
                    "preprocessor",
                    kind=gr.Dropdown,
                    choices=[(label(a.title), a.name) for a in registry.PREPROCESSORS.values()],
                    value=FIRST,
                    info=label(first.description),
                )
                models = [
                    preprocessor.parameters for preprocessor in registry.PREPROCESSORS.values()
                ]
                with gr.Accordion(
                    label("Fine-tune"), open=False, elem_id=f"{self.name}-reading"
                ) as self._reading:
                    self._parameters = Parameters(models, first.parameters, self.name)

    def draw_steering(self) -> None:
        """The control model, and how and when it steers."""
        self._method = gr.Radio(
            list(METHODS),
            value=METHODS[0][1],
            label=label("Method"),
            info=label("ControlNets follow more closely; adapters are smaller and quicker."),
            elem_id=f"{self.name}-method",
        )
        self._model = self._field("model", kind=gr.Dropdown, choices=[], value=None, info=None)
        self._fit = gr.HTML(elem_id=f"{self.name}-fit")
        self._weight = self._field("weight")
        with gr.Accordion(label("When and how"), open=False, elem_id=f"{self.name}-more"):
            with gr.Row():
                self._start = self._field("start")
                self._end = self._field("end")
            self._resize = self._field(
                "resize_mode",
                kind=gr.Radio,
                choices=[
                    (label("Crop"), "crop"),
                    (label("Pad"), "pad"),
                    (label("Stretch"), "stretch"),
                ],
            )
            self._mode = self._field(
                "control_mode",
                kind=gr.Radio,
                choices=[
                    (label("Balanced"), "balanced"),
                    (label("Prompt first"), "prompt"),
                    (label("Map first"), "control"),
                ],
            )

    def listen(
        self, base: gr.Dropdown, width: gr.Slider, height: gr.Slider
    ) -> gr.events.Dependency:
        """Connect the controls with one another and with the form of the base model and size.

        Returns:
            The event that may have given the result another size.
        """
        self.follow(base, width, height)
        outputs = [width, height, self._no_size]
        raw = {**QUIET, "preprocess": False}
        return self._take_size.click(self._size_of, [base, self.canvas], outputs, **raw)

    def follow(self, base: gr.Dropdown, width: gr.Slider, height: gr.Slider) -> None:
        """Let the map, the models and what is said of them follow the controls."""
        self._size = [width, height]
        steering = [self._method, self._model, self._mode, self._fit]
        chosen = [base, self._preprocessor, self._method, self._model]
        raw = {**QUIET, "preprocess": False}
        read_as = self._preprocessor.input(
            self._read_as,
            chosen,
            [self._preprocessor, self._reading, *self._parameters.controls, *steering],
            **raw,
        )
        self.read_after(read_as)
        for control in (base, self._method):
            control.input(self._fit_models, chosen, steering, **raw)
        # Not its choices as well: the list of an open dropdown cannot bear to be changed.
        self._model.input(self._about, [base, self._preprocessor, self._model], self._fit, **raw)
        moments = [self.canvas.input, self._resize.input, width.change, height.change]
        moments += [control.input for control in self._parameters.controls]
        self._read_at(moments)

    def _read_at(self, moments: Sequence[Any]) -> None:
        """Make the map anew at these events."""
        follow_newest(moments, self._read, self._of_map, self.map, preprocess=False)

    def read_after(self, event: gr.events.Dependency) -> None:
        """Make the map anew when an event has changed the controls but the picture.

        Another picture tells of itself as soon as it lies on the canvas.
        """
        event.then(self._read, self._of_map, self.map, preprocess=False, **QUIET)

    def data(self, values: Sequence[Any]) -> dict[str, Any] | None:
        """The values of :attr:`inputs` as a unit's fields, not yet checked; None without a picture.

        Raises:
            NotFound: there is no such preprocessor.
            BadRequest: no control model is chosen.
        """
        *picture, model, weight, start, end, mode = values
        condition = self._condition(picture)
        if not condition["picture"]:
            return None
        if not model:
            raise BadRequest(
                "No control model is chosen for picture {number}. Choose one, or another base "
                "model where none fits.",
                number=self.number,
            )
        steering = {"model": model, "weight": weight, "start": start, "end": end}
        return {**condition, **steering, "control_mode": mode}

    def fill(self, unit: Mapping[str, Any] | None, base: ModelEntry, visitor: Visitor) -> list[Any]:
        """Updates of :attr:`outputs` that show ``unit``.

        Args:
            unit: fields of a :class:`ControlUnit`, those left out with their defaults; a picture
                that is not the visitor's or no longer here is left out. None: an empty unit.
            base: the chosen base model.
            visitor: who looks.
        """
        fields = {**_DEFAULTS, **(unit or {})}
        preprocessor = _known_preprocessor(fields["preprocessor"])
        known = {entry.name: entry for entry in self.studio.control.list_fitting(base)}
        control = known.get(fields["model"])
        method = control.method if control else None
        method, model, mode, fit = self._update_steering(
            base, preprocessor, method, control, visitor
        )
        return [
            self._here(fields["picture"], visitor),
            gr.update(value=preprocessor.name, info=label(preprocessor.description)),
            fields["resize_mode"],
            *self._parameters.show(preprocessor.parameters, fields["parameters"]),
            model,
            fields["weight"],
            fields["start"],
            fields["end"],
            {**mode, "value": fields["control_mode"]},
            method,
            fit,
            _unless_empty(preprocessor),
        ]

    # --- what the controls show -------------------------------------------------------------

    def _field(self, name: str, **options: Any) -> gr.components.Component:
        elem_id = f"{self.name}-{name.replace('_', '-')}"
        return from_field(ControlUnit, name, elem_id=elem_id, **options)

    def _here(self, picture: str, visitor: Visitor) -> str:
        try:
            return self.studio.inputs.get(visitor.owner.id, picture).id
        except UserError:
            return ""

    def _update_steering(
        self,
        base: ModelEntry,
        preprocessor: registry.Preprocessor,
        method: str | None,
        chosen: ControlEntry | None,
        visitor: Visitor,
    ) -> list[Any]:
        """Updates of method, control model, balance and the line below them.

        What does not fit the base gives way: to the model that suits the maps best, of the chosen
        method if there is one.
        """
        fitting = self.studio.control.list_fitting(base)
        methods = [entry.method for entry in fitting]
        if method not in methods:
            method = next(iter(methods), METHODS[0][1])
        entries = [entry for entry in fitting if entry.method == method]
        best = min(entries, key=lambda entry: self._rank(entry, preprocessor), default=None)
        control = chosen if chosen in entries else best
        choices = [(entry.title, entry.name) for entry in entries]
        return [
            gr.update(value=method),
            gr.update(choices=choices, value=control and control.name),
            gr.update(visible=method == "controlnet"),
            map_views.about_control(
                control, base, visitor, _remark(control, preprocessor, visitor)
            ),
        ]

    def _rank(
        self, entry: ControlEntry, preprocessor: registry.Preprocessor
    ) -> tuple[bool, bool, int]:
        """The least is the best choice: it knows such maps, it is here, it knows them best."""
        distance = _distance(entry, preprocessor)
        return distance == STRANGE, not entry.is_here(self.studio.home), distance

    def _condition(self, values: Sequence[Any]) -> dict[str, Any]:
        """The values of what the map depends on, as fields of a :class:`ConditionRequest`."""
        picture, preprocessor, resize, *parameters = values
        preprocessor = registry.get(str(preprocessor))
        return {
            "picture": picture_on(picture),
            "preprocessor": preprocessor.name,
            "parameters": self._parameters.data(preprocessor.parameters, parameters),
            "resize_mode": resize,
        }

    # --- events -----------------------------------------------------------------------------

    def _read_as(
        self, base: Any, preprocessor: Any, method: Any, model: Any, request: gr.Request
    ) -> list[Any]:
        """Another preprocessor: its parameters, and a control model that knows its maps."""
        preprocessor, chosen, entry = (
            _known_preprocessor(preprocessor),
            self._control(model),
            self._base(base),
        )
        entries = [e for e in self.studio.control.list_fitting(entry) if e.method == method]
        best = min((self._rank(e, preprocessor) for e in entries), default=None)
        if chosen is not None and self._rank(chosen, preprocessor) != best:
            chosen = None
        return [
            gr.update(info=label(preprocessor.description)),
            _unless_empty(preprocessor),
            *self._parameters.show(preprocessor.parameters, {}),
            *self._update_steering(entry, preprocessor, method, chosen, Visitor.of(request)),
        ]

    def _fit_models(
        self, base: Any, preprocessor: Any, method: Any, model: Any, request: gr.Request
    ) -> list[Any]:
        """Another base model or method."""
        chosen = self._control(model)
        visitor = Visitor.of(request)
        return self._update_steering(
            self._base(base), _known_preprocessor(preprocessor), method, chosen, visitor
        )

    def _about(self, base: Any, preprocessor: Any, model: Any, request: gr.Request) -> str:
        """Another control model."""
        visitor, control = Visitor.of(request), self._control(model)
        remark = _remark(control, _known_preprocessor(preprocessor), visitor)
        return map_views.about_control(control, self._base(base), visitor, remark)

    def _size_of(self, base: Any, picture: Any, request: gr.Request) -> list[Any]:
        """Width and height: the picture's proportions in as many pixels as the base is used to."""
        visitor = Visitor.of(request)
        try:
            if not (id := picture_on(picture)):
                raise BadRequest("There is no picture to take the size from. Bring one in.")
            brought = self.studio.inputs.get(visitor.owner.id, id)
            entry = self._base(base)
            taken = (brought.width, brought.height)
            size = size_like(taken, entry.native_size, size_step(entry))
        except UserError as error:
            said = gr.update(value=views.error(error.message, visitor), visible=True)
            return [gr.skip(), gr.skip(), said]
        return [*size, gr.update(visible=False)]

    async def _read(self, request: gr.Request, *values: Any) -> AsyncIterator[str]:
        """The map, and before it how its making goes."""
        visitor = Visitor.of(request)
        try:
            newest: list[Progress] = []
            making = asyncio.ensure_future(
                anyio.to_thread.run_sync(
                    partial(self._make_map, values, visitor.owner, newest.append)
                )
            )
            while not making.done():
                await asyncio.wait({making}, timeout=LOOK_SECONDS)
                if not making.done() and newest and newest[-1].note is not None:
                    yield views.notice(newest[-1].note, visitor)
            made = await making
            if made is None:
                yield map_views.no_map(visitor.say(_NO_MAP))
            else:
                yield map_views.condition(made, visitor)
        except UserError as error:
            yield views.error(error.message, visitor)

    def _make_map(
        self,
        values: Sequence[Any],
        owner: Owner,
        tell: Callable[[Progress], None],
        lay_out: Callable[[MapRequest], tuple[MapRequest, tuple]] = lambda wanted: (wanted, ()),
    ) -> Image.Image | None:
        """The map that values of :attr:`_of_map` ask for; None where there is no picture.

        Args:
            lay_out: the map as it is to be made, and which part of the picture is read for it.
        """
        *picture, width, height = values
        fields = self._condition(picture)
        if not fields["picture"]:
            return None
        wanted = validate(MapRequest, {**fields, "width": width, "height": height})
        wanted, part = lay_out(wanted)
        return self.studio.find("conditions").map(owner, wanted, wanted.size, tell, part)

    def _base(self, name: Any) -> ModelEntry:
        return self.studio.catalog.get(str(name))

    def _control(self, name: Any) -> ControlEntry | None:
        entries = {entry.name: entry for entry in self.studio.control.models()}
        return entries.get(str(name))


_DEFAULTS: dict[str, Any] = {
    **{
        name: field.default
        for name, field in ControlUnit.model_fields.items()
        if not field.is_required()
    },
    "picture": "",
    "model": "",
    "preprocessor": FIRST,
}


def _unless_empty(preprocessor: registry.Preprocessor) -> Any:
    """The update of the fold with its parameters."""
    return gr.update(visible=bool(preprocessor.parameters.model_fields))


def _known_preprocessor(preprocessor: Any) -> registry.Preprocessor:
    """The preprocessor of this name, or the first one where there is none."""
    return registry.get(find_name(str(preprocessor), registry.PREPROCESSORS) or FIRST)


def _distance(entry: ControlEntry, preprocessor: registry.Preprocessor) -> int:
    """How far a preprocessor's maps are from those that a control model has learnt with."""
    made, known = preprocessor.makes, entry.condition
    if made == "any":
        return 2  # whatever the picture is, its owner knows
    if entry.preprocessor == preprocessor.name:
        return 0
    if made == known:
        return 1
    alike = known == "any" or {made, known} <= registry.LINES or {made, known} <= GRIDS
    return 2 if alike else STRANGE


def _remark(
    entry: ControlEntry | None, preprocessor: registry.Preprocessor, visitor: Visitor
) -> Message | None:
    """What to say where a control model has learnt with maps of another kind, else None."""
    if entry is None or _distance(entry, preprocessor) < STRANGE:
        return None
    own = registry.PREPROCESSORS.get(entry.preprocessor)
    if own is None or own.makes == "any":
        return Message(
            "{control} has learnt with maps of another kind. Choose another control model, or "
            "“It is a map already” for such a map.",
            control=entry.title,
        )
    return Message(
        "{control} has learnt with maps of another kind. Choose another control model, or read "
        "the picture as “{preprocessor}”.",
        control=entry.title,
        preprocessor=visitor.say(own.title),
    )
