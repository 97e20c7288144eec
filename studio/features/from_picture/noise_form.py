"""The controls of the first noise over a picture, and of the colours of what comes of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import gradio as gr

from pipelines.diffusion.from_picture.requests import FromPicture
from studio.page.components.part_fields import PartFields
from studio.page.widgets import label

_RGB = re.compile(r"rgba?\(([\d.]+), *([\d.]+), *([\d.]+)")  # as the picker writes it while moved


class NoiseForm(PartFields):
    """Draws them, folded away: few pictures need another than the usual noise."""

    def __init__(self, prefix: str) -> None:
        super().__init__(FromPicture, prefix)

    def draw(self) -> None:
        with gr.Accordion(label("Noise and colours"), open=False, elem_id=f"{self.prefix}noise"):
            with gr.Row():
                self.draw_field("noise_multiplier", step=0.01)
                self.draw_field("extra_noise", step=0.01)
            self.draw_field("colour_correction")
            self.draw_field("background", kind=gr.ColorPicker)

    def data(self, values: Sequence[Any]) -> dict[str, Any]:
        """The fields of a :class:`FromPicture`, not yet checked; ``values``: of the controls."""
        fields = self.values_of(values)
        if colour := _RGB.match(str(fields.get("background", ""))):
            fields["background"] = "#" + "".join(
                f"{min(255, round(float(share))):02x}" for share in colour.groups()
            )
        return fields
