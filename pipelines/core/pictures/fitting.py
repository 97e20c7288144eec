"""Pictures of other proportions than the result's: stretched, cropped or padded to fit."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from PIL import Image, ImageOps
from pydantic import Field

Resize = Annotated[
    Literal["stretch", "crop", "pad"],
    Field(
        title="Resize",
        description="How a picture of other proportions fits: stretch it, crop what stands over, "
        "or pad what is missing.",
    ),
]
Box = tuple[int, int, int, int]
"""A part of a picture: left, top, right, bottom, in pixels."""


def crop_beyond(picture: Image.Image, box: Box) -> Image.Image:
    """A part of a picture; what of it lies beyond the picture has the colours of its edge."""
    left, top, right, bottom = box
    sides = (-top, bottom - picture.height, -left, right - picture.width)
    if max(sides) <= 0:
        return picture.crop(box)
    above, below, before, behind = (max(0, side) for side in sides)
    inside = (max(0, left), max(0, top), min(right, picture.width), min(bottom, picture.height))
    pixels = np.asarray(picture.crop(inside))
    edges = [(above, below), (before, behind)] + [(0, 0)] * (pixels.ndim - 2)
    return Image.fromarray(np.pad(pixels, edges, "edge"))


def same_proportions(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two sizes (width, height) are one picture's, larger or smaller; sides are rounded."""
    off = abs(one[0] * other[1] - other[0] * one[1])
    return off <= max(one) + max(other)


def fit(
    picture: Image.Image, size: tuple[int, int], mode: str
) -> tuple[Image.Image, tuple[int, int]]:
    """The picture scaled for ``size`` and the corner where it lies on the canvas.

    ``stretch`` and ``crop`` fill the canvas; ``pad`` keeps the whole picture and its proportions,
    so what is returned is smaller than the canvas on one side.
    """
    method = Image.Resampling.LANCZOS
    if mode == "stretch":
        return picture.resize(size, method), (0, 0)
    if mode == "crop":
        return ImageOps.fit(picture, size, method), (0, 0)
    scale = min(size[0] / picture.width, size[1] / picture.height)
    inside = (
        max(1, min(size[0], round(picture.width * scale))),
        max(1, min(size[1], round(picture.height * scale))),
    )
    corner = ((size[0] - inside[0]) // 2, (size[1] - inside[1]) // 2)
    return picture.resize(inside, method), corner
