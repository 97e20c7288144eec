"""The controls of an optional part of a request, such as a variation of its seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr
from pydantic import BaseModel

from pipelines.diffusion.details.requests import DetailFix
from pipelines.diffusion.hires.requests import LATENT_MODES, Hires
from pipelines.diffusion.samplers import samplers_in
from pipelines.diffusion.seeds import RANDOM, Variation
from pipelines.upscaling.catalog import LANCZOS, Upscalers
from studio.page.widgets import QUIET, Visitor, from_field, label

if TYPE_CHECKING:
    from studio.core.services import Studio

AS_FIRST = ""


class PartFields:
    """Draws controls for fields of a part, and keeps them together.

    Args:
        model: the class of the part.
        prefix: of the controls' ``elem_id``.

    Attributes:
        controls: field → control.
    """

    def __init__(self, model: type[BaseModel], prefix: str) -> None:
        self.model, self.prefix = model, prefix
        self.controls: dict[str, gr.components.Component] = {}

    @property
    def inputs(self) -> list[gr.components.Component]:
        return list(self.controls.values())

    def draw_field(self, name: str, **options: Any) -> None:
        elem_id = f"{self.prefix}{name.replace('_', '-')}"
        self.controls[name] = from_field(self.model, name, elem_id=elem_id, **options)

    def values_of(self, values: Sequence[Any]) -> dict[str, Any]:
        """The values of :attr:`controls` by their fields; empty ones are left out.

        An empty number may come as 0, which fields that can be empty do not take.
        """
        fields = self.model.model_fields
        return {
            name: value
            for name, value in zip(self.controls, values, strict=True)
            if value not in (None, "") and (value or fields[name].default is not None)
        }

    def fill(self, part: Mapping[str, Any] | None, visitor: Visitor | None = None) -> list[Any]:
        """Updates of :attr:`inputs` that show a part, or that there is none.

        Args:
            visitor: who sees it; None: nobody in particular.
        """
        part = part or {}
        fields = self.model.model_fields
        return [gr.update(value=part.get(name, fields[name].default)) for name in self.controls]


class VariationFields(PartFields):
    """The second seed that is mixed into the first one's noise; it is off at strength 0."""

    def __init__(self, prefix: str) -> None:
        super().__init__(Variation, f"{prefix}variation-")

    def draw(self) -> None:
        with gr.Accordion(label("Variation"), open=False, elem_id=f"{self.prefix}fold"):
            with gr.Row():
                self.draw_field("seed", kind=gr.Number)
                self.draw_field("strength", step=0.01)
            with gr.Row():
                self.draw_field("width", kind=gr.Number)
                self.draw_field("height", kind=gr.Number)

    def data(self, values: Sequence[Any]) -> dict[str, Any] | None:
        """The part of a request, not yet checked; None where it would change nothing."""
        part = self.values_of(values)
        if not part.get("strength") and not {"width", "height"} & part.keys():
            return None
        return {"seed": RANDOM, **part}


_ORDERS = (
    ("Surest first", "confidence"),
    ("From the left", "left"),
    ("From the middle", "centre"),
    ("Largest first", "area"),
)


class DetailFields(PartFields):
    """Which parts of the finished picture are repainted, and how; off until it is ticked."""

    def __init__(self, prefix: str) -> None:
        super().__init__(DetailFix, f"{prefix}details-")

    def draw(self) -> None:
        with gr.Accordion(label("Fix details"), open=False, elem_id=f"{self.prefix}fold"):
            self._on = gr.Checkbox(
                False,
                label=label("Find the toys of the finished picture and repaint each by itself"),
                elem_id=f"{self.prefix}on",
            )
            self.draw_field("prompt", lines=1, max_lines=4)
            self.draw_field("negative_prompt", lines=1, max_lines=4)
            self.draw_field("strength", step=0.01)
            with gr.Row():
                self.draw_field("confidence", step=0.01)
                self.draw_field("most")
            choices = [(label(words), value) for words, value in _ORDERS]
            self.draw_field("order", kind=gr.Radio, choices=choices)
            with gr.Row():
                self.draw_field("grow")
                self.draw_field("mask_blur")
                self.draw_field("padding")

    @property
    def inputs(self) -> list[gr.components.Component]:
        return [self._on, *super().inputs]

    def data(self, values: Sequence[Any]) -> dict[str, Any] | None:
        """The part of a request, not yet checked; None where nothing is to be fixed."""
        is_on, *rest = values
        return self.values_of(rest) if is_on else None

    def fill(self, part: Mapping[str, Any] | None, visitor: Visitor | None = None) -> list[Any]:
        return [gr.update(value=part is not None), *super().fill(part)]


