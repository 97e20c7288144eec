"""What must hold before a grid of pictures is painted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pipelines.core.errors import BadRequest, Refused, UserError
from pipelines.core.matching import name_key
from pipelines.core.messages import Message
from pipelines.diffusion.lora.use import LoraUse
from pipelines.diffusion.requests import MAX_PIXELS, TextToImageRequest
from pipelines.grids.cells import cannot_be_painted
from pipelines.grids.requests import CompareSamplersRequest, GridRequest

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio


def check_grid(studio: Studio, owner: Owner, request: GridRequest) -> GridRequest:
    """The request with the ids of all LoRAs and the names of all models of its cells.

    Raises:
        BadRequest: cells cannot be painted, or there are too many or too large ones.
        Refused: a model would have to be downloaded.
    """
    base = studio.loras.fill_in(owner.id, request.base)
    request = request.model_copy(update={"base": base, "loras": (), "models": {}})
    loras: dict[str, LoraUse] = {}
    models: dict[str, str] = {}
    reasons: dict[str, Message] = {}
    pixels = 0
    for cell in request.cells():
        checked = cell.request
        try:
            for check in studio.features.checks_of(type(checked)):
                checked = check(studio, owner, checked)
        except Refused:
            raise
        except UserError as error:
            reasons[cell.name] = error.message
            continue
        width, height = _size_of(studio, owner, checked)
        pixels += width * height
        loras |= {name_key(use.name): use for use in checked.loras}
        models[cell.request.model] = checked.model
    if reasons:
        raise cannot_be_painted(reasons)
    if pixels > MAX_PIXELS:
        raise BadRequest(
            "The pictures of the grid have {value} megapixels together; at most {limit} are "
            "painted. Take fewer or smaller ones.",
            value=round(pixels / 10**6),
            limit=MAX_PIXELS // 10**6,
        )
    known = {typed: name for typed, name in models.items() if typed != name}
    return request.model_copy(update={"loras": tuple(loras.values()), "models": known})


def _size_of(studio: Studio, owner: Owner, request: TextToImageRequest) -> tuple[int, int]:
    """Width and height of the picture that a request makes, or of what is painted for it if that
    is larger."""
    native = studio.catalog.get(request.model).native_size
    size = request.width or native, request.height or native
    if request.hires is not None:
        size = request.hires.size_for(*size)
    if (begun := request.from_picture) is None or not begun.paints_a_part:
        return size
    brought = studio.inputs.get(owner.id, begun.picture)
    whole = brought.width, brought.height
    if begun.outpaint is not None:
        left, top, right, bottom = begun.outpaint.pixels(whole)
        whole = whole[0] + left + right, whole[1] + top + bottom
    return max(size, whole, key=math.prod)


def check_comparison(
    studio: Studio, owner: Owner, request: CompareSamplersRequest
) -> CompareSamplersRequest:
    """The same for a comparison of samplers."""
    grid = check_grid(studio, owner, request.as_grid())
    return request.model_copy(update={"base": grid.base})
