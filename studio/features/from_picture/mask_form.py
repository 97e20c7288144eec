"""The controls that say how a masked part is painted, and what of the picture that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr
from pydantic import ValidationError

from pipelines.core.errors import UserError
from pipelines.core.messages import Message
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.diffusion.requests import LARGEST_SIDE, LEAST_SIDE
from studio.page import views
from studio.page.components.canvas import picture_on
from studio.page.components.mask import mask_layer, mask_on
from studio.page.widgets import QUIET, Visitor, follow_newest, from_field, label

if TYPE_CHECKING:
    from studio.core.services import Studio

FIELDS = ("area", "padding", "mask_blur", "masked_content", "gradual", "invert_mask")
_CHOICES = {
    "area": (("Whole picture", "whole"), ("Only masked", "masked")),
    "masked_content": (
        ("The picture", "original"),
        ("Surroundings", "fill"),
        ("Noise", "noise"),
        ("Nothing", "nothing"),
    ),
}


class MaskForm:
    """Draws the mask's tools below its paper, and the fields of a mask.

    Args:
        studio: whose pictures are masked.
        prefix: of the controls' ``elem_id``.

    Attributes:
        layer: its value is the mask's id.
        controls: field of :class:`FromPicture` → its control.
    """

    def __init__(self, studio: Studio, prefix: str) -> None:
        self.studio, self.prefix = studio, prefix
        self.controls: dict[str, gr.components.Component] = {}

    def draw_layer(self, paper: str) -> None:
        """The mask's tools; ``paper`` is the name of the canvas that it lies on."""
        self.layer = mask_layer(f"{self.prefix}mask", paper, elem_classes="canvas")

    def draw_fields(self) -> None:
        """How the masked part is painted, folded away."""
        with gr.Accordion(label("Mask"), open=False, elem_id=f"{self.prefix}mask-fields"):
            for name in FIELDS:
                options: dict[str, Any] = {"elem_id": self.prefix + name.replace("_", "-")}
                if name in _CHOICES:
                    choices = [(label(words), value) for words, value in _CHOICES[name]]
                    options |= {"kind": gr.Radio, "choices": choices}
                self.controls[name] = from_field(FromPicture, name, **options)
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
        inputs = [picture, self.layer, fit, *size, *self.controls.values()]
        moments = [control.change for control in (*self.controls.values(), fit, *size)]
        follow_newest([*moments, self.layer.input], self._look, inputs, self._part)

    def data(self, values: Sequence[Any], layer: Any) -> dict[str, Any]:
        """The fields of a :class:`FromPicture`, not yet checked; none where there is no mask."""
        mask = mask_on(layer)
        return {} if mask is None else {"mask": mask, **dict(zip(FIELDS, values, strict=True))}

    @staticmethod
    def fill(asked: Mapping[str, Any]) -> list[Any]:
        """Values of the controls; what ``asked`` does not name is at its default."""
        return [asked.get(name, FromPicture.model_fields[name].default) for name in FIELDS]

    def _show_js(self) -> str:
        return (
            "(blur, invert, area, fit, width, height) => {"
            f" window.atelierMasks?.['{self.layer.elem_id}']"
            "?.show({blur, invert, area, fit, width, height}); }"
        )

    def _look(self, request: gr.Request, canvas: Any, layer: Any, *values: Any) -> Any:
        """The part around the mask as it is painted, where only that is."""
        fit, width, height, *rest = values
        visitor, fields = Visitor.of(request), dict(zip(FIELDS, rest, strict=True))
        if fields["area"] != "masked":
            return gr.update(visible=False)
        try:
            picture, mask = picture_on(canvas), mask_on(layer)
            if not picture or mask is None:
                return gr.update(visible=False)
            for id in (picture, mask):
                self.studio.inputs.get(visitor.owner.id, id)
            asked = FromPicture(picture=picture, mask=mask, fit=fit, **fields)
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
        from pipelines.diffusion.from_picture.repainting import open_repainting

        part = open_repainting(asked, tuple(size), self.studio.home)
        left, top, right, bottom = part.box
        said = visitor.say(
            Message(
                "{part} pixels around the mask are painted at {size}.",
                part=f"{right - left}×{bottom - top}",
                size=f"{size[0]}×{size[1]}",
            )
        )
        return (
            f'<figure class="condition part"><img src="{views.preview_uri(part.preview())}" '
            f'alt="{escape(said)}"><figcaption>{escape(said)}</figcaption></figure>'
        )
