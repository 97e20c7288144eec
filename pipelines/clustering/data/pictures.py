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

from pipelines.clustering.data.sample_data import Dataset
from pipelines.core.errors import BadRequest, Stopped

FIT_PIXELS = 50_000  # that a palette is found from
_BLOCK = 1 << 16
_OPAQUE = 128  # alpha from which a pixel's colour counts

_VALUES = np.arange(256) / 255
_LINEAR = np.where(_VALUES > 0.04045, ((_VALUES + 0.055) / 1.055) ** 2.4, _VALUES / 12.92)
_D65 = np.array([0.95047, 1.0, 1.08883])
# sRGB's primaries in XYZ, in units of the white.
_TO_XYZ = (
    np.array(
        [
            [0.412453, 0.357580, 0.180423],
            [0.212671, 0.715160, 0.072169],
            [0.019334, 0.119193, 0.950227],
        ]
    )
    / _D65[:, None]
)
_BEND = 6 / 29  # where CIELAB's cube root becomes a line
_TO_LAB = np.array([[0.0, 116, 0], [500, -500, 0], [0, 200, -200]])
_OFFSET = np.array([16.0, 0, 0])


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """A picture taken apart.

    Attributes:
        colours: (n, 3) uint8 sRGB of its opaque pixels, row by row.
        rgb: (height, width, 3) uint8.
        alpha: (height, width) uint8, or None if the picture is opaque.
        opaque: (height, width) bool: those that count, n of them.
    """

    colours: np.ndarray
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
    return Pixels(rgb[opaque], rgb, alpha, opaque)


def lab_of(rgb: np.ndarray) -> np.ndarray:
    """(n, 3) float64 CIELAB of (n, 3) uint8 sRGB (IEC 61966-2-1).

    Not OpenCV's, which is off by up to 0.3 even on floats.
    """
    xyz = _LINEAR[rgb] @ _TO_XYZ.T
    roots = np.where(xyz > _BEND**3, np.cbrt(xyz), xyz / (3 * _BEND**2) + 4 / 29)
    return roots @ _TO_LAB.T - _OFFSET


def rgb_of(lab: np.ndarray) -> np.ndarray:
    """(n, 3) uint8 sRGB of (n, 3) CIELAB; what no screen can show is cut per channel."""
    roots = (lab + _OFFSET) @ np.linalg.inv(_TO_LAB).T
    xyz = np.where(roots > _BEND, roots**3, 3 * _BEND**2 * (roots - 4 / 29))
    linear = np.clip(xyz @ np.linalg.inv(_TO_XYZ).T, 0, 1)
    rgb = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return np.rint(255 * rgb).astype(np.uint8)


def points_of(pixels: Pixels, count: int = FIT_PIXELS, seed: int = 0) -> tuple[Dataset, np.ndarray]:
    """At most ``count`` pixels to find clusters from, drawn evenly: (n, 3) CIELAB, and
    their rows in ``pixels.colours``."""
    rows = np.arange(len(pixels.colours))
    if len(rows) > count:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), count, replace=False))
    X = lab_of(pixels.colours[rows])
    return Dataset(X, None, ("L*", "a*", "b*"), "Colours of a picture"), rows


def centres_of(lab: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(k, 3) mean colour of each cluster 0 … k−1; (0, 3) if all is noise."""
    kept = labels >= 0
    counts = np.bincount(labels[kept])
    sums = [np.bincount(labels[kept], weights=channel) for channel in lab[kept].T]
    return np.column_stack(sums) / np.maximum(counts, 1)[:, None]


def nearest(
    colours: np.ndarray, centres: np.ndarray, stop: threading.Event | None = None
) -> np.ndarray:
    """(n,) int32: which of ``centres`` (k, 3) CIELAB is nearest to each of ``colours`` (n, 3) sRGB.

    Of equally near ones the first. O(n·k) time, memory for 65,536 · k numbers: not even the
    picture's Lab is ever there as a whole.

    Raises:
        BadRequest: there are no centres.
        Stopped: ``stop`` was set.
    """
    if not len(centres):
        raise BadRequest(
            "No cluster was found: all of the pixels are noise. Raise eps or lower the number of "
            "samples that a core point needs."
        )
    labels = np.empty(len(colours), np.int32)
    squares = (centres**2).sum(axis=1)
    for start in range(0, len(colours), _BLOCK):
        if stop is not None and stop.is_set():
            raise Stopped
        lab = lab_of(colours[start : start + _BLOCK])
        labels[start : start + _BLOCK] = (squares - 2 * lab @ centres.T).argmin(axis=1)
    return labels


def recolour(
    pixels: Pixels, labels: np.ndarray, centres: np.ndarray
) -> tuple[Image.Image, tuple[Swatch, ...]]:
    """The picture with each pixel in its cluster's colour, and the palette, largest share first.

    Args:
        labels: (n,) a cluster for each row of ``pixels.colours``; of −1 it
            keeps its own colour.
        centres: (k, 3) CIELAB.

    Returns:
        RGB, or RGBA with the alpha that the picture had; transparent pixels are left alone.
    """
    palette = rgb_of(centres)
    painted = pixels.colours.copy()
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
        own = rgb_of(_mean_lab(pixels.colours[~inside]))
        swatches.append(_swatch(-1, own, int((~inside).sum()), len(labels)))
    if pixels.alpha is None:
        return Image.fromarray(rgb), tuple(swatches)
    return Image.fromarray(np.dstack([rgb, pixels.alpha])), tuple(swatches)


def _mean_lab(colours: np.ndarray) -> np.ndarray:
    blocks = range(0, len(colours), _BLOCK)
    return sum(lab_of(colours[each : each + _BLOCK]).sum(axis=0) for each in blocks) / len(colours)


def _swatch(label: int, colour: Sequence[int], count: int, total: int) -> Swatch:
    red, green, blue = (int(each) for each in colour)
    return Swatch(label, f"#{red:02x}{green:02x}{blue:02x}", count, count / total)
