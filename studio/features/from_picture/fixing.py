"""A picture of the gallery whose details are fixed, at one press."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from PIL import Image

from pipelines.core.errors import NotFound
from pipelines.diffusion.from_picture.sizes import size_step
from pipelines.diffusion.picture_sides import LARGEST_SIDE, LEAST_SIDE, SIZE_STEP
from pipelines.diffusion.requests import TextToImageRequest
from studio.core.exchange import PICTURE, Target
from studio.page.components.canvas import bring_from_gallery

if TYPE_CHECKING:
    from studio.core.gallery.gallery import SavedPicture
    from studio.core.services import Studio
    from studio.page.widgets import Visitor

FIX = Target(PICTURE, "fix", "Fix details")
_LEFT_OUT = ("variation", "hires")  # they are in the picture already


def fix_of(studio: Studio, visitor: Visitor, row: SavedPicture) -> dict[str, Any] | None:
    """The fields of a request that fixes a picture's details; None where nobody painted it.

    The picture is begun from with strength 0, which leaves it as it is until its parts are found.
    """
    if "prompt" not in row.request:
        return None
    [brought] = bring_from_gallery(studio, visitor, row.id)
    try:
        step = size_step(studio.catalog.get(row.request.get("model", "")))
    except NotFound:  # it is said when the request is sent
        step = SIZE_STEP
    return fix_fields(row.request, brought.id, (brought.width, brought.height), lambda size: (
        studio.inputs.bring(visitor.owner.id, _white(size)).id
    ), step)  # fmt: skip


def fix_fields(
    request: Mapping[str, Any],
    picture: str,
    size: tuple[int, int],
    whole_mask: Any,
    step: int = SIZE_STEP,
) -> dict[str, Any]:
    """The same for a picture's request, the id of its copy, and its width and height.

    Args:
        whole_mask: ``whole_mask(size)``: the id of a mask of the whole picture.
        step: pixels of which the sides of what the model paints are multiples.
    """
    known = TextToImageRequest.model_fields
    fields = {name: value for name, value in request.items() if name in known}
    fields |= {name: None for name in _LEFT_OUT if name in known}
    begun = {"picture": picture, "strength": 0.0}
    if all(LEAST_SIDE <= side <= LARGEST_SIDE and side % step == 0 for side in size):
        fields["width"], fields["height"] = size
    else:  # no such size is painted: the picture stays whole below a mask
        begun |= {"mask": whole_mask(size), "area": "masked"}
    changes = {"batch_count": 1, "batch_size": 1, "from_picture": begun}
    return {**fields, **changes, "detail_fix": request.get("detail_fix") or {}}


def _white(size: tuple[int, int]) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, "white").save(data, format="PNG")
    return data.getvalue()