class HiresFields(PartFields):
    """The second pass at a larger size, behind a switch.

    Args:
        models: ``models(visitor)``, the titles and names of those that can be chosen.
    """

    def __init__(
        self,
        studio: Studio,
        prefix: str,
        models: Callable[[Visitor | None], list[tuple[str, str]]],
    ) -> None:
        super().__init__(Hires, f"{prefix}hires-")
        self.studio, self._models = studio, models
        self._switch: gr.Checkbox | None = None

    @property
    def inputs(self) -> list[gr.components.Component]:
        return [self._switch, *super().inputs]

    def draw(self) -> None:
        samplers = samplers_in(self.studio.home)
        same = (label("As the first"), AS_FIRST)
        with gr.Accordion(label("Hires pass"), open=False, elem_id=f"{self.prefix}fold") as fold:
            self._switch = gr.Checkbox(
                False, label=label("Paint on at a larger size"), elem_id=f"{self.prefix}on"
            )
            with gr.Row():
                self.draw_field("scale", step=0.05)
                self.draw_field("strength", step=0.01)
            with gr.Row():
                self.draw_field("upscaler", kind=gr.Dropdown, choices=self.upscalers())
                names = self._model_choices(None)
                self.draw_field("model", kind=gr.Dropdown, choices=names, value=AS_FIRST)
            with gr.Row():
                self.draw_field("steps", kind=gr.Number)
                self.draw_field("extra_noise", step=0.01)
            with gr.Row():
                self.draw_field("width", kind=gr.Number)
                self.draw_field("height", kind=gr.Number)
            with gr.Row():
                names = [same, *((each.name, each.name) for each in samplers)]
                self.draw_field("sampler", kind=gr.Dropdown, choices=names, value=AS_FIRST)
                names = [same, *((each, each) for each in samplers.schedules)]
                self.draw_field("schedule", kind=gr.Dropdown, choices=names, value=AS_FIRST)
                self.draw_field("guidance", kind=gr.Number)
            self.draw_field("prompt", lines=2, max_lines=8)
            self.draw_field("negative_prompt", lines=2, max_lines=8)
        own = [self.controls["upscaler"], self.controls["model"]]
        fold.expand(self._offer, own, own, **QUIET)

    def upscalers(self) -> list[str]:
        """What can be chosen to enlarge by: networks, what computes, and A1111's latent ones."""
        return [*(entry.name for entry in Upscalers(self.studio.home).list()), *LATENT_MODES]

    def data(self, values: Sequence[Any]) -> dict[str, Any] | None:
        """The part of a request, not yet checked; None where it is switched off."""
        return self.values_of(values[1:]) if values[0] else None

    def fill(self, part: Mapping[str, Any] | None, visitor: Visitor | None = None) -> list[Any]:
        known = dict(part or {})
        names = self.upscalers()
        if known.get("upscaler") not in names:
            known.pop("upscaler", None)
        for name in ("sampler", "schedule"):
            known[name] = known.get(name) or AS_FIRST
        updates = super().fill(known)
        at = list(self.controls).index("upscaler")
        updates[at] = gr.update(choices=names, value=known.get("upscaler", LANCZOS))
        models = self._model_choices(visitor)
        called = [name for title, name in models if known.get("model") in (name, title)]
        at = list(self.controls).index("model")
        updates[at] = gr.update(choices=models, value=next(iter(called), AS_FIRST))
        return [gr.update(value=part is not None), *updates]

    def _model_choices(self, visitor: Visitor | None) -> list[tuple[Any, str]]:
        return [(label("As the first"), AS_FIRST), *self._models(visitor)]

    def _offer(self, upscaler: str | None, model: str | None, request: gr.Request) -> list[Any]:
        """The folders of upscalers and models may have changed."""
        names, models = self.upscalers(), self._model_choices(Visitor.of(request))
        here = any(model == name for _, name in models)
        return [
            gr.update(choices=names, value=upscaler if upscaler in names else LANCZOS),
            gr.update(choices=models, value=model if here else AS_FIRST),
        ]
