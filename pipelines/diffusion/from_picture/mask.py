"""Masks: read, fitted, blurred, and what is put below them at first.

No torch here: a mask can be checked, and refused, before anything is queued.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from pipelines.core.errors import BadRequest
from pipelines.core.pictures.fitting import Box, fit, same_proportions

_BLACK = 128  # of 255: what is brighter in a mask says that something new comes, as in A1111
_FILL_SIGMAS = (64.0, 16.0, 4.0, 1.0)  # pixels: far surroundings first, near ones over them


def box_around(mask: np.ndarray, padding: int, size: tuple[int, int]) -> Box:
    """The part of a picture around its mask, grown to the proportions of ``size`` where it can be.

    Args:
        mask: uint8 (H, W), not all 0.
        padding: pixels on each side.
        size: width and height at which the part is painted.
    """
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, right = max(0, columns[0] - padding), min(width, columns[-1] + 1 + padding)
    top, bottom = max(0, rows[0] - padding), min(height, rows[-1] + 1 + padding)
    proportion = size[0] / size[1]
    if (right - left) < (bottom - top) * proportion:
        left, right = _grow(left, right, round((bottom - top) * proportion), width)
    else:
        top, bottom = _grow(top, bottom, round((right - left) / proportion), height)
    return int(left), int(top), int(right), int(bottom)


def _grow(start: int, end: int, length: int, limit: int) -> tuple[int, int]:
    """A stretch of ``length`` about the same middle, pushed and then cut to 0 … ``limit``."""
    length = min(length, limit)
    start = min(max(0, (start + end - length) // 2), limit - length)
    return start, start + length


def fit_mask(mask: np.ndarray, size: tuple[int, int], mode: str) -> np.ndarray:
    """Likewise, hard; what padding adds is painted too: there is nothing to keep of it."""
    fitted, (left, top) = fit(Image.fromarray(mask), size, mode)
    whole = np.full((size[1], size[0]), 255, np.uint8)
    inside = np.where(np.asarray(fitted) > _BLACK, 255, 0)
    whole[top : top + fitted.height, left : left + fitted.width] = inside
    return whole


def read_mask(mask: Image.Image, size: tuple[int, int], inverted: bool) -> np.ndarray:
    """uint8 (H, W) of 0 and 255, of the picture's size."""
    if mask.size != size:
        # A canvas shows large pictures smaller: the same proportions are the same mask.
        if not same_proportions(mask.size, size):
            raise BadRequest(
                "The mask has {mask_width}×{mask_height} pixels and the picture {width}×{height}: "
                "they must have the same proportions. Draw the mask on this picture.",
                mask_width=mask.width,
                mask_height=mask.height,
                width=size[0],
                height=size[1],
            )
        mask = mask.resize(size, Image.Resampling.BILINEAR)
    white = np.asarray(mask.convert("L")) > _BLACK
    if inverted:
        white = ~white
    if not white.any():
        raise BadRequest(
            "The mask is empty, so nothing would change. Paint over what is to change, or send "
            "no mask to change the whole picture."
        )
    return np.where(white, 255, 0).astype(np.uint8)


def blur_mask(mask: np.ndarray, sigma: int) -> np.ndarray:
    """Gaussian, cut off at 2.5 σ.

    Raises:
        BadRequest: nothing is left of the mask.
    """
    blurred = _blur(mask, sigma)
    if not blurred.any():
        raise BadRequest(
            "The mask is so thin that a mask blur of {blur} pixels leaves nothing of it. Paint a "
            "broader mask, or blur it less.",
            blur=sigma,
        )
    return blurred


def is_dissolved(mask: np.ndarray, sigma: int) -> bool:
    """Whether :func:`blur_mask` would leave nothing of a mask."""
    return not _blur(mask, sigma).any()


def _blur(mask: np.ndarray, sigma: int) -> np.ndarray:
    if sigma == 0:
        return mask
    side = 2 * int(2.5 * sigma + 0.5) + 1
    return cv2.GaussianBlur(mask, (side, side), sigma)


def fill_masked(
    picture: Image.Image, mask: np.ndarray, start: np.ndarray | None = None
) -> Image.Image:
    """The picture with the colours of the surroundings below the mask.

    Args:
        start: (H, W, 3), what lies farther from the surroundings than they reach; None: their mean.
    """
    pixels = np.asarray(picture, np.float32)
    known = (mask == 0).astype(np.float32)
    if not known.any():
        return picture
    if start is None:
        start = pixels[known > 0].mean(axis=0)
    result = np.broadcast_to(start, pixels.shape).astype(np.float32)
    for sigma in _FILL_SIGMAS:
        weight = cv2.GaussianBlur(known, (0, 0), sigma)
        colours = cv2.GaussianBlur(pixels * known[..., None], (0, 0), sigma)
        near = colours / np.maximum(weight, 1e-6)[..., None]
        share = np.clip(weight * 4, 0, 1)[..., None]  # whole where a quarter of it is known
        result += share * (near - result)
    mixed = np.where(known[..., None] > 0, pixels, result)
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))
