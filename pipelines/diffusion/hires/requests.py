"""What can be asked of a hires pass: the picture made larger and painted on at that size.

No torch here: the page reads these models before any weights or heavy libraries are loaded.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipelines.core.engine import StrictModel
from pipelines.diffusion.picture_sides import side
from pipelines.upscaling.catalog import LANCZOS

LATENT_MODES = {
    "Latent": ("bilinear", False),
    "Latent (antialiased)": ("bilinear", True),
    "Latent (bicubic)": ("bicubic", False),
    "Latent (bicubic antialiased)": ("bicubic", True),
    "Latent (nearest)": ("nearest", False),
    "Latent (nearest-exact)": ("nearest-exact", False),
}
"""A1111's names of what enlarges latents → how, and whether with antialiasing."""
LEAST_LATENT_STRENGTH = 0.5  # with less, what enlarged latents lack is not painted in


class Hires(StrictModel):
    """A second pass at a larger size; what is left empty is as in the first one."""

    scale: Annotated[
        float,
        Field(
            ge=1,
            le=4,
            title="Scale",
            description="How many times as wide and as high, where no size is given.",
        ),
    ] = 2.0
    width: Annotated[
        int | None,
        side(
            "Second width", "In pixels, instead of the scale. Empty: by the height, or the scale."
        ),
    ] = None
    height: Annotated[
        int | None,
        side(
            "Second height", "In pixels, instead of the scale. Empty: by the width, or the scale."
        ),
    ] = None
    upscaler: Annotated[
        str,
        Field(
            max_length=200,
            title="Enlarge by",
            description="What makes the picture larger before it is painted on. Latent ones need "
            "a strength of at least 0.5.",
        ),
    ] = LANCZOS
    model: Annotated[
        str | None,
        Field(
            max_length=200,
            title="Second model",
            description="The base model of the second pass. Empty: as the first.",
        ),
    ] = None
    steps: Annotated[
        int | None,
        Field(
            ge=1,
            le=150,
            title="Second steps",
            description="All of them are run. Empty: as many as in the first pass.",
        ),
    ] = None
    strength: Annotated[
        float,
        Field(
            ge=0.01,
            le=1,
            title="Second strength",
            description="How much the larger picture changes: little keeps it, 1 paints anew.",
        ),
    ] = 0.7
    extra_noise: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Second extra noise",
            description="Noise that is added to the larger picture's, of which the model makes "
            "more detail (0 is none).",
        ),
    ] = 0.0
    sampler: Annotated[
        str | None,
        Field(
            max_length=100,
            title="Second sampler",
            description="Of the second pass. Empty: as the first.",
        ),
    ] = None
    schedule: Annotated[
        str | None,
        Field(
            max_length=100,
            title="Second schedule",
            description="Of the second pass. Empty: as the first.",
        ),
    ] = None
    guidance: Annotated[
        float | None,
        Field(
            ge=0,
            le=30,
            title="Second guidance",
            description="Of the second pass. Empty: as the first.",
        ),
    ] = None
    prompt: Annotated[
        str,
        Field(
            max_length=10_000,
            title="Second prompt",
            description="Of the second pass. Empty: as the first.",
        ),
    ] = ""
    negative_prompt: Annotated[
        str,
        Field(
            max_length=10_000,
            title="Second negative prompt",
            description="Of the second pass. Empty: as the first.",
        ),
    ] = ""

    @property
    def all_steps(self) -> bool:
        """As of a picture to begin from: all steps are run."""
        return True

    @property
    def is_latent(self) -> bool:
        """Whether the latents themselves are made larger."""
        return self.upscaler in LATENT_MODES

    def size_for(self, width: int, height: int, step: int = 8) -> tuple[int, int]:
        """Width and height of the second pass, multiples of ``step``, for those of the first."""
        scale_x = scale_y = self.scale
        if self.width or self.height:
            scale_x = (self.width or 0) / width
            scale_y = (self.height or 0) / height
            scale_x, scale_y = scale_x or scale_y, scale_y or scale_x
        return _round_to_step(width * scale_x, step), _round_to_step(height * scale_y, step)


def _round_to_step(side: float, step: int) -> int:
    return max(step, round(side / step) * step)
