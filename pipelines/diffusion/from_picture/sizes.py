"""Sizes of results that follow a picture's proportions. No torch here."""

from __future__ import annotations

from collections.abc import Callable

from pipelines.diffusion.picture_sides import LARGEST_SIDE, LEAST_SIDE, SIZE_STEP
from pipelines.diffusion.requests import ChangePicturesRequest, ChangeRequest
from pipelines.diffusion.samplers import UNET_FAMILIES
from pipelines.models.catalog import ModelEntry

PATCHES = 32  # pixels: multiples of it suit every family's patches


def size_like(picture: tuple[int, int], native: float, step: int = SIZE_STEP) -> tuple[int, int]:
    """Width and height for a result of a picture's proportions, as far as the bounds let it.

    Args:
        picture: width and height, whatever they are.
        native: side of the squares that the base model was trained on; the result has their area.
        step: both are multiples of it.
    """
    scale = max(native / (picture[0] * picture[1]) ** 0.5, LEAST_SIDE / min(picture))
    width, height = (
        min(LARGEST_SIDE, max(LEAST_SIDE, round(side * scale / step) * step)) for side in picture
    )
    return width, height


def scaled_size(
    picture: tuple[int, int], scale: float, step: int = SIZE_STEP
) -> tuple[tuple[int, int], bool]:
    """Width and height of a result that is ``scale`` times as large as a picture.

    Args:
        picture: width and height, whatever they are.
        step: both are multiples of it.

    Returns:
        The size, and whether the bounds have changed the scale.
    """
    within = max(min(scale, LARGEST_SIDE / max(picture)), LEAST_SIDE / min(picture))
    width, height = (
        min(LARGEST_SIDE, max(LEAST_SIDE, round(side * within / step) * step)) for side in picture
    )
    return (width, height), within != scale


def size_step(entry: ModelEntry) -> int:
    """Pixels of which the sides of what a model paints are multiples, to be sure."""
    if entry.autoencoder is not None:
        return 2 * SIZE_STEP
    return SIZE_STEP if entry.family in UNET_FAMILIES else PATCHES


def change_of(
    request: ChangePicturesRequest,
    picture: str,
    size_of: Callable[[str], tuple[int, int]],
    entry: ModelEntry,
) -> ChangeRequest:
    """The request that changes one of several pictures and no other.

    Args:
        picture: its id.
        size_of: width and height of a picture by its id; raises NotFound.
        entry: the model that is to change it.
    """
    if not (request.pictures and request.own_sizes):
        return request.alone(picture)
    native = entry.native_size
    side = ((request.width or native) * (request.height or native)) ** 0.5
    return request.alone(picture, size_like(size_of(picture), side, size_step(entry)))
