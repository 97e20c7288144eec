"""Preprocessors that need no weights: OpenCV and NumPy, the same map for the same picture anywhere.

Sizes in pixels that are named here (blurs, lines) are those in a picture whose shorter side is 512,
and grow with the picture, so that a map looks alike at every size.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from pipelines.preprocessors import parameters as ask

Pixels = np.ndarray  # (H, W, 3) or (H, W) uint8

WORKED_AT = 1024  # lines of larger pictures are looked for at this shorter side
NEAR = 24  # channel difference up to which a pixel has the colour of the ground


def annotate(picture: Image.Image, parameters: ask.Parameters, weights: None) -> Image.Image:
    """The map of ``picture`` (RGB), RGB and of the same size; the parameters' class says which."""
    made = _MAKERS[type(parameters)](np.asarray(picture), parameters)
    if made.ndim == 2:
        made = np.repeat(made[..., None], 3, axis=2)
    return Image.fromarray(made)


def _none(picture: Pixels, parameters: ask.NoParameters) -> Pixels:
    return picture.copy()


def _canny(picture: Pixels, parameters: ask.Canny) -> Pixels:
    return cv2.Canny(picture, parameters.low, parameters.high)


def _scribble(picture: Pixels, parameters: ask.Scribble) -> Pixels:
    """White strokes on black: those of a drawing as they are, or thick ones found in a photo."""
    ink = ink_of_drawing(picture)
    if ink is not None:
        return np.where(ink > parameters.threshold, 255, 0).astype(np.uint8)
    return _worked_smaller(picture, lambda small: _thick_lines(small, parameters), binary=True)


def ink_of_drawing(picture: Pixels) -> np.ndarray | None:
    """How far each pixel is from the colour of the ground, or None where this is no drawing.

    A drawing is a ground of one light or dark colour with strokes on it: most pixels have the
    ground's colour, few lie between ground and ink, and nothing inked is far from its edge.

    Returns:
        (H, W) uint8, the largest difference of the three channels.
    """
    ground = _commonest_colour(picture)
    tone = int(ground.mean())
    if 80 < tone < 176:
        return None
    ink = np.abs(picture.astype(np.int16) - ground).max(axis=2).astype(np.uint8)
    on_ground, inked = np.mean(ink <= NEAR), np.mean(ink > 2 * NEAR)
    if on_ground < 0.6 or inked == 0 or 1 - on_ground - inked > max(0.05, inked):
        return None
    thickest = cv2.distanceTransform((ink > NEAR).astype(np.uint8), cv2.DIST_L2, 3).max()
    return ink if thickest <= max(4, 0.05 * min(ink.shape)) else None


def _commonest_colour(picture: Pixels) -> np.ndarray:
    """The mean of the colours in the fullest of 16×16×16 boxes. int16 (3,)."""
    boxes = picture >> 4
    index = (boxes[..., 0].astype(np.uint16) << 8) | (boxes[..., 1].astype(np.uint16) << 4)
    index |= boxes[..., 2]
    fullest = np.bincount(index.ravel(), minlength=4096).argmax()
    return np.round(picture[index == fullest].mean(axis=0)).astype(np.int16)


def _thick_lines(picture: Pixels, parameters: ask.Scribble) -> Pixels:
    unit = min(picture.shape[:2]) / 512
    beside = _beside_edges(picture, fine=0.5 * unit, wide=max(1.6, 5 * unit))
    lines = _follow_lines(2 * beside, parameters.threshold, smallest=round(100 * unit * unit))
    size = max(1, round(parameters.thickness * unit))
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return cv2.dilate(lines, brush) * 255


def _beside_edges(picture: Pixels, fine: float, wide: float) -> np.ndarray:
    """Contrast on the darker side of edges, 0 elsewhere, after XDoG (Winnemöller et al. 2012).

    A difference of Gaussians changes its sign where an edge is; keeping the side that is darker in
    sum gives one line an edge, also between colours of the same brightness.

    Args:
        fine, wide: the Gaussians' deviations in pixels.

    Returns:
        float32 (H, W): the largest difference of the three channels, 0 to 255.
    """
    signed, largest = np.float32(0), np.float32(0)
    for channel in cv2.split(picture):  # one after another: a third of the memory
        values = channel.astype(np.float32)
        difference = cv2.GaussianBlur(values, (0, 0), wide)
        difference -= cv2.GaussianBlur(values, (0, 0), fine) if fine > 0.3 else values
        signed = signed + difference
        largest = np.maximum(largest, np.abs(difference))
    return np.where(signed > 0, largest, np.float32(0))


