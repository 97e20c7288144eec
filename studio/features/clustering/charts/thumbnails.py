"""Small pictures of clusterings, as parts of an SVG."""

from __future__ import annotations

import numpy as np

from studio.features.clustering.charts.colours import kind_of

POINTS = 1500
SIDE = 160  # units of the drawing; a point is about 3 wide


def thumbnail(points: np.ndarray, labels: np.ndarray) -> str:
    """A scatter plot without axes, noise below the clusters, of :data:`SIDE` by :data:`SIDE`.

    At most :data:`POINTS` are drawn, evenly chosen.

    Args:
        points: float (n, 2 or more), of which the first two are drawn; not finite ones are not.
        labels: int (n,), −1 is noise; of the same points.
    """
    points, labels = np.asarray(points, dtype=np.float64)[:, :2], np.asarray(labels)
    if len(points) > POINTS:
        chosen = np.linspace(0, len(points) - 1, POINTS).round().astype(int)
        points, labels = points[chosen], labels[chosen]
    finite = np.isfinite(points).all(axis=1)
    points, labels = points[finite], labels[finite]
    ground = f'<rect class="ground" width="{SIDE}" height="{SIDE}" rx="7"/>'
    if not len(points):
        return ground
    low, high = points.min(axis=0), points.max(axis=0)
    widest = float((high - low).max()) or 1.0
    at = 6 + (points - (low + high - widest) / 2) / widest * (SIDE - 12)
    at = np.column_stack([at[:, 0], SIDE - at[:, 1]]).round().astype(int)
    paths = "".join(
        f'<path class="dots {kind_of(int(label))}" d="{_dots(at[labels == label])}"/>'
        for label in np.unique(labels)
    )
    return ground + paths


def _dots(points: np.ndarray) -> str:
    """Each place once: lines of next to no length, whose ends are round."""
    return "".join(f"M{x} {y}h.01" for x, y in np.unique(points, axis=0).tolist())
