"""A picture made larger at its sides: how large, and what lies there before it is painted."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pipelines.core.errors import BadRequest
from pipelines.core.pictures.inputs import open_input
from pipelines.diffusion.from_picture.mask import fill_masked
from pipelines.diffusion.from_picture.requests import FromPicture, Outpaint
from pipelines.diffusion.from_picture.sizes import PATCHES
from pipelines.diffusion.picture_sides import LARGEST_SIDE, LEAST_SIDE
from pipelines.diffusion.requests import TextToImageRequest

_EDGE_SIGMA = 16.0  # pixels: how far the colours of the picture's edge run into one another
_FAR = 64.0  # pixels from the picture from where on the fill has all of its noise
_GRAIN = 8  # pixels a side of a grain of that noise: an autoencoder would lose finer ones
_NOISE = 0.5  # of the deviation of the picture's colours


def extended_size(outpaint: Outpaint, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of a picture of ``size`` with what is added to it.

    Raises:
        BadRequest: a side would be longer than any picture that is painted.
    """
    left, top, right, bottom = outpaint.pixels(size)
    width, height = size[0] + left + right, size[1] + top + bottom
    if max(width, height) > LARGEST_SIDE:
        raise BadRequest(
            "With what is added, the picture of {was} would have {width}×{height} pixels; at most "
            "{limit} a side are painted. Add less, or make the picture smaller first.",
            was=f"{size[0]}×{size[1]}",
            width=width,
            height=height,
            limit=LARGEST_SIDE,
        )
    return width, height


def painted_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size at which a picture of ``size`` is painted whole; what is more is cut off again."""
    width, height = (max(LEAST_SIDE, -(-side // PATCHES) * PATCHES) for side in size)
    return width, height


def size_for(asked: FromPicture, size: tuple[int, int], home: Path) -> tuple[int, int]:
    """The size at which a change is painted: ``size``, or a picture's own that grows as a whole.

    Raises:
        BadRequest, NotFound: as :func:`extended_size` and :func:`open_input` do.
    """
    if asked.outpaint is None:
        return size
    grown = extended_size(asked.outpaint, open_input(home, asked.picture).size)
    return size if asked.area == "masked" else painted_size(grown)


def resize_to(request: TextToImageRequest, home: Path) -> TextToImageRequest:
    """The request with the size at which a picture that grows is painted.

    Raises:
        BadRequest, NotFound: as :func:`extended_size` and :func:`open_input` do.
    """
    asked = request.from_picture
    if asked is None or asked.outpaint is None:
        return request
    width, height = size_for(asked, (request.width, request.height), home)
    return request.model_copy(update={"width": width, "height": height})


def extend(picture: Image.Image, outpaint: Outpaint) -> tuple[Image.Image, np.ndarray]:
    """The picture with what is added, and where that is: uint8 (H, W), 255 in what is new.

    The new parts go on with the colours of the edge, the more blurred the farther from it, and
    have some noise far from it, so that something can come of them.
    """
    left, top, right, bottom = outpaint.pixels(picture.size)
    pixels = np.asarray(picture)
    edged = cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_REPLICATE)
    new = np.full(edged.shape[:2], 255, np.uint8)
    inside = np.s_[top : top + picture.height, left : left + picture.width]
    new[inside] = 0
    start = cv2.GaussianBlur(edged.astype(np.float32), (0, 0), _EDGE_SIGMA)
    filled = np.asarray(fill_masked(Image.fromarray(edged), new, start), np.float32)
    distance = cv2.distanceTransform(new, cv2.DIST_L2, 5)
    grains = np.random.default_rng(0).normal(
        size=(-(-new.shape[0] // _GRAIN), -(-new.shape[1] // _GRAIN), 3)
    )
    noise = np.kron(grains, np.ones((_GRAIN, _GRAIN, 1)))[: new.shape[0], : new.shape[1]]
    noise *= pixels.reshape(-1, 3).std(axis=0) * _NOISE
    result = filled + noise * np.clip(distance / _FAR, 0, 1)[..., None]
    result[inside] = pixels
    return Image.fromarray(np.rint(result).clip(0, 255).astype(np.uint8)), new


def band(new: np.ndarray, blur: int) -> np.ndarray:
    """A mask of what is new and of a band of the picture beside it.

    Blurred by ``blur`` it is still whole in what is new: old and new go into one another within
    the picture.
    """
    radius = int(2.5 * blur + 0.5)
    return cv2.dilate(new, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)) if radius else new
