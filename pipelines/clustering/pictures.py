"""A picture's pixels as points in CIELAB, and the picture painted in its clusters' colours.

CIELAB (CIE 1976 L*a*b*, D65, from sRGB): L* is 0 … 100, a* and b* about −110 … 110; equal
distances look about equally large.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipelines.clustering.datasets import Dataset
from pipelines.errors import BadRequest, Stopped

FIT_PIXELS = 50_000  # that a palette is found from
_BLOCK = 1 << 16
_OPAQUE = 128  # alpha from which a pixel's colour counts


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """A picture taken apart.

    Attributes:
        lab: (n, 3) float64: L*, a*, b* of its opaque pixels, row by row.
        rgb: (height, width, 3) uint8.
        alpha: (height, width) uint8, or None if the picture is opaque.
        opaque: (height, width) bool: those that count, n of them.
    """

    lab: np.ndarray
    rgb: np.ndarray
    alpha: np.ndarray | None
    opaque: np.ndarray


@dataclass(frozen=True, slots=True)
class Swatch:
    """A colour of a palette.

    Attributes:
        label: the cluster; −1 for the pixels of none.
        hex: "#rrggbb".
        pixels: how many.
        share: of all that count, 0 … 1.
    """

    label: int
    hex: str
    pixels: int
    share: float


def pixels_of(picture: Image.Image) -> Pixels:
    """The pixels of a picture of any mode; what is more than half transparent does not count.

    Raises:
        BadRequest: nothing of it is opaque.
    """
    alpha = None
    if picture.has_transparency_data:
        rgba = np.asarray(picture.convert("RGBA"))
        rgb, alpha = np.ascontiguousarray(rgba[..., :3]), rgba[..., 3].copy()
    else:
        rgb = np.array(picture.convert("RGB"))
    opaque = np.ones(rgb.shape[:2], bool) if alpha is None else alpha >= _OPAQUE
    if not opaque.any():
        raise BadRequest("The picture is transparent all over; it has no colours to cluster.")
    return Pixels(lab_of(rgb[opaque]), rgb, alpha, opaque)


def lab_of(rgb: np.ndarray) -> np.ndarray:
    """(n, 3) float64 CIELAB of (n, 3) uint8 sRGB."""
    import cv2

    small = rgb.reshape(-1, 1, 3).astype(np.float32) / np.float32(255)
    return cv2.cvtColor(small, cv2.COLOR_RGB2Lab).reshape(-1, 3).astype(np.float64)


def rgb_of(lab: np.ndarray) -> np.ndarray:
    """(n, 3) uint8 sRGB of (n, 3) CIELAB; colours that no screen has are the nearest per channel."""
    import cv2

    rgb = cv2.cvtColor(lab.reshape(-1, 1, 3).astype(np.float32), cv2.COLOR_Lab2RGB)
    return np.rint(255 * np.clip(rgb.reshape(-1, 3), 0, 1)).astype(np.uint8)


def points_of(pixels: Pixels, count: int = FIT_PIXELS, seed: int = 0) -> tuple[Dataset, np.ndarray]:
    """At most ``count`` pixels to find clusters from, drawn evenly, and their rows in ``lab``."""
    rows = np.arange(len(pixels.lab))
    if len(rows) > count:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), count, replace=False))
    return Dataset(pixels.lab[rows], None, ("L*", "a*", "b*"), "Colours of a picture"), rows


def centres_of(lab: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(k, 3) mean colour of each cluster 0 … k−1; (0, 3) if all is noise."""
    kept = labels >= 0
    counts = np.bincount(labels[kept])
    sums = [np.bincount(labels[kept], weights=channel) for channel in lab[kept].T]
    return np.column_stack(sums) / np.maximum(counts, 1)[:, None]


def nearest(
    lab: np.ndarray, centres: np.ndarray, stop: threading.Event | None = None
) -> np.ndarray:
    """(n,) int32: the nearest of ``centres`` (k, 3) for each of ``lab`` (n, 3); the first of equals.

    O(n·k) time, 65,536 · k numbers of memory.

    Raises:
        BadRequest: there are no centres.
        Stopped: ``stop`` was set.
    """
    if not len(centres):
        raise BadRequest(
            "No cluster was found: all of the pixels are noise. Raise eps or lower the number of "
            "samples that a core point needs."
        )
    labels = np.empty(len(lab), np.int32)
    squares = (centres**2).sum(axis=1)
    for start in range(0, len(lab), _BLOCK):
        if stop is not None and stop.is_set():
            raise Stopped
        block = lab[start : start + _BLOCK]
        labels[start : start + _BLOCK] = (squares - 2 * block @ centres.T).argmin(axis=1)
    return labels


def recolour(
    pixels: Pixels, labels: np.ndarray, centres: np.ndarray
) -> tuple[Image.Image, tuple[Swatch, ...]]:
    """The picture with each pixel in its cluster's colour, and the palette, largest share first.

    Args:
        labels: (n,) a cluster for each row of ``pixels.lab``; those of −1 keep their own colour.
        centres: (k, 3) CIELAB.

    Returns:
        RGB, or RGBA with the alpha that the picture had; transparent pixels are left alone.
    """
    palette = rgb_of(centres)
    painted = pixels.rgb[pixels.opaque]
    inside = labels >= 0
    painted[inside] = palette[labels[inside]]
    rgb = pixels.rgb.copy()
    rgb[pixels.opaque] = painted
    counts = np.bincount(labels[inside], minlength=len(centres)).tolist()
    swatches = [
        _swatch(label, palette[label], count, len(labels))
        for label, count in enumerate(counts)
        if count
    ]
    swatches.sort(key=lambda swatch: (-swatch.pixels, swatch.label))
    if not inside.all():
        own = rgb_of(pixels.lab[~inside].mean(axis=0, keepdims=True))[0]
        swatches.append(_swatch(-1, own, int((~inside).sum()), len(labels)))
    if pixels.alpha is None:
        return Image.fromarray(rgb), tuple(swatches)
    return Image.fromarray(np.dstack([rgb, pixels.alpha])), tuple(swatches)


def _swatch(label: int, colour: Sequence[int], count: int, total: int) -> Swatch:
    red, green, blue = (int(each) for each in colour)
    return Swatch(label, f"#{red:02x}{green:02x}{blue:02x}", count, count / total)
