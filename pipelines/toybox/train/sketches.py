"""Line drawings of renders as machines and hands make them, to train sketch control on.

Edges by Canny at many thresholds, the studio's own line preprocessors, and strokes that follow the
outlines loosely: thick or thin, wobbly, simplified, with gaps.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from PIL import Image

from pipelines.preprocessors import classical, parameters


def sketch(image: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of many possible drawings: (H, W) uint8, bright lines on black.

    Args:
        image: (H, W, 3) uint8.
        depth: (H, W) uint8, near is bright.
        rng: decides what kind of drawing, and every stroke of it.
    """
    kind = rng.random()
    if kind < 0.35:
        return edges(image, rng)
    if kind < 0.8:
        return strokes(image, depth, rng)
    return _annotate(image, rng)


def edges(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Canny's edges of a more or less blurred picture."""
    blurred = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.1, 1.4))
    low = rng.uniform(30, 150)
    return cv2.Canny(blurred, low, low + rng.uniform(20, 120))


def strokes(image: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Outlines drawn by a hand that is not quite steady."""
    outlines = _outlines(depth, rng)
    if rng.random() < 0.5:  # and what is inside of them
        outlines |= edges(image, rng)
    contours, _ = cv2.findContours(outlines, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    canvas = np.zeros(depth.shape, np.uint8)
    thickness = int(rng.integers(1, 6))
    loose, wobble, gaps = rng.uniform(0.3, 2.5), rng.uniform(0, 1.4), rng.uniform(0, 0.25)
    for contour in contours:
        if len(contour) < rng.integers(6, 20):
            continue  # specks
        line = cv2.approxPolyDP(contour, loose, closed=False)[:, 0].astype(np.float32)
        line += rng.normal(0, wobble, line.shape).astype(np.float32)
        for begin, end in pairwise(line):
            if rng.random() >= gaps:
                _draw(canvas, begin, end, thickness)
    if thickness > 1 and rng.random() < 0.5:  # a soft brush
        canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.4, 1.0))
    return canvas


def _draw(canvas: np.ndarray, begin: np.ndarray, end: np.ndarray, thickness: int) -> None:
    points = [tuple(int(value) for value in np.round(point * 16)) for point in (begin, end)]
    cv2.line(canvas, *points, 255, thickness, cv2.LINE_AA, shift=4)


def _outlines(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Where the distance jumps: the outlines of toys, and the horizon."""
    low = rng.uniform(12, 40)
    return cv2.Canny(cv2.GaussianBlur(depth, (0, 0), 0.8), low, 2 * low)


def _annotate(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What the studio's own line preprocessors read from the picture."""
    if rng.random() < 0.5:
        asked = parameters.Scribble(
            threshold=int(rng.integers(16, 64)), thickness=int(rng.integers(2, 25))
        )
    else:
        asked = parameters.LineArt(width=rng.uniform(3, 12), threshold=int(rng.integers(0, 16)))
    return np.asarray(classical.annotate(Image.fromarray(image), asked, None))[..., 0]


def rough_depth(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A depth map as an estimator might give it: blurred, uneven, of another contrast."""
    rough = depth.astype(np.float32) / 255
    if rng.random() < 0.7:
        rough = cv2.GaussianBlur(rough, (0, 0), rng.uniform(0.3, 2.0))
    if rng.random() < 0.5:
        bumps = rng.normal(0, rng.uniform(0.01, 0.05), (5, 5)).astype(np.float32)
        rough += cv2.resize(bumps, depth.shape[::-1], interpolation=cv2.INTER_CUBIC)
    rough = np.clip(rough, 0, 1) ** rng.uniform(0.75, 1.3)
    return np.round(255 * rough).astype(np.uint8)
