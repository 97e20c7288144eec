"""What must hold before a picture is changed, or several are."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from pipelines.core.errors import BadRequest, UserError
from pipelines.core.messages import Message
from pipelines.core.pictures.inputs import open_input
from pipelines.diffusion.from_picture.sizes import change_of
from pipelines.diffusion.requests import MAX_PIXELS, ChangePicturesRequest, TextToImageRequest

if TYPE_CHECKING:
    from pathlib import Path

    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio

_REASONS = 3  # that are told of pictures that cannot be changed


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
    from pipelines.diffusion.from_picture.mask import read_mask

    try:
        read_mask(open_input(home, id), size, inverted)
    except BadRequest as error:
        return error.message
    return None


def check_changes(
    studio: Studio, owner: Owner, request: ChangePicturesRequest
) -> ChangePicturesRequest:
    """Refuses several pictures of which some cannot be changed so: names them and says why.

    Raises:
        BadRequest: some cannot, or they are too large together.
    """
    if not request.pictures:
        return request
    entry, pixels = studio.catalog.get(request.model), 0
    reasons: list[Message] = []

    def size_of(id: str) -> tuple[int, int]:
        brought = studio.inputs.get(owner.id, id)
        return brought.width, brought.height

    for number, id in enumerate(request.all_pictures(), start=1):
        try:
            own = change_of(request, id, size_of, entry)
            check_change(studio, owner, own)
        except UserError as error:
            said = Message("Picture {number}: {reason}", number=number, reason=error.message)
            reasons.append(said)
            continue
        width, height = (side or entry.native_size for side in (own.width, own.height))
        if own.hires is not None:
            width, height = own.hires.size_for(width, height)
        pixels += width * height * own.batch_count * own.batch_size
    if reasons:
        if (more := len(reasons) - _REASONS) > 0:
            reasons[_REASONS:] = [Message("(+ {count})", count=more)]
        raise BadRequest(
            "Not all of the {count} pictures can be changed so. Take these out, or change the "
            "settings. {reasons}",
            count=len(request.all_pictures()),
            reasons=reasons,
        )
    if pixels > MAX_PIXELS:
        raise BadRequest(
            "The results have {value} megapixels together; at most {limit} are painted at once. "
            "Send fewer pictures, or choose a smaller size.",
            value=round(pixels / 10**6),
            limit=MAX_PIXELS // 10**6,
        )
    return request
