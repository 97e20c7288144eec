"""The controls of an optional part of a request, such as a variation of its seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from pydantic import BaseModel

from pipelines.diffusion.details.requests import DetailFix
from pipelines.diffusion.seeds import RANDOM, Variation
from studio.page.widgets import from_field, label


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
        """The values of :attr:`inputs` by their fields; empty ones are left out."""
        named = zip(self.controls, values, strict=True)
        return {name: value for name, value in named if value not in (None, "")}

    def fill(self, part: Mapping[str, Any] | None) -> list[Any]:
        """Updates of :attr:`inputs` that show a part, or that there is none."""
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

    def fill(self, part: Mapping[str, Any] | None) -> list[Any]:
        return [gr.update(value=part is not None), *super().fill(part)]
