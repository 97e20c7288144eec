"""Each kind of toy as a short list of primitives.

Units: a medium toy is about 1 high and stands on the ground at y = 0. x points right, y up and
z to the viewer; every toy faces +z, or shows its long side to +z where that is its better view.
A primitive's colour is a role: ``body`` takes the toy's own colour and finish, the others are
fixed, so that "a red car" has red metal and black wheels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from pipelines.toybox.vocabulary import KINDS

ELLIPSOID, BOX, CYLINDER, CONE, TORUS, CAPSULE, PRISM = range(7)

ROLES: dict[str, tuple[float, float, float]] = {  # linear RGB albedo
    "body": (0.0, 0.0, 0.0),
    "dark": (0.02, 0.02, 0.022),
    "light": (0.85, 0.85, 0.82),
    "wood": (0.20, 0.09, 0.035),
    "leaf": (0.05, 0.28, 0.04),
    "beak": (0.88, 0.25, 0.02),
    "glass": (0.35, 0.55, 0.72),
    "lamp": (0.95, 0.85, 0.45),
    "steel": (0.35, 0.36, 0.38),
}
ROLE_INDEX = {role: index for index, role in enumerate(ROLES)}


@dataclass(frozen=True, slots=True)
class Primitive:
    """One signed-distance primitive.

    Attributes:
        shape: ELLIPSOID … PRISM.
        at: centre (x, y, z).
        size: four numbers, by shape: ellipsoid radii (rx, ry, rz); box half extents and edge
            radius (hx, hy, hz, r); cylinder along y (r, half height, edge radius); cone along y
            (bottom radius, top radius, half height); torus around y (ring radius, tube radius);
            capsule along y (half length, radius); prism with its ridge along z (half width,
            height, half depth), ``at`` being the middle of its base.
        role: key of ROLES.
        turn: rotation in degrees about x, y, z, applied in that order.
    """

    shape: int
    at: tuple[float, float, float]
    size: tuple[float, float, float, float]
    role: str = "body"
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def reach(self) -> float:
        """Radius of a sphere round ``at`` that holds the primitive."""
        a, b, c, _ = self.size
        match self.shape:
            case 0:
                return max(a, b, c)
            case 1:
                return float(np.sqrt(a * a + b * b + c * c))
            case 2:
                return float(np.hypot(a, b))
            case 3:
                return float(np.hypot(max(a, b), c))
            case 4:
                return a + b
            case 5:
                return a + b
            case _:
                return float(np.sqrt(a * a + b * b + c * c))


def _egg(x, y, z, rx, ry=None, rz=None, role="body", turn=(0, 0, 0)):
    ry = rx if ry is None else ry
    return Primitive(ELLIPSOID, (x, y, z), (rx, ry, rx if rz is None else rz, 0), role, turn)


def _box(x, y, z, hx, hy, hz, r=0.03, role="body", turn=(0, 0, 0)):
    return Primitive(BOX, (x, y, z), (hx, hy, hz, r), role, turn)


def _cyl(x, y, z, radius, half, role="body", turn=(0, 0, 0), edge=0.015):
    return Primitive(CYLINDER, (x, y, z), (radius, half, edge, 0), role, turn)


def _cone(x, y, z, bottom, top, half, role="body", turn=(0, 0, 0)):
    return Primitive(CONE, (x, y, z), (bottom, top, half, 0), role, turn)


def _ring(x, y, z, ring, tube, role="body", turn=(0, 0, 0)):
    return Primitive(TORUS, (x, y, z), (ring, tube, 0, 0), role, turn)


def _rod(x, y, z, half, radius, role="body", turn=(0, 0, 0)):
    return Primitive(CAPSULE, (x, y, z), (half, radius, 0, 0), role, turn)


def _bar(start, end, radius, role="body"):
    """A rod from one point (x, y) to another, at z = 0."""
    (x0, y0), (x1, y1) = start, end
    half = float(np.hypot(x1 - x0, y1 - y0)) / 2
    lean = float(np.degrees(np.arctan2(x0 - x1, y1 - y0)))
    return _rod((x0 + x1) / 2, (y0 + y1) / 2, 0, half, radius, role, (0, 0, lean))


def _roof(x, y, z, half_width, height, half_depth, role="body", turn=(0, 0, 0)):
    return Primitive(PRISM, (x, y, z), (half_width, height, half_depth, 0), role, turn)


def _wheels(xs, y, z, radius, half, role="dark"):
    return [_cyl(x, y, s * z, radius, half, role, (90, 0, 0)) for x in xs for s in (-1, 1)]


def _eyes(x, y, z, radius=0.045, role="dark"):
    return [_egg(s * x, y, z, radius, role=role) for s in (-1, 1)]


def _legs(xs, zs, half, radius, role="body"):
    return [_cyl(x, half, z, radius, half, role) for x in xs for z in zs]


_SHAPES: dict[str, list[Primitive]] = {
    "ball": [_egg(0, 0.45, 0, 0.45)],
    "cube": [_box(0, 0.4, 0, 0.4, 0.4, 0.4, 0.05)],
    "cone": [_cone(0, 0.5, 0, 0.45, 0.02, 0.5), _box(0, 0.04, 0, 0.5, 0.04, 0.5, 0.02)],
    "donut": [_ring(0, 0.47, 0, 0.32, 0.15, turn=(78, 0, 0))],
    "mug": [
        _cyl(0, 0.42, 0, 0.34, 0.42, edge=0.04),
        _cyl(0, 0.82, 0, 0.28, 0.03, "dark"),
        _ring(0.36, 0.44, 0, 0.21, 0.06, turn=(90, 0, 0)),
    ],
    "snowman": [
        _egg(0, 0.30, 0, 0.34),
        _egg(0, 0.72, 0, 0.25),
        _egg(0, 1.04, 0, 0.18),
        _cone(0, 1.04, 0.25, 0.05, 0.005, 0.11, "beak", (90, 0, 0)),
        *_eyes(0.07, 1.10, 0.15, 0.03),
        _cyl(0, 1.24, 0, 0.15, 0.10, "dark"),
        _cyl(0, 1.16, 0, 0.24, 0.02, "dark"),
    ],
    "mushroom": [
        _cyl(0, 0.28, 0, 0.15, 0.28, "light", edge=0.05),
        _egg(0, 0.60, 0, 0.48, 0.30, 0.48),
        _egg(-0.18, 0.80, 0.22, 0.09, 0.06, 0.09, "light"),
        _egg(0.20, 0.76, 0.26, 0.07, 0.06, 0.07, "light"),
    ],
    "tree": [
        _cyl(0, 0.14, 0, 0.09, 0.16, "wood"),
        _cone(0, 0.46, 0, 0.44, 0.16, 0.20),
        _cone(0, 0.76, 0, 0.36, 0.10, 0.18),
        _cone(0, 1.06, 0, 0.27, 0.01, 0.20),
    ],
    "house": [
        _box(0, 0.30, 0, 0.42, 0.30, 0.34, 0.01),
        _roof(0, 0.58, 0, 0.52, 0.42, 0.42, "wood"),
        _box(-0.16, 0.17, 0.34, 0.09, 0.17, 0.02, 0.005, "dark"),
        _box(0.19, 0.34, 0.34, 0.10, 0.09, 0.02, 0.005, "lamp"),
        _box(0.26, 0.88, 0, 0.06, 0.14, 0.06, 0.005, "steel"),
    ],
    "rocket": [
        _cyl(0, 0.55, 0, 0.20, 0.35, edge=0.03),
        _cone(0, 1.07, 0, 0.20, 0.01, 0.18, "light"),
        _egg(0, 0.70, 0.17, 0.09, 0.09, 0.06, "glass"),
        _cone(0, 0.13, 0, 0.19, 0.11, 0.09, "dark"),
        _box(-0.27, 0.27, 0, 0.12, 0.16, 0.025, 0.01, turn=(0, 0, -22)),
        _box(0.27, 0.27, 0, 0.12, 0.16, 0.025, 0.01, turn=(0, 0, 22)),
        _box(0, 0.25, 0.24, 0.025, 0.15, 0.10, 0.01),
    ],
    "car": [
        _box(0, 0.30, 0, 0.62, 0.15, 0.30, 0.08),
        _box(-0.04, 0.54, 0, 0.34, 0.15, 0.25, 0.08),
        _box(-0.04, 0.55, 0, 0.29, 0.09, 0.262, 0.03, "glass"),
        *_wheels((-0.36, 0.36), 0.16, 0.28, 0.16, 0.06),
        _egg(0.61, 0.33, 0.18, 0.05, role="lamp"),
        _egg(0.61, 0.33, -0.18, 0.05, role="lamp"),
    ],
    "chair": [
        _box(0, 0.45, 0, 0.32, 0.05, 0.32, 0.02),
        _box(0, 0.82, -0.28, 0.32, 0.34, 0.04, 0.02),
        *_legs((-0.26, 0.26), (-0.26, 0.26), 0.21, 0.045),
    ],
    "table": [
        _box(0, 0.60, 0, 0.56, 0.05, 0.38, 0.02),
        *_legs((-0.46, 0.46), (-0.28, 0.28), 0.28, 0.05),
    ],
    "duck": [
        _egg(-0.05, 0.30, 0, 0.44, 0.29, 0.30),
        _egg(0.26, 0.72, 0, 0.23),
        _egg(0.51, 0.69, 0, 0.13, 0.05, 0.10, "beak"),
        _cone(-0.46, 0.46, 0, 0.13, 0.02, 0.14, turn=(0, 0, 55)),
        _egg(0.34, 0.80, 0.18, 0.04, role="dark"),
        _egg(0.34, 0.80, -0.18, 0.04, role="dark"),
        _egg(-0.10, 0.36, 0.26, 0.24, 0.14, 0.07),
    ],
    "cactus": [
        _rod(0, 0.58, 0, 0.40, 0.16),
        _rod(-0.29, 0.55, 0, 0.10, 0.075, turn=(0, 0, 90)),
        _rod(-0.38, 0.70, 0, 0.14, 0.085),
        _rod(0.28, 0.70, 0, 0.10, 0.07, turn=(0, 0, 90)),
        _rod(0.36, 0.84, 0, 0.12, 0.08),
        _cone(0, 0.11, 0, 0.20, 0.27, 0.11, "wood"),
    ],
    "cat": [
        _egg(0, 0.30, -0.06, 0.28, 0.33, 0.30),
        _egg(0, 0.74, 0.08, 0.27, 0.23, 0.23),
        _cone(-0.17, 0.98, 0.06, 0.11, 0.01, 0.13, turn=(0, 0, 12)),
        _cone(0.17, 0.98, 0.06, 0.11, 0.01, 0.13, turn=(0, 0, -12)),
        *_eyes(0.11, 0.78, 0.27, 0.045, "lamp"),
        _egg(0, 0.69, 0.31, 0.035, role="dark"),
        _egg(-0.13, 0.10, 0.22, 0.09, 0.10, 0.12),
        _egg(0.13, 0.10, 0.22, 0.09, 0.10, 0.12),
        _rod(0.36, 0.28, -0.16, 0.24, 0.055, turn=(0, 0, -28)),
    ],
    "fish": [
        _egg(0.06, 0.46, 0, 0.46, 0.30, 0.18),
        _cone(-0.48, 0.46, 0, 0.27, 0.03, 0.16, turn=(0, 0, -90)),
        _cone(0.02, 0.78, 0, 0.20, 0.04, 0.10, turn=(0, 0, 14)),
        _egg(0.30, 0.54, 0.13, 0.07, role="light"),
        _egg(0.32, 0.54, 0.18, 0.04, role="dark"),
        _cyl(0.05, 0.09, 0, 0.03, 0.09, "steel"),
    ],
    "flower": [
        _rod(0, 0.34, 0, 0.34, 0.04, "leaf"),
        _egg(-0.16, 0.24, 0, 0.17, 0.05, 0.08, "leaf", (0, 0, -30)),
        _egg(0.16, 0.30, 0, 0.17, 0.05, 0.08, "leaf", (0, 0, 30)),
        *[
            _egg(
                0.25 * float(np.cos(a)),
                0.84 + 0.25 * float(np.sin(a)),
                0.02,
                0.17,
                0.12,
                0.06,
                turn=(0, 0, float(np.degrees(a))),
            )
            for a in np.arange(6) * np.pi / 3 + np.pi / 6
        ],
        _egg(0, 0.84, 0.06, 0.13, 0.13, 0.07, "lamp"),
    ],
    "boat": [
        _egg(0, 0.22, 0, 0.62, 0.15, 0.27),
        _box(0, 0.13, 0, 0.36, 0.12, 0.18, 0.05),
        _box(0, 0.33, 0, 0.34, 0.05, 0.14, 0.02, "wood"),
        _cyl(0.0, 0.72, 0, 0.03, 0.44, "wood"),
        _roof(-0.21, 0.44, 0, 0.20, 0.66, 0.02, "light"),
        _roof(0.20, 0.44, 0, 0.15, 0.48, 0.02, "light"),
    ],
    "plane": [
        _rod(0, 0.46, 0, 0.46, 0.15, turn=(0, 0, 90)),
        _box(0.06, 0.46, 0, 0.14, 0.025, 0.62, 0.02, turn=(0, 12, 0)),
        _box(-0.50, 0.68, 0, 0.10, 0.18, 0.025, 0.02, turn=(0, 0, 18)),
        _box(-0.50, 0.50, 0, 0.08, 0.02, 0.26, 0.01),
        _egg(0.36, 0.54, 0, 0.16, 0.10, 0.11, "glass"),
        _cyl(0, 0.16, 0, 0.03, 0.16, "steel"),
        _cyl(0, 0.03, 0, 0.20, 0.03, "steel"),
    ],
    "robot": [
        _box(0, 0.50, 0, 0.25, 0.24, 0.17, 0.03),
        _box(0, 0.93, 0, 0.19, 0.15, 0.15, 0.03),
        *_eyes(0.08, 0.96, 0.15, 0.05, "lamp"),
        _cyl(0, 1.14, 0, 0.02, 0.08, "steel"),
        _egg(0, 1.24, 0, 0.05, role="beak"),
        _rod(-0.34, 0.50, 0, 0.16, 0.06, "steel"),
        _rod(0.34, 0.50, 0, 0.16, 0.06, "steel"),
        _cyl(-0.13, 0.13, 0, 0.08, 0.13, "steel"),
        _cyl(0.13, 0.13, 0, 0.08, 0.13, "steel"),
    ],
    "lamp": [
        _cyl(0, 0.04, 0, 0.26, 0.04, "dark"),
        _cyl(0, 0.38, 0, 0.035, 0.34, "steel"),
        _cone(0, 0.86, 0, 0.40, 0.20, 0.24),
        _egg(0, 0.66, 0, 0.12, role="lamp"),
    ],
    "castle": [
        _box(0, 0.30, 0, 0.42, 0.30, 0.25, 0.01),
        *[
            part
            for x in (-0.44, 0.44)
            for part in (
                _cyl(x, 0.42, 0.10, 0.17, 0.42),
                _cone(x, 1.0, 0.10, 0.22, 0.01, 0.17, "wood"),
            )
        ],
        _box(0, 0.16, 0.25, 0.11, 0.17, 0.02, 0.01, "dark"),
        *[_box(x, 0.65, 0.19, 0.06, 0.06, 0.06, 0.005) for x in (-0.18, 0.0, 0.18)],
    ],
    "apple": [
        _egg(-0.10, 0.42, 0, 0.34, 0.41, 0.38),
        _egg(0.10, 0.42, 0, 0.34, 0.41, 0.38),
        _cyl(0.02, 0.88, 0, 0.03, 0.11, "wood", (0, 0, -14)),
        _egg(0.18, 0.93, 0, 0.16, 0.04, 0.08, "leaf", (0, 0, 22)),
    ],
    "dog": [
        _egg(-0.08, 0.42, 0, 0.42, 0.20, 0.20),
        *_legs((-0.36, 0.20), (-0.11, 0.11), 0.14, 0.07),
        _egg(0.38, 0.72, 0, 0.20),
        _egg(0.56, 0.66, 0, 0.13, 0.09, 0.10),
        _egg(0.68, 0.68, 0, 0.04, role="dark"),
        _egg(0.32, 0.70, 0.20, 0.08, 0.18, 0.05, "dark"),
        _egg(0.32, 0.70, -0.20, 0.08, 0.18, 0.05, "dark"),
        _egg(0.47, 0.80, 0.13, 0.035, role="dark"),
        _rod(-0.56, 0.60, 0, 0.14, 0.045, turn=(0, 0, 40)),
    ],
    "bird": [
        _egg(0, 0.50, 0, 0.32, 0.24, 0.22, turn=(0, 0, 24)),
        _egg(0.28, 0.76, 0, 0.17),
        _cone(0.49, 0.76, 0, 0.06, 0.005, 0.09, "beak", (0, 0, -90)),
        _egg(0.34, 0.81, 0.13, 0.035, role="dark"),
        _box(-0.42, 0.34, 0, 0.20, 0.03, 0.09, 0.01, turn=(0, 0, 24)),
        _egg(-0.06, 0.54, 0.20, 0.22, 0.11, 0.05, turn=(0, 0, 24)),
        _cyl(0.02, 0.14, 0.08, 0.025, 0.14, "beak"),
        _cyl(0.02, 0.14, -0.08, 0.025, 0.14, "beak"),
    ],
    "train": [
        _cyl(0.14, 0.50, 0, 0.20, 0.40, turn=(0, 0, 90)),
        _box(-0.38, 0.58, 0, 0.18, 0.30, 0.25, 0.02),
        _box(-0.38, 0.91, 0, 0.23, 0.03, 0.29, 0.01, "dark"),
        _box(0, 0.26, 0, 0.60, 0.07, 0.22, 0.01, "dark"),
        _cone(0.38, 0.80, 0, 0.07, 0.12, 0.14, "dark"),
        _box(-0.38, 0.68, 0, 0.10, 0.10, 0.255, 0.01, "glass"),
        *_wheels((-0.40, 0.0, 0.38), 0.15, 0.22, 0.15, 0.04, "steel"),
    ],
    "cake": [
        _cyl(0, 0.20, 0, 0.52, 0.20, edge=0.04),
        _cyl(0, 0.54, 0, 0.36, 0.16, edge=0.04),
        _cyl(0, 0.41, 0, 0.37, 0.03, "light"),
        _cyl(0, 0.70, 0, 0.33, 0.03, "light"),
        *[_cyl(x, 0.84, 0, 0.03, 0.12, "beak") for x in (-0.16, 0.0, 0.16)],
        *[_egg(x, 1.0, 0, 0.035, 0.06, 0.035, "lamp") for x in (-0.16, 0.0, 0.16)],
    ],
    "bear": [
        _egg(0, 0.38, 0, 0.31, 0.32, 0.26),
        _egg(0, 0.84, 0.03, 0.25, 0.22, 0.22),
        _egg(-0.20, 1.03, 0, 0.10, 0.10, 0.06),
        _egg(0.20, 1.03, 0, 0.10, 0.10, 0.06),
        _egg(0, 0.78, 0.22, 0.11, 0.09, 0.08, "light"),
        _egg(0, 0.81, 0.30, 0.035, role="dark"),
        *_eyes(0.10, 0.92, 0.22, 0.035),
        _egg(-0.34, 0.48, 0.10, 0.11, 0.20, 0.11, turn=(0, 0, -30)),
        _egg(0.34, 0.48, 0.10, 0.11, 0.20, 0.11, turn=(0, 0, 30)),
        _egg(-0.22, 0.13, 0.20, 0.13, 0.13, 0.20),
        _egg(0.22, 0.13, 0.20, 0.13, 0.13, 0.20),
    ],
    "bridge": [
        _ring(0, -0.02, 0.16, 0.40, 0.07, turn=(90, 0, 0)),
        _ring(0, -0.02, -0.16, 0.40, 0.07, turn=(90, 0, 0)),
        _box(0, 0.50, 0, 0.66, 0.05, 0.24, 0.01),
        _box(-0.56, 0.24, 0, 0.10, 0.26, 0.22, 0.01),
        _box(0.56, 0.24, 0, 0.10, 0.26, 0.22, 0.01),
        _box(0, 0.62, 0.22, 0.66, 0.025, 0.02, 0.005),
        _box(0, 0.62, -0.22, 0.66, 0.025, 0.02, 0.005),
    ],
    "umbrella": [
        _cone(0, 0.88, 0, 0.56, 0.05, 0.18),
        _cyl(0, 0.52, 0, 0.025, 0.46, "steel"),
        _ring(0.08, 0.07, 0, 0.08, 0.03, "wood", (90, 0, 0)),
        _egg(0, 1.10, 0, 0.04, role="steel"),
    ],
    "candle": [
        _cyl(0, 0.44, 0, 0.17, 0.36, edge=0.03),
        _cyl(0, 0.04, 0, 0.32, 0.04, "steel"),
        _cyl(0, 0.84, 0, 0.015, 0.05, "dark"),
        _egg(0, 0.97, 0, 0.07, 0.13, 0.07, "lamp"),
    ],
    "teapot": [
        _egg(0, 0.38, 0, 0.38, 0.34, 0.38),
        _cyl(0, 0.70, 0, 0.16, 0.03),
        _egg(0, 0.78, 0, 0.07),
        _cone(0.46, 0.46, 0, 0.11, 0.05, 0.20, turn=(0, 0, -48)),
        _ring(-0.40, 0.42, 0, 0.20, 0.05, turn=(90, 0, 0)),
    ],
    "guitar": [
        _cyl(0, 0.28, 0, 0.30, 0.08, turn=(90, 0, 0)),
        _cyl(0, 0.60, 0, 0.21, 0.08, turn=(90, 0, 0)),
        _cyl(0, 0.44, 0.08, 0.09, 0.015, "dark", (90, 0, 0)),
        _box(0, 0.98, 0.04, 0.05, 0.34, 0.04, 0.01, "wood"),
        _box(0, 1.32, 0.03, 0.08, 0.09, 0.03, 0.01, "dark"),
    ],
    "hat": [
        _cyl(0, 0.04, 0, 0.56, 0.04, edge=0.03),
        _cyl(0, 0.42, 0, 0.33, 0.36, edge=0.03),
        _cyl(0, 0.16, 0, 0.345, 0.07, "light"),
    ],
    "penguin": [
        _egg(0, 0.46, 0, 0.32, 0.46, 0.28),
        _egg(0, 0.42, 0.09, 0.24, 0.36, 0.22, "light"),
        _egg(0, 0.94, 0.02, 0.22),
        _cone(0, 0.92, 0.28, 0.07, 0.01, 0.10, "beak", (90, 0, 0)),
        *_eyes(0.10, 1.00, 0.18, 0.035, "light"),
        _egg(-0.34, 0.50, 0, 0.07, 0.26, 0.13, turn=(0, 0, -16)),
        _egg(0.34, 0.50, 0, 0.07, 0.26, 0.13, turn=(0, 0, 16)),
        _egg(-0.14, 0.05, 0.16, 0.12, 0.05, 0.17, "beak"),
        _egg(0.14, 0.05, 0.16, 0.12, 0.05, 0.17, "beak"),
    ],
    "turtle": [
        _egg(-0.04, 0.24, 0, 0.46, 0.30, 0.38),
        _cyl(-0.04, 0.15, 0, 0.45, 0.04, "light", edge=0.03),
        _egg(0.54, 0.36, 0, 0.17, 0.14, 0.14, "leaf"),
        *[_egg(x, 0.09, z, 0.13, 0.09, 0.11, "leaf") for x in (-0.34, 0.26) for z in (-0.3, 0.3)],
        *[_egg(0.61, 0.42, z, 0.035, role="dark") for z in (-0.10, 0.10)],
        _cone(-0.54, 0.14, 0, 0.06, 0.01, 0.09, "leaf", (0, 0, 80)),
    ],
    "truck": [
        _box(-0.20, 0.56, 0, 0.44, 0.32, 0.29, 0.02),
        _box(0.46, 0.42, 0, 0.18, 0.26, 0.26, 0.05),
        _box(0.49, 0.53, 0, 0.158, 0.10, 0.27, 0.02, "glass"),
        _box(0, 0.19, 0, 0.63, 0.05, 0.22, 0.01, "dark"),
        *_wheels((-0.46, -0.14, 0.42), 0.15, 0.25, 0.15, 0.06),
        *[_egg(0.63, 0.28, z, 0.045, role="lamp") for z in (-0.17, 0.17)],
    ],
    "bicycle": [
        *[_ring(x, 0.31, 0, 0.27, 0.04, "dark", (90, 0, 0)) for x in (-0.40, 0.40)],
        _bar((-0.40, 0.31), (-0.14, 0.62), 0.03),
        _bar((-0.40, 0.31), (-0.06, 0.28), 0.03),
        _bar((-0.06, 0.28), (-0.17, 0.74), 0.035),
        _bar((-0.14, 0.62), (0.27, 0.68), 0.04),
        _bar((-0.06, 0.28), (0.27, 0.64), 0.04),
        _bar((0.40, 0.31), (0.24, 0.86), 0.035),
        _rod(0.24, 0.86, 0, 0.17, 0.035, "dark", (90, 0, 0)),
        _egg(-0.19, 0.77, 0, 0.14, 0.045, 0.08, "dark"),
        _cyl(-0.06, 0.28, 0, 0.08, 0.03, "steel", (90, 0, 0)),
    ],
    "bed": [
        _box(0, 0.20, 0, 0.64, 0.07, 0.38, 0.02, "wood"),
        _box(0, 0.33, 0, 0.62, 0.10, 0.36, 0.05, "light"),
        _box(0.17, 0.37, 0, 0.46, 0.09, 0.39, 0.05),
        _box(-0.66, 0.40, 0, 0.04, 0.40, 0.40, 0.03, "wood"),
        _box(0.66, 0.26, 0, 0.04, 0.26, 0.40, 0.03, "wood"),
        _egg(-0.45, 0.47, 0, 0.14, 0.08, 0.27, "light"),
    ],
    "rabbit": [
        _egg(0, 0.30, -0.04, 0.27, 0.31, 0.28),
        _egg(0, 0.70, 0.08, 0.23, 0.20, 0.20),
        *[_egg(s * 0.12, 1.06, 0.03, 0.075, 0.26, 0.05, turn=(0, 0, -9 * s)) for s in (-1, 1)],
        *[_egg(s * 0.12, 1.05, 0.06, 0.04, 0.18, 0.03, "light", (0, 0, -9 * s)) for s in (-1, 1)],
        *_eyes(0.10, 0.76, 0.24, 0.04),
        _egg(0, 0.65, 0.22, 0.11, 0.08, 0.08, "light"),
        _egg(0, 0.69, 0.29, 0.035, role="beak"),
        *[_egg(s * 0.15, 0.08, 0.20, 0.10, 0.08, 0.19) for s in (-1, 1)],
        _egg(0.18, 0.16, -0.26, 0.12, role="light"),
    ],
    "horse": [
        _egg(-0.06, 0.64, 0, 0.42, 0.21, 0.20),
        *_legs((-0.36, 0.22), (-0.11, 0.11), 0.27, 0.06),
        *_legs((-0.36, 0.22), (-0.11, 0.11), 0.05, 0.07, "dark"),
        _bar((0.26, 0.70), (0.44, 1.06), 0.11),
        _egg(0.58, 1.06, 0, 0.22, 0.11, 0.10, turn=(0, 0, -32)),
        *[_cone(0.44, 1.22, z, 0.04, 0.005, 0.08) for z in (-0.06, 0.06)],
        _bar((0.12, 0.86), (0.34, 1.16), 0.06, "dark"),
        _bar((-0.46, 0.72), (-0.60, 0.34), 0.05, "dark"),
        *[_egg(0.53, 1.12, z, 0.03, role="dark") for z in (-0.09, 0.09)],
    ],
    "sofa": [
        _box(0, 0.25, 0.02, 0.62, 0.13, 0.30, 0.05),
        _box(0, 0.54, -0.26, 0.62, 0.30, 0.10, 0.07),
        *[_box(s * 0.60, 0.36, 0.02, 0.10, 0.24, 0.32, 0.08) for s in (-1, 1)],
        *[_box(s * 0.25, 0.42, 0.06, 0.24, 0.06, 0.26, 0.05) for s in (-1, 1)],
        *_legs((-0.58, 0.58), (-0.24, 0.26), 0.07, 0.04, "dark"),
        _egg(-0.30, 0.60, -0.10, 0.17, 0.15, 0.08, "light", (-12, 0, 0)),
    ],
    "clock": [
        _cyl(0, 0.50, 0, 0.42, 0.13, turn=(90, 0, 0), edge=0.04),
        _cyl(0, 0.50, 0.13, 0.33, 0.02, "light", (90, 0, 0)),
        _box(0, 0.62, 0.16, 0.025, 0.14, 0.01, 0.005, "dark"),
        _box(0.09, 0.50, 0.16, 0.11, 0.025, 0.01, 0.005, "dark"),
        *[_egg(s * 0.25, 0.94, 0, 0.17, 0.12, 0.14, "steel", (0, 0, -30 * s)) for s in (-1, 1)],
        *[_rod(s * 0.27, 0.12, 0, 0.10, 0.05, "dark", (0, 0, 28 * s)) for s in (-1, 1)],
    ],
    "elephant": [
        _egg(-0.10, 0.58, 0, 0.42, 0.31, 0.29),
        *_legs((-0.36, 0.16), (-0.15, 0.15), 0.20, 0.11),
        _egg(0.40, 0.76, 0, 0.24, 0.24, 0.22),
        *[_egg(0.28, 0.76, s * 0.24, 0.19, 0.24, 0.05, turn=(0, -18 * s, 0)) for s in (-1, 1)],
        _bar((0.58, 0.70), (0.68, 0.36), 0.085),
        _bar((0.68, 0.36), (0.78, 0.20), 0.065),
        *[_cone(0.66, 0.52, z, 0.04, 0.01, 0.13, "light", (0, 0, -70)) for z in (-0.13, 0.13)],
        *[_egg(0.56, 0.84, z, 0.04, role="dark") for z in (-0.15, 0.15)],
        _bar((-0.50, 0.62), (-0.60, 0.34), 0.035),
    ],
}
assert _SHAPES.keys() == KINDS.keys()

_TOPS: dict[str, float] = {"cube": 0.80, "table": 0.65, "house": 1.0, "cake": 0.72}
_REACH = 1.04  # every toy is scaled until its larger side is this long


@dataclass(frozen=True)
class Shape:
    """A kind's primitives as arrays, ready for the renderer.

    Attributes:
        kinds: (P,) int32, ELLIPSOID … PRISM.
        centres: (P, 3) float32.
        turns: (P, 3, 3) float32, world-from-primitive rotations.
        sizes: (P, 4) float32.
        roles: (P,) int32, indices into ROLES.
        middle: (3,) float32 and radius: the sphere that bounds the toy.
        top: height at which another toy stands on this one; 0 where none can.
    """

    kinds: np.ndarray
    centres: np.ndarray
    turns: np.ndarray
    sizes: np.ndarray
    roles: np.ndarray
    middle: np.ndarray
    radius: float
    top: float


@cache
def shape_of(kind: str) -> Shape:
    """The primitives of ``kind`` as arrays, with their bounding sphere."""
    parts = _SHAPES[kind]
    centres = np.array([p.at for p in parts])
    turns = np.stack([rotation(*p.turn) for p in parts])
    halves = np.stack([_extent(p, turn) for p, turn in zip(parts, turns, strict=True)])
    low, high = (centres - halves).min(0), (centres + halves).max(0)
    fit = _REACH / max(high[1], 0.9 * (high[0] - low[0]), 0.9 * (high[2] - low[2]))
    middle = (low + high) / 2
    reaches = np.array([p.reach for p in parts])
    return Shape(
        kinds=np.array([p.shape for p in parts], np.int32),
        centres=(centres * fit).astype(np.float32),
        turns=turns.astype(np.float32),
        sizes=(np.array([p.size for p in parts]) * fit).astype(np.float32),
        roles=np.array([ROLE_INDEX[p.role] for p in parts], np.int32),
        middle=(middle * fit).astype(np.float32),
        radius=float((np.linalg.norm(centres - middle, axis=1) + reaches).max() * fit),
        top=_TOPS.get(kind, 0.0) * fit,
    )


def _extent(part: Primitive, turn: np.ndarray) -> np.ndarray:
    """(3,) half extents along x, y, z of the turned primitive (a prism's from its base)."""
    a, b, c, _ = part.size
    half = {
        ELLIPSOID: (a, b, c),
        BOX: (a, b, c),
        CYLINDER: (a, b, a),
        CONE: (max(a, b), c, max(a, b)),
        TORUS: (a + b, b, a + b),
        CAPSULE: (b, a + b, b),
        PRISM: (a, b, c),
    }[part.shape]
    if part.shape == ELLIPSOID:
        return np.sqrt(((turn * half) ** 2).sum(1))
    return np.abs(turn) @ half


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """(3, 3) rotation by ``x``, ``y``, ``z`` degrees about those axes, in that order."""
    cx, cy, cz = np.cos(np.radians((x, y, z)))
    sx, sy, sz = np.sin(np.radians((x, y, z)))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x
