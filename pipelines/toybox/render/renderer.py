"""The Toybox renderer: one scene in; picture, depth, instance mask and boxes out.

Nothing here is random: a scene has one picture. The kernels are in :mod:`.raymarch`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.toybox.render.raymarch import Light, Solids, Surfaces, cover, paint
from pipelines.toybox.scenes import FIELD_OF_VIEW, Scene
from pipelines.toybox.shapes import rotation, shape_of
from pipelines.toybox.vocabulary import ALBEDO, FINISHES, PLACES

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    """A place's linear RGB colours, its fog per world unit, its wall.

    Attributes:
        ground: albedo.
        low, high: the sky at the horizon and overhead, or the wall at its foot and top.
        sun, ambient: light.
        fog: extinction per unit of distance.
        wall: distance of a wall behind the toys; 0 in the open air.
    """

    ground: Colour
    low: Colour
    high: Colour
    sun: Colour
    ambient: Colour
    fog: float = 0.0
    wall: float = 0.0


# Ground; the sky or wall, low and high; sun; ambient light.
LOOKS: dict[str, Look] = {
    "grass": Look((0.10, 0.27, 0.035), (0.62, 0.80, 0.95), (0.16, 0.40, 0.85),
                  (1.0, 0.95, 0.85), (0.36, 0.40, 0.46)),
    "sand": Look((0.66, 0.49, 0.25), (0.68, 0.84, 0.95), (0.20, 0.48, 0.88),
                 (1.05, 0.97, 0.84), (0.38, 0.40, 0.43)),
    "snow": Look((0.84, 0.88, 0.94), (0.74, 0.81, 0.88), (0.46, 0.58, 0.74),
                 (0.78, 0.78, 0.76), (0.38, 0.42, 0.50)),
    "wood": Look((0.36, 0.18, 0.075), (0.70, 0.62, 0.48), (0.60, 0.52, 0.40),
                 (0.95, 0.90, 0.80), (0.38, 0.37, 0.36), wall=2.6),
    "tiles": Look((0.74, 0.74, 0.70), (0.44, 0.60, 0.58), (0.36, 0.52, 0.52),
                  (0.92, 0.92, 0.90), (0.38, 0.39, 0.40), wall=2.6),
    "night": Look((0.055, 0.075, 0.14), (0.055, 0.08, 0.20), (0.008, 0.012, 0.05),
                  (0.48, 0.52, 0.66), (0.15, 0.17, 0.24)),
    "sunset": Look((0.26, 0.13, 0.085), (1.0, 0.42, 0.12), (0.30, 0.13, 0.36),
                   (1.10, 0.78, 0.52), (0.36, 0.30, 0.34)),
    "studio": Look((0.80, 0.80, 0.80), (0.84, 0.84, 0.85), (0.66, 0.66, 0.68),
                   (0.85, 0.85, 0.85), (0.42, 0.42, 0.42), wall=4.0),
    "fog": Look((0.26, 0.30, 0.27), (0.56, 0.60, 0.62), (0.56, 0.60, 0.62),
                (0.48, 0.49, 0.50), (0.42, 0.44, 0.46), fog=0.13),
}  # fmt: skip
assert LOOKS.keys() == PLACES.keys()
_PLACE_INDEX = {place: index for index, place in enumerate(PLACES)}
_FINISH_INDEX = {finish: index for index, finish in enumerate(FINISHES)}


@dataclass(frozen=True)
class Render:
    """What one scene looks like.

    Attributes:
        image: (H, W, 3) uint8 sRGB.
        depth: (H, W) float32, distance from the camera in world units; the sky is inf.
        mask: (H, W) uint8, 0 for the background, i + 1 for the scene's i-th toy.
        boxes: (N, 4) float32, x0, y0, x1, y1 in pixels of what is visible of each toy (x1 and y1
            exclusive); all zero where a toy is hidden.
    """

    image: np.ndarray
    depth: np.ndarray
    mask: np.ndarray
    boxes: np.ndarray


def render(scene: Scene, width: int = 128, height: int = 128) -> Render:
    """Paints ``scene``. Pixels on edges are sampled five times, the others once."""
    solids, surfaces = _assemble(scene)
    camera, basis = _camera(scene)
    image = np.empty((height, width, 3), np.float32)
    depth = np.empty((height, width), np.float32)
    ids = np.empty((height, width), np.int32)
    tangent = np.float32(np.tan(np.radians(FIELD_OF_VIEW / 2)))
    paint(image, depth, ids, camera, basis, tangent, solids, surfaces, _light(scene))
    mask = np.maximum(ids + 1, 0).astype(np.uint8)
    return Render(
        image=(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8),
        depth=depth,
        mask=mask,
        boxes=_boxes(mask, len(scene.things)),
    )


def silhouette(scene: Scene, width: int = 128, height: int = 128) -> np.ndarray:
    """(H, W) bool: where ``scene`` shows a toy. It costs a tenth of :func:`render`."""
    solids, _ = _assemble(scene)
    camera, basis = _camera(scene)
    hit = np.empty((height, width), np.bool_)
    cover(hit, camera, basis, np.float32(np.tan(np.radians(FIELD_OF_VIEW / 2))), solids)
    return hit


def _assemble(scene: Scene) -> tuple[Solids, Surfaces]:
    """The toys' primitives in world space, and what they are made of."""
    shapes = [shape_of(thing.kind) for thing in scene.things]
    turns = [rotation(0, thing.yaw, 0) for thing in scene.things]
    origins = np.array([(t.x, t.y, t.z) for t in scene.things], np.float32)
    placed = list(zip(scene.things, shapes, turns, origins, strict=True))
    centres = [origin + t.scale * shape.centres @ turn.T for t, shape, turn, origin in placed]
    middles = [origin + t.scale * turn @ shape.middle for t, shape, turn, origin in placed]
    radii = [shape.radius * t.scale for t, shape, _, _ in placed]
    solids = Solids(
        kinds=np.concatenate([shape.kinds for shape in shapes]),
        centres=np.concatenate(centres).astype(np.float32),
        turns=np.concatenate([turn @ s.turns for _, s, turn, _ in placed]).astype(np.float32),
        sizes=np.concatenate([s.sizes * t.scale for t, s, _, _ in placed]).astype(np.float32),
        starts=np.cumsum([0] + [len(shape.kinds) for shape in shapes]).astype(np.int32),
        spheres=np.column_stack([middles, radii]).astype(np.float32),
    )
    counts = [len(shape.kinds) for shape in shapes]
    surfaces = Surfaces(
        roles=np.concatenate([shape.roles for shape in shapes]),
        owners=np.repeat(np.arange(len(shapes)), counts).astype(np.int32),
        origins=origins,
        yaws=np.stack(turns).astype(np.float32),
        scales=np.array([t.scale for t in scene.things], np.float32),
        albedos=np.array([ALBEDO[t.colour] for t in scene.things], np.float32),
        finishes=np.array([_FINISH_INDEX[t.finish] for t in scene.things], np.int32),
    )
    return solids, surfaces


