"""How large pictures become."""

from __future__ import annotations

from pipelines.core.errors import BadRequest
from pipelines.upscaling.requests import MAX_PIXELS


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Width and height of a picture after upscaling.

    Raises:
        BadRequest: there are more pixels than can be had.
    """
    width, height = (max(1, round(side * scale)) for side in size)
    if width * height > MAX_PIXELS:
        raise BadRequest(
            "{scale} times {width}×{height} pixels are {megapixels} megapixels; at most {limit} "
            "can be had. Lower the scale.",
            scale=scale,
            width=size[0],
            height=size[1],
            megapixels=round(width * height / 1e6, 1),
            limit=round(MAX_PIXELS / 1e6, 1),
        )
    return width, height
