"""The controls that say how a masked part is painted, and what of the picture that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr
from pydantic import ValidationError

from pipelines.core.errors import UserError
from pipelines.core.messages import Message
from pipelines.diffusion.from_picture.requests import MOST_ADDED, FromPicture, Outpaint
from pipelines.diffusion.picture_sides import LARGEST_SIDE, LEAST_SIDE
from studio.page import views
from studio.page.components.canvas import picture_on
from studio.page.components.mask import mask_layer, mask_on
from studio.page.units.beside import PaintedPart
from studio.page.widgets import QUIET, Visitor, follow_newest, from_field, help_text, label

if TYPE_CHECKING:
    from studio.core.services import Studio

SIDES = ("left", "top", "right", "bottom")
FIELDS = ("area", "padding", "mask_blur", "masked_content", "gradual", "invert_mask", "mask_weight")
_CHOICES = {
    "area": (("Whole picture", "whole"), ("Only masked", "masked")),
    "masked_content": (
        ("The picture", "original"),
        ("Surroundings", "fill"),
        ("Noise", "noise"),
        ("Nothing", "nothing"),
    ),
}
_PROMPT_OF_A_PART = (
    "The prompt describes the whole scene, not just what is new below the mask. Full strength "
    "works best for something new, with the starter above all. To take something away, begin with "
    "its surroundings, at a strength of about 0.3."
)


class MaskForm:
    """Draws the mask's tools below its canvas, and the fields of a mask.

    Args:
        studio: whose pictures are masked.
        prefix: of the controls' ``elem_id``.

    Attributes:
        layer: its value is the mask's id.
        controls: field of :class:`FromPicture` → its control.
        sides: field of :class:`Outpaint` → its control.
    """

    def __init__(self, studio: Studio, prefix: str) -> None:
        self.studio, self.prefix = studio, prefix
        self.controls: dict[str, gr.components.Component] = {}
        self.sides: dict[str, gr.components.Component] = {}

    def draw_layer(self, canvas: str) -> None:
        """The mask's tools; ``canvas`` is the name of the one that it lies on."""
        self.layer = mask_layer(f"{self.prefix}mask", canvas, elem_classes="canvas")

    def draw_fields(self) -> None:
        """How the masked part is painted, folded away."""
        with gr.Accordion(label("Mask"), open=False, elem_id=f"{self.prefix}mask-fields"):
            gr.HTML(label(_PROMPT_OF_A_PART), elem_classes="hint")
            for name in FIELDS:
                options: dict[str, Any] = {"elem_id": self.prefix + name.replace("_", "-")}
                if name in _CHOICES:
                    choices = [(label(words), value) for words, value in _CHOICES[name]]
                    options |= {"kind": gr.Radio, "choices": choices}
                self.controls[name] = from_field(FromPicture, name, **options)
        with gr.Accordion(label("Outpaint"), open=False, elem_id=f"{self.prefix}outpaint"):
            gr.HTML(label(help_text(FromPicture.model_fields["outpaint"])), elem_classes="hint")
            with gr.Row():
                for side in SIDES:
                    self.sides[side] = from_field(
                        Outpaint, side, kind=gr.Number, value=0, minimum=0, maximum=MOST_ADDED,
                        precision=0, min_width=70, elem_id=f"{self.prefix}{side}", info=None,
                    )  # fmt: skip
            self.sides["unit"] = from_field(
                Outpaint, "unit", kind=gr.Radio, elem_id=f"{self.prefix}unit",
                choices=[(label("Pixels"), "pixels"), (label("Percent"), "percent")],
            )  # fmt: skip
        self._part = gr.HTML(elem_id=f"{self.prefix}part", visible=False)

    def listen(
        self, picture: gr.HTML, fit: gr.components.Component, size: Sequence[Any], filled: Any
    ) -> None:
        """Show how far the mask is blurred, and what of the picture is painted.

        Args:
            picture: the canvas.
            fit: how the picture is fitted to the result.
            size: controls of the result's width and height.
            filled: an event that may have given the controls other values.
        """
        shown = [self.controls[name] for name in ("mask_blur", "invert_mask", "area")]
        shown += [fit, *size]
        js = self._show_js()
        for control in shown:
            control.change(None, shown, None, js=js, **QUIET)
        filled(None, shown, None, js=js, **QUIET)
        sides = list(self.sides.values())
        for side in sides:
            side.change(None, sides, None, js=self._extend_js(picture), **QUIET)
        filled(None, sides, None, js=self._extend_js(picture), **QUIET)
        inputs = [picture, self.layer, fit, *size, *self.inputs]
        moments = [control.change for control in (*self.inputs, fit, *size)]
        moments.append(picture.input)
        follow_newest([*moments, self.layer.input], self._look, inputs, self._part)

    @property
    def inputs(self) -> list[gr.components.Component]:
        """The controls of the fields, in the order of :meth:`data`."""
        return [*self.controls.values(), *self.sides.values()]

    def data(self, values: Sequence[Any], layer: Any) -> dict[str, Any]:
        """The fields of a :class:`FromPicture`, not yet checked.

        Without a mask, and with nothing to be added, there are none.
        """
        mask, outpaint = mask_on(layer), self._outpaint(values[len(FIELDS) :])
        if mask is None and outpaint is None:
            return {}
        fields = dict(zip(FIELDS, values[: len(FIELDS)], strict=True))
        return {"mask": mask, "outpaint": outpaint, **fields}

    @property
    def painted_part(self) -> PaintedPart:
        """Which part of a picture is painted, for what follows it."""
        at = 1 + len(FIELDS)  # after the mask and its fields
        paints = (
            f'(values) => values[1 + {FIELDS.index("area")}] === "masked" && values[0] !== ""'
            f" || values.slice({at}, {at + len(SIDES)}).some((side) => side > 0)"
        )
        return PaintedPart(
            [self.layer, *self.inputs], paints, lambda values: self.data(values[1:], values[0])
        )

    @staticmethod
    def fill(asked: Mapping[str, Any]) -> list[Any]:
        """Values of :attr:`inputs`; what ``asked`` does not name is at its default."""
        outpaint = asked.get("outpaint") or {}
        return [
            *(asked.get(name, FromPicture.model_fields[name].default) for name in FIELDS),
            *(outpaint.get(name, field.default) for name, field in Outpaint.model_fields.items()),
        ]

    def _outpaint(self, values: Sequence[Any]) -> dict[str, Any] | None:
        sides = dict(zip(self.sides, values, strict=True))
        # An emptied box is a side at which nothing is added.
        sides |= {side: sides[side] or 0 for side in SIDES}
        return sides if any(sides[side] for side in SIDES) else None

    @staticmethod
    def _extend_js(picture: gr.HTML) -> str:
        return (
            "(left, top, right, bottom, unit) => {"
            f" window.atelierDrawings?.['{picture.elem_id}']"
            "?.extend({left, top, right, bottom, unit}); }"
        )

    def _show_js(self) -> str:
        return (
            "(blur, invert, area, fit, width, height) => {"
            f" window.atelierMasks?.['{self.layer.elem_id}']"
            "?.show({blur, invert, area, fit, width, height}); }"
        )

    def _look(self, request: gr.Request, canvas: Any, layer: Any, *values: Any) -> Any:
        """The part around the mask as it is painted, where only that is."""
        fit, width, height, *rest = values
        visitor = Visitor.of(request)
        try:
            picture, fields = picture_on(canvas), self.data(rest, layer)
            if not picture or not fields:
                return gr.update(visible=False)
            asked = FromPicture(picture=picture, fit=fit, **fields)
            if not asked.paints_a_part:
                return gr.update(visible=False)
            for id in asked.inputs():
                self.studio.inputs.get(visitor.owner.id, id)
            size = [int(side) for side in (width, height)]
            if min(size) < LEAST_SIDE or max(size) > LARGEST_SIDE:
                return gr.update(visible=False)
            return gr.update(value=self._picture_of(asked, size, visitor), visible=True)
        except (ValidationError, TypeError, ValueError):  # being typed
            return gr.update(visible=False)
        except UserError as error:
            return gr.update(value=views.error(error.message, visitor), visible=True)

    def _picture_of(self, asked: FromPicture, size: Sequence[int], visitor: Visitor) -> str:
        # The engine's modules bring torch, which the page does without.
        from pipelines.diffusion.from_picture.outpainting import size_for
        from pipelines.diffusion.from_picture.repainting import open_repainting

        size = size_for(asked, tuple(size), self.studio.home)
        part = open_repainting(asked, size, self.studio.home)
        left, top, right, bottom = part.box
        what = "{part} pixels around the mask are painted at {size}."
        if asked.outpaint is not None and asked.area == "whole":
            what = "The picture becomes {part} pixels large: what is striped is painted."
        values = {"part": f"{right - left}×{bottom - top}", "size": f"{size[0]}×{size[1]}"}
        said = visitor.say(Message(what, **values))
        return (
            f'<figure class="condition part"><img src="{views.preview_uri(part.preview())}" '
            f'alt="{escape(said)}"><figcaption>{escape(said)}</figcaption></figure>'
        )
