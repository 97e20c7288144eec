"""The size at which a network reads a picture, and the way back."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

LONGEST = 2048  # pixels of the longer side; beyond it networks run out of memory


def read_at(picture: Image.Image, resolution: int, multiple: int = 64) -> np.ndarray:
    """``picture`` scaled so that its shorter side has about ``resolution`` pixels (0: its own).

    Args:
        multiple: of which both sides are, as the network needs it.

    Returns:
        uint8 (H, W, 3).
    """
    scale = (resolution or min(picture.size)) / min(picture.size)
    scale = min(scale, LONGEST / max(picture.size))
    size = tuple(max(multiple, round(side * scale / multiple) * multiple) for side in picture.size)
    return resize_to(np.asarray(picture), size)


def resize_to(pixels: np.ndarray, size: tuple[int, int], keep_colours: bool = False) -> np.ndarray:
    """``pixels`` at ``size`` (width, height), smoothly unless its colours stand for classes."""
    if keep_colours:
        return cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST)
    smaller = size[0] * size[1] < pixels.shape[0] * pixels.shape[1]
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def as_map(pixels: np.ndarray, size: tuple[int, int], keep_colours: bool = False) -> Image.Image:
    """What a network has drawn, (H, W) or (H, W, 3) uint8, as an RGB map of ``size``."""
    return Image.fromarray(resize_to(pixels, size, keep_colours)).convert("RGB")