def _light(scene: Scene) -> Light:
    look = LOOKS[scene.place]
    azimuth, elevation = np.radians(scene.sun)
    sun = (
        np.sin(azimuth) * np.cos(elevation),
        np.sin(elevation),
        np.cos(azimuth) * np.cos(elevation),
    )
    colours = (look.ground, look.low, look.high, look.sun, look.ambient)
    return Light(
        colours=np.array(colours, np.float32),
        sun=np.array(sun, np.float32),
        fog=np.float32(look.fog),
        wall=np.float32(look.wall),
        place=_PLACE_INDEX[scene.place],
        seed=scene.texture_seed,
    )


def _camera(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Position (3,) and basis (3, 3) with rows right, up, forward."""
    pitch, azimuth = np.radians(scene.pitch), np.radians(scene.azimuth)
    away = np.array(
        [np.sin(azimuth) * np.cos(pitch), np.sin(pitch), np.cos(azimuth) * np.cos(pitch)]
    )
    position = np.array([0.0, scene.look_at, 0.0]) + scene.distance * away
    right = np.cross(-away, (0.0, 1.0, 0.0))
    right /= np.linalg.norm(right)
    up = np.cross(right, -away)
    return position.astype(np.float32), np.stack([right, up, -away]).astype(np.float32)


def _boxes(mask: np.ndarray, count: int) -> np.ndarray:
    boxes = np.zeros((count, 4), np.float32)
    for i in range(count):
        ys, xs = np.nonzero(mask == i + 1)
        if len(xs):
            boxes[i] = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
    return boxes
