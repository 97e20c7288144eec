"""Colours that a result takes over from the picture that it began from.

The definition is that of A1111 (colour correction, in its ``modules/processing.py``): the
histograms of both pictures' channels are matched in Lab, and the result keeps its own luminosity.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

_LUMINOSITY = np.array([0.3, 0.59, 0.11], np.float32)  # of red, green and blue


def match_colours(painted: Image.Image, original: Image.Image) -> Image.Image:
    """``painted`` with the colours of ``original`` and the luminosity that it has.

    Args:
        painted, original: RGB; their sizes may differ.
    """
    ours = np.asarray(painted)
    lab = cv2.cvtColor(ours, cv2.COLOR_RGB2LAB)
    wanted = cv2.cvtColor(np.asarray(original), cv2.COLOR_RGB2LAB)
    channels = [_match_histogram(lab[..., i], wanted[..., i]) for i in range(3)]
    matched = cv2.cvtColor(np.stack(channels, axis=-1), cv2.COLOR_LAB2RGB)
    colours = _set_luminosity(matched.astype(np.float32) / 255, ours.astype(np.float32) / 255)
    return Image.fromarray(np.rint(colours * 255).astype(np.uint8))


def _match_histogram(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """``values`` with those of ``wanted`` in their places: as many are below each.

    Args:
        values, wanted: uint8, of any shapes.
    """
    own, theirs = (np.bincount(each.ravel(), minlength=256) for each in (values, wanted))
    there = np.flatnonzero(theirs)
    share = np.cumsum(theirs[there]) / wanted.size
    table = np.interp(np.cumsum(own) / values.size, share, there)
    return table.astype(np.uint8)[values]


def _set_luminosity(colours: np.ndarray, of: np.ndarray) -> np.ndarray:
    """``colours`` with the luminosity of others, brought back into 0 … 1 towards grey.

    The blend mode "luminosity" of https://www.w3.org/TR/compositing-1/#blendingluminosity.

    Args:
        colours, of: (H, W, 3) in [0, 1].
    """
    wanted = of @ _LUMINOSITY
    colours = colours + (wanted - colours @ _LUMINOSITY)[..., None]
    grey = (colours @ _LUMINOSITY)[..., None]
    least, most = colours.min(-1, keepdims=True), colours.max(-1, keepdims=True)
    tiny = np.finfo(np.float32).tiny
    below = grey / np.maximum(grey - least, tiny)
    colours = np.where(least < 0, grey + (colours - grey) * below, colours)
    above = (1 - grey) / np.maximum(most - grey, tiny)
    colours = np.where(most > 1, grey + (colours - grey) * above, colours)
    return colours.clip(0, 1)
