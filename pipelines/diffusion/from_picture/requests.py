"""What can be asked of a picture that is to be changed: how much of it, and where.

No torch here: the page reads these models before any weights or heavy libraries are loaded.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipelines.core.engine import StrictModel
from pipelines.core.errors import BadRequest
from pipelines.core.pictures.fitting import Resize
from pipelines.core.pictures.inputs import WHITE, InputId

MaskedContent = Literal["original", "fill", "noise", "nothing"]
Area = Literal["whole", "masked"]
MAX_REFERENCES = 8  # pictures that a model is shown with an instruction
MOST_ADDED = 2048  # pixels, or percent, a side
_COLOUR = re.compile(r"#[0-9a-f]{6}")


class Outpaint(StrictModel):
    """What is added to a picture at its sides."""

    left: Annotated[int, Field(ge=0, le=MOST_ADDED, title="Left")] = 0
    top: Annotated[int, Field(ge=0, le=MOST_ADDED, title="Top")] = 0
    right: Annotated[int, Field(ge=0, le=MOST_ADDED, title="Right")] = 0
    bottom: Annotated[int, Field(ge=0, le=MOST_ADDED, title="Bottom")] = 0
    unit: Annotated[
        Literal["pixels", "percent"],
        Field(
            title="Added in",
            description="Pixels, or percent of the picture's width and height.",
        ),
    ] = "pixels"

    def pixels(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """What is added to a picture of ``size``: left, top, right, bottom."""
        sides = (self.left, self.top, self.right, self.bottom)
        if self.unit == "pixels":
            return sides
        left, top, right, bottom = (
            round(side * size[axis] / 100) for side, axis in zip(sides, (0, 1, 0, 1), strict=True)
        )
        return left, top, right, bottom


def _or_nothing(outpaint: Outpaint | None) -> Outpaint | None:
    """None where nothing is added at any side."""
    if outpaint is None:
        return None
    return outpaint if outpaint.pixels((100, 100)) != (0, 0, 0, 0) else None


def _as_colour(text: str) -> str:
    """A colour in small letters."""
    colour = text.strip().lower()
    if not _COLOUR.fullmatch(colour):
        raise BadRequest(
            "The background cannot be {value}: write it as #rrggbb, such as {example} for white.",
            value=text[:40],
            example=WHITE,
        )
    return colour


class FromPicture(StrictModel):
    """A picture to begin from, and the mask of what of it may change."""

    picture: Annotated[
        InputId, Field(title="Picture", description="The id of an uploaded picture or drawing.")
    ]
    strength: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Strength",
            description="How much changes: 0 leaves the picture as it is, 1 paints anew.",
        ),
    ] = 0.75
    all_steps: Annotated[
        bool | None,
        Field(
            title="Always run all steps",
            description="Spread the steps over the part that the strength leaves, instead of "
            "leaving out the first ones. Empty: where there are few.",
        ),
    ] = None
    fit: Resize = "crop"
    mask: Annotated[
        InputId | None,
        Field(
            title="Mask",
            description="The id of an uploaded picture that is white where something new comes. "
            "Everything else stays as it is, pixel by pixel.",
        ),
    ] = None
    invert_mask: Annotated[
        bool,
        Field(title="Invert the mask", description="Something new comes where the mask is black."),
    ] = False
    mask_blur: Annotated[
        int,
        Field(
            ge=0,
            le=64,
            title="Mask blur",
            description="Pixels over which new and old go into one another.",
        ),
    ] = 4
    gradual: Annotated[
        bool,
        Field(
            title="Gradual edges",
            description="Where the mask is blurred, fewer steps change the picture, instead of "
            "mixing both pictures.",
        ),
    ] = False  # mixing leaves less of a seam: benchmarks/inpaint.py has the figures
    masked_content: Annotated[
        MaskedContent,
        Field(
            title="Begin with",
            description="What lies below the mask at first: the picture, its surroundings' "
            "colours, noise, or nothing. Strength 1 leaves nothing of the picture there: the "
            "surroundings' colours take its place.",
        ),
    ] = "original"
    area: Annotated[
        Area,
        Field(
            title="Area",
            description="Paint the whole picture, at the size that is chosen, or only the part "
            "around the mask at that size: then the picture keeps its own.",
        ),
    ] = "whole"
    mask_weight: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Conditional mask weight",
            description="How far models for inpainting are not shown what lies below the mask: 1 "
            "hides it wholly.",
        ),
    ] = 1.0
    edit: Annotated[
        bool | None,
        Field(
            title="Edit by words",
            description="Show the picture to the model, and say in the prompt what is to change. "
            "Empty: where the model does nothing else.",
        ),
    ] = None
    references: Annotated[
        tuple[InputId, ...],
        Field(
            max_length=MAX_REFERENCES - 1,
            title="Further pictures",
            description="The ids of uploaded pictures that the prompt may speak of, too: picture "
            "2, 3 …",
        ),
    ] = ()
    padding: Annotated[
        int,
        Field(
            ge=0,
            le=256,
            title="Padding",
            description="Pixels around the mask that are painted along when only that part is.",
        ),
    ] = 32
    noise_multiplier: Annotated[
        float,
        Field(
            ge=0,
            le=1.5,
            title="Noise multiplier",
            description="How strong the first noise over the picture is. Below 1 the result has "
            "less detail and is smoother, above 1 more.",
        ),
    ] = 1.0
    extra_noise: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Extra noise",
            description="Noise that is added to the first one, of which the model makes more "
            "detail (0 is none).",
        ),
    ] = 0.0
    colour_correction: Annotated[
        bool,
        Field(
            title="Colour correction",
            description="The result takes over the picture's colours and keeps its own brightness.",
        ),
    ] = False
    background: Annotated[
        str,
        AfterValidator(_as_colour),
        Field(
            title="Background",
            description="The colour that lies behind transparent parts of the picture, as #rrggbb.",
        ),
    ] = WHITE
    outpaint: Annotated[
        Outpaint | None,
        AfterValidator(_or_nothing),
        Field(
            title="Outpaint",
            description="What is painted at the picture's sides, so that it grows. The prompt "
            "describes the whole scene, not just what is new. Strengths of 0.8 and more work best, "
            "with the starter 1. Of the whole picture, it is painted at its own size.",
        ),
    ] = None

    @property
    def paints_a_part(self) -> bool:
        """Whether what is painted is not just the picture: a part of it, or more than it."""
        return self.outpaint is not None or (self.area == "masked" and self.mask is not None)

    def inputs(self) -> list[str]:
        """The ids of the uploaded pictures."""
        masks = [] if self.mask is None else [self.mask]
        return [self.picture, *masks, *self.references]
