"""Draws poses as OpenPose does; the control models for poses have learnt from such drawings."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

# Pairs of OpenPose's 18 points: neck 1; shoulder, elbow, wrist 2–4 and 5–7; hip, knee, ankle 8–10
# and 11–13; nose 0, eyes 14 and 15, ears 16 and 17.
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12),
    (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
FINGERS = tuple((0 if i % 4 == 0 else i, i + 1) for i in range(20))  # of 21 points; the wrist is 0
RAINBOW = tuple(
    tuple(round(255 * value) for value in colorsys.hsv_to_rgb(i / 18, 1, 1)) for i in range(18)
)
HAND = tuple(
    tuple(round(255 * value) for value in colorsys.hsv_to_rgb(i / 20, 1, 1)) for i in range(20)
)
THICK, THIN, DOT = 4, 2, 3


def draw_body(canvas: np.ndarray, points: np.ndarray) -> None:
    """Draw (18, 2) points on ``canvas`` (H, W, 3); NaN, and what lies outside, is not seen."""
    for (start, end), colour in zip(LIMBS, RAINBOW, strict=False):
        a, b = points[start], points[end]
        if not np.isfinite([a, b]).all():
            continue
        along = a - b
        middle = tuple(int(value) for value in (a + b) / 2)
        half = int(np.hypot(*along) / 2)
        angle = int(np.degrees(np.arctan2(along[1], along[0])))
        ellipse = cv2.ellipse2Poly(middle, (half, THICK), angle, 0, 360, 1)
        cv2.fillConvexPoly(canvas, ellipse, [int(0.6 * value) for value in colour])
    for point, colour in zip(points, RAINBOW, strict=True):
        _dot(canvas, point, THICK, colour)


def draw_hand(canvas: np.ndarray, points: np.ndarray) -> None:
    """Draw (21, 2) points; see :func:`draw_body`."""
    for (start, end), colour in zip(FINGERS, HAND, strict=True):
        a, b = points[start], points[end]
        if np.isfinite([a, b]).all():
            cv2.line(canvas, a.astype(int).tolist(), b.astype(int).tolist(), colour, THIN)
    for point in points:
        _dot(canvas, point, THICK, (0, 0, 255))


def draw_face(canvas: np.ndarray, points: np.ndarray) -> None:
    """Draw (N, 2) points; see :func:`draw_body`."""
    for point in points:
        _dot(canvas, point, DOT, (255, 255, 255))


def _dot(canvas: np.ndarray, point: np.ndarray, radius: int, colour: tuple[int, ...]) -> None:
    if np.isfinite(point).all():
        cv2.circle(canvas, point.astype(int).tolist(), radius, colour, -1)
