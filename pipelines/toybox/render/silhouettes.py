"""How well a toy's silhouette is the silhouette of its kind: a measure that sees dents.

A silhouette is a map of coverage, 0 … 1. It is normalised by its box and held against many poses of
the kind that was asked for, as the scenes draw them: how much of it is covered by the best of them
(intersection over union), and how much rougher its outline is than that pose's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import cv2
import numpy as np

from pipelines.toybox.render.renderer import silhouette
from pipelines.toybox.scenes import Scene, sample_scene
from pipelines.toybox.segmenter import SIDE, Segmenter, best_order

GRID = 64  # pixels, side of a normalised silhouette
POSES = 500
CONTOUR = 192  # pixels, longer side of a box whose outline is followed
STEP = 2.0  # of those pixels, between two points of an outline
SMOOTHING = 2.5  # standard deviation in points
SUPERSAMPLING = 4  # of the pose whose outline is the measure
_POSE_SEED = 500_000_000  # of no other scene


@dataclass
class Shape:
    """How good silhouettes are.

    Attributes:
        ious: of each silhouette with its best pose, 0 … 1.
        outlines: the roughness of each outline; NaN where a picture shows no toy.
        references: the roughness of each best pose's.
    """

    ious: list[float] = field(default_factory=list)
    outlines: list[float] = field(default_factory=list)
    references: list[float] = field(default_factory=list)

    @property
    def iou(self) -> float:
        return float(np.mean(self.ious)) if self.ious else float("nan")

    @property
    def roughness(self) -> float:
        """The mean roughness as a multiple of the poses'; NaN without any outline."""
        pairs = zip(self.outlines, self.references, strict=True)
        known = np.array([pair for pair in pairs if np.isfinite(pair[0])]).reshape(-1, 2)
        return float(known[:, 0].sum() / known[:, 1].sum()) if len(known) else float("nan")


def normalise(coverage: np.ndarray, side: int = GRID) -> np.ndarray:
    """(side, side) float32: the silhouette in the middle, its box's longer side as long as it.

    Width and height keep their ratio, so a car that is too high does not fit. Nothing gives zeros.
    """
    box = _box(coverage)
    if box is None:
        return np.zeros((side, side), np.float32)
    x0, y0, x1, y1 = box
    piece = coverage[y0:y1, x0:x1].astype(np.float32)
    scale = side / max(piece.shape)
    width, height = (max(1, round(length * scale)) for length in piece.shape[::-1])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    left, top = (side - width) // 2, (side - height) // 2
    out = np.zeros((side, side), np.float32)
    out[top : top + height, left : left + width] = cv2.resize(
        piece, (width, height), None, 0, 0, how
    )
    return out