def _follow_lines(contrast: np.ndarray, threshold: float, smallest: int) -> Pixels:
    """1 where a line is: it begins above the threshold, goes on down to half, and is no speck."""
    faint = (contrast > threshold / 2).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(faint, connectivity=8)
    begun = np.bincount(labels[contrast > threshold], minlength=count) > 0
    keep = begun & (stats[:, cv2.CC_STAT_AREA] >= smallest)
    keep[0] = False  # the ground
    return keep[labels].astype(np.uint8)


def _lineart(picture: Pixels, parameters: ask.LineArt) -> Pixels:
    """Soft white lines on black: those of a drawing as they are, or fine ones found in a photo."""
    ink = ink_of_drawing(picture)
    if ink is not None:
        return np.clip(ink * np.float32(255 / ink.max()), 0, 255).astype(np.uint8)
    return _worked_smaller(picture, lambda small: _fine_lines(small, parameters))


def _fine_lines(picture: Pixels, parameters: ask.LineArt) -> Pixels:
    """Contrast beside edges, the usual line brought to half brightness."""
    unit = min(picture.shape[:2]) / 512
    beside = _beside_edges(picture, fine=0, wide=max(0.8, parameters.width * unit))
    beside = np.maximum(beside - parameters.threshold, 0)
    seen = beside[beside > 0]
    usual = max(8.0, float(np.median(seen)) if seen.size else 0.0)
    return np.clip(beside * (127 / usual), 0, 255).astype(np.uint8)


def _shuffle(picture: Pixels, parameters: ask.Shuffle) -> Pixels:
    """The picture's colours and textures in other places: pulled along a smooth random flow."""
    height, width = picture.shape[:2]
    rng = np.random.default_rng(parameters.seed)
    columns = _smooth_noise(rng, height, width) * (width - 1)
    rows = _smooth_noise(rng, height, width) * (height - 1)
    return cv2.remap(picture, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _smooth_noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Random hills, half the shorter side apart, from 0 to 1. float32 (H, W)."""
    scale = min(1.0, 512 / min(height, width))
    rows, columns = (max(2, round(side * scale)) for side in (height, width))
    apart = max(1, min(rows, columns) // 2)
    grid = rng.random((rows // apart + 2, columns // apart + 2)).astype(np.float32)
    large = (grid.shape[1] * apart, grid.shape[0] * apart)
    noise = cv2.resize(grid, large, interpolation=cv2.INTER_CUBIC)
    start = apart // 2
    noise = noise[start : start + rows, start : start + columns]
    noise = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    noise -= noise.min()
    return noise / max(float(noise.max()), 1e-6)


def _grid(picture: Pixels, parameters: ask.Grid) -> Pixels:
    """One colour a cell: scaled down by a cubic filter and up again without one."""
    image = Image.fromarray(picture)
    if isinstance(parameters, ask.GridGrey):
        image = image.convert("L")
    per_pixel = parameters.cells / min(image.size)
    cells = tuple(max(1, min(side, round(side * per_pixel))) for side in image.size)
    small = image.resize(cells, Image.Resampling.BICUBIC)
    return np.asarray(small.resize(image.size, Image.Resampling.NEAREST))


def _worked_smaller(
    picture: Pixels, make: Callable[[Pixels], Pixels], binary: bool = False
) -> Pixels:
    """``make(picture)``, at a shorter side of ``WORKED_AT`` pixels if the picture is larger."""
    height, width = picture.shape[:2]
    scale = WORKED_AT / min(height, width)
    if scale >= 1:
        return make(picture)
    size = (round(width * scale), round(height * scale))
    made = make(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    made = cv2.resize(made, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(made > 127, 255, 0).astype(np.uint8) if binary else made


_MAKERS: dict[type, Callable[[Pixels, ask.Parameters], Pixels]] = {
    ask.NoParameters: _none,
    ask.Canny: _canny,
    ask.Scribble: _scribble,
    ask.LineArt: _lineart,
    ask.Shuffle: _shuffle,
    ask.GridGrey: _grid,
    ask.GridColour: _grid,
}
