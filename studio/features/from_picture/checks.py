"""What must hold before a picture is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.core.pictures.inputs import open_input
from pipelines.diffusion.requests import TextToImageRequest

if TYPE_CHECKING:
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
    # Only now: they bring OpenCV, which a studio that has just been started does without.
    from pipelines.diffusion.from_picture.masks import read_mask
    from pipelines.diffusion.from_picture.outpainting import extended_size

    brought = studio.inputs.get(owner.id, asked.picture)
    size = brought.width, brought.height
    if asked.outpaint is not None:
        extended_size(asked.outpaint, size)
    if asked.mask is not None:
        studio.inputs.get(owner.id, asked.mask)
        read_mask(open_input(studio.home, asked.mask), size, asked.invert_mask)
    return request
