"""What must hold before a picture is changed."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from pipelines.core.errors import BadRequest
from pipelines.core.messages import Message
from pipelines.core.pictures.inputs import open_input
from pipelines.diffusion.requests import TextToImageRequest

if TYPE_CHECKING:
    from pathlib import Path

    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio


def check_change(studio: Studio, owner: Owner, request: TextToImageRequest) -> TextToImageRequest:
    """Refuses masks that are empty or of another picture, and pictures that would grow too large.

    Raises:
        BadRequest: one of these.
        NotFound: picture or mask are not the owner's, or have been deleted.
    """
    asked = request.from_picture
    if asked is None:
        return request
    # Only now: it brings OpenCV, which a studio that has just been started does without.
    from pipelines.diffusion.from_picture.outpainting import extended_size

    brought = studio.inputs.get(owner.id, asked.picture)
    size = brought.width, brought.height
    if asked.outpaint is not None:
        extended_size(asked.outpaint, size)
    if asked.mask is not None:
        mask = studio.inputs.get(owner.id, asked.mask).id
        if (refusal := _refusal_of_mask(studio.home, mask, size, asked.invert_mask)) is not None:
            raise BadRequest(refusal.template, **refusal.values)
    return request


@lru_cache(maxsize=1000)
def _refusal_of_mask(home: Path, id: str, size: tuple[int, int], inverted: bool) -> Message | None:
    """Why a mask does not fit a picture of ``size``, or None.

    It takes a tenth of a second to open, and each cell of a grid has the same; an id is made of
    the pixels.
    """
    from pipelines.diffusion.from_picture.masks import read_mask

    try:
        read_mask(open_input(home, id), size, inverted)
    except BadRequest as error:
        return error.message
    return None