def _box(coverage: np.ndarray) -> tuple[int, int, int, int] | None:
    ys, xs = np.nonzero(coverage > 0.5)
    return (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(xs) else None


def pose(kind: str, number: int) -> Scene:
    """The ``number``-th scene with one toy of ``kind``, every other one as it stands in a pair."""
    scene = sample_scene((_POSE_SEED, number), (kind,), things=1 + number % 2)
    return replace(scene, things=scene.things[:1], relation=None)


@lru_cache(maxsize=64)
def poses(kind: str, count: int = POSES) -> np.ndarray:
    """(count, GRID²) bool: normalised silhouettes of ``kind``."""
    views = [normalise(silhouette(pose(kind, number), SIDE, SIDE)) for number in range(count)]
    return (np.stack(views) > 0.5).reshape(count, -1)


def best_pose(coverage: np.ndarray, kind: str, count: int = POSES) -> tuple[float, int]:
    """The largest IoU with a pose of ``kind``, and which pose it is."""
    own = normalise(coverage).ravel() > 0.5
    others = poses(kind, count)
    shared = others[:, own].sum(1)
    ious = shared / np.maximum(others.sum(1) + own.sum() - shared, 1)
    return float(ious.max()), int(ious.argmax())


def roughness(coverage: np.ndarray) -> float:
    """Mean absolute change of curvature along the outline; NaN where there is none.

    The unit is radians per point, of which there are ``CONTOUR / STEP`` to a box's longer side. A
    circle's is 0, holes have outlines too.
    """
    coverage = np.pad(coverage, 1)
    if (box := _box(coverage)) is None:
        return float("nan")
    x0, y0, x1, y1 = box
    piece = coverage[y0 - 1 : y1 + 1, x0 - 1 : x1 + 1].astype(np.float32)  # the rim's middle too
    scale = CONTOUR / max(y1 - y0, x1 - x0)
    enlarged = cv2.resize(piece, None, None, scale, scale, cv2.INTER_LINEAR)
    found, _ = cv2.findContours(
        (np.pad(enlarged, 2) > 0.5).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    changes = [_curvature_changes(contour[:, 0].astype(np.float64)) for contour in found]
    changes = np.concatenate([np.zeros(0), *changes])
    return float(np.abs(changes).mean()) if len(changes) else float("nan")


def _curvature_changes(points: np.ndarray) -> np.ndarray:
    """Changes of curvature (N,) along a closed line (M, 2); none if it is short."""
    steps = np.linalg.norm(np.diff(points, axis=0, append=points[:1]), axis=1)
    along = np.concatenate([[0], np.cumsum(steps)])
    number = int(along[-1] / STEP)
    if number < 16:
        return np.zeros(0)
    places = np.arange(number) * (along[-1] / number)
    closed = np.vstack([points, points[:1]])
    even = np.stack([np.interp(places, along, closed[:, axis]) for axis in (0, 1)], 1)
    frequencies = np.fft.fftfreq(number)
    gauss = np.exp(-2 * (np.pi * frequencies * SMOOTHING) ** 2)[:, None]
    smooth = np.fft.ifft(np.fft.fft(even, axis=0) * gauss, axis=0).real
    forward = np.diff(smooth, axis=0, append=smooth[:1])
    angles = np.arctan2(forward[:, 1], forward[:, 0])
    turns = np.angle(np.exp(1j * np.diff(angles, append=angles[:1])))  # −π … π
    return np.diff(turns, append=turns[:1])


@lru_cache(maxsize=4096)
def _pose_roughness(kind: str, number: int) -> float:
    side = SUPERSAMPLING * SIDE
    fine = silhouette(pose(kind, number), side, side).astype(np.float32)
    return roughness(cv2.resize(fine, (SIDE, SIDE), None, 0, 0, cv2.INTER_AREA))


def measure(
    segmenter: Segmenter, scenes: Iterable[Scene], images: Iterable[np.ndarray], count: int = POSES
) -> dict[str, Shape]:
    """Shapes by kind of the toys that pictures of ``scenes`` show.

    With several toys the silhouettes are those of the asked toys in the order that fits best; on
    which side a toy stands is measured elsewhere.

    Args:
        segmenter: what cuts the toys out.
        scenes: what the pictures should show.
        images: (H, W, 3) uint8 each.
        count: poses a kind.
    """
    shapes: dict[str, Shape] = {}
    for scene, image in zip(scenes, images, strict=True):
        kinds = [thing.kind for thing in scene.things]
        found = segmenter.cut(image, len(kinds))
        fits = [[best_pose(each, kind, count) for each in found] for kind in kinds]
        order = best_order(np.array([[iou for iou, _ in row] for row in fits]))
        for kind, row, which in zip(kinds, fits, order, strict=True):
            iou, number = row[which]
            shape = shapes.setdefault(kind, Shape())
            shape.ious.append(iou)
            shape.outlines.append(roughness(found[which]))
            shape.references.append(_pose_roughness(kind, number))
    return shapes


def together(shapes: dict[str, Shape]) -> Shape:
    """All kinds as one; each silhouette counts alike."""
    whole = Shape()
    for shape in shapes.values():
        whole.ious += shape.ious
        whole.outlines += shape.outlines
        whole.references += shape.references
    return whole


def worst(shapes: dict[str, Shape], floor: dict[str, Shape], count: int = 5) -> Sequence[str]:
    """The kinds that lie farthest below the floor, the worst first."""
    gaps = {kind: floor[kind].iou - shapes[kind].iou for kind in shapes}
    return sorted(gaps, key=lambda kind: -gaps[kind])[:count]
