"""Scenes: which toys, in which colours, where, under which light. One seed, one scene."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.toybox.shapes import shape_of
from pipelines.toybox.vocabulary import (
    COLOURS,
    FINISHES,
    FLAT_TOPS,
    INVERSE,
    KINDS,
    PLACES,
    SIZE_SCALE,
    SIZES,
    TRAINED,
)

FIELD_OF_VIEW = 35.0  # degrees, vertical
_FINISH_ODDS = (0.70, 0.10, 0.10, 0.10)
_SIZE_ODDS = (0.2, 0.6, 0.2)
_RELATION_ODDS = {"side": 0.7, "depth": 0.16, "top": 0.14}
_TRAINING_ODDS = (0.35, 0.43, 0.22)  # of one, two and three toys
_TRAINING_ALIKE = 0.25
_LONG_SIDE_FIRST = {
    "car",
    "duck",
    "fish",
    "boat",
    "plane",
    "dog",
    "bird",
    "train",
    "bridge",
    "teapot",
    "turtle",
    "truck",
    "bicycle",
    "bed",
    "horse",
    "elephant",
}


@dataclass(frozen=True, slots=True)
class Thing:
    """One toy in a scene. World units (x right, y up, z to the viewer), degrees."""

    kind: str
    colour: str
    finish: str = "matte"
    size: str = "medium"
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    yaw: float = 0.0
    scale: float = 1.0

    @property
    def look(self) -> tuple[str, str, str, str]:
        """Kind, colour, finish and size: all that a caption says of it."""
        return self.kind, self.colour, self.finish, self.size


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything the renderer and the caption need.

    Attributes:
        things: one to three toys; ``relation`` holds of the first towards the second.
        relation: key of RELATIONS, or None with one toy or with three in a row.
        distance, pitch, azimuth: camera orbit in world units and degrees.
        look_at: height of the point in the picture's middle.
        sun: azimuth and elevation in degrees.
        texture_seed: varies the ground.
    """

    place: str
    things: tuple[Thing, ...]
    relation: str | None = None
    distance: float = 3.2
    pitch: float = 10.0
    azimuth: float = 0.0
    look_at: float = 0.45
    sun: tuple[float, float] = (-40.0, 48.0)
    texture_seed: int = 0

    def __post_init__(self) -> None:
        if self.place not in PLACES:
            raise ValueError(f"place {self.place!r} is none of {', '.join(PLACES)}")
        for thing in self.things:
            for name, known in (
                (thing.kind, KINDS),
                (thing.colour, COLOURS),
                (thing.finish, FINISHES),
                (thing.size, SIZES),
            ):
                if name not in known:
                    raise ValueError(f"{name!r} is none of {', '.join(known)}")


def sample_scene(
    seed: int | tuple[int, ...],
    kinds: Sequence[str] = TRAINED,
    max_things: int = 2,
    things: int | None = None,
    place: str | None = None,
    odds: Sequence[float] | None = None,
    alike: float = 0.0,
) -> Scene:
    """Draws a scene; the same arguments give the same scene.

    Args:
        seed: any non-negative integer, or several.
        kinds: kinds to draw from.
        max_things: 1 to 3; one toy is as likely as all other counts together.
        things: exactly this many toys instead.
        place: exactly this place instead of a random one.
        odds: of one, two and three toys, instead of ``max_things``.
        alike: the share of scenes with several toys in which two or three of them look the same and
            stand side by side.
    """
    rng = np.random.default_rng(seed)
    if things is not None:
        count = things
    elif odds is not None:
        count = 1 + int(rng.choice(len(odds), p=odds))
    else:
        count = 1 if max_things == 1 or rng.random() < 0.5 else int(rng.integers(2, max_things + 1))
    toys = [_thing(rng, kinds) for _ in range(count)]
    place = place or str(rng.choice(list(PLACES)))
    are_alike = count > 1 and alike > 0 and rng.random() < alike
    if are_alike:
        toys = _make_alike(rng, toys)
    if count == 1:
        toys, relation, frame, look_at = *_alone(rng, toys), 1.78, 0.50
    elif count == 2:
        toys, relation, frame, look_at = _pair(rng, toys, kinds, side_by_side=are_alike)
    else:
        toys, relation, frame, look_at = *_row(rng, toys), 3.1, 0.45
    elevation = rng.uniform(20, 28) if place == "sunset" else rng.uniform(38, 60)
    distance = frame / (2 * np.tan(np.radians(FIELD_OF_VIEW / 2)))
    return Scene(
        place=place,
        things=tuple(toys),
        relation=relation,
        distance=float(distance * rng.uniform(0.96, 1.10)),
        pitch=float(rng.uniform(8, 15)),
        azimuth=float(rng.uniform(-8, 8)),
        look_at=look_at + float(rng.uniform(-0.05, 0.06)),
        sun=(float(rng.choice([-1, 1]) * rng.uniform(25, 65)), float(elevation)),
        texture_seed=int(rng.integers(1 << 16)),
    )


def is_reserved(thing: Thing, place: str) -> bool:
    """Whether this kind in this colour at this place is kept for measuring: one triple in 16."""
    return zlib.crc32(f"{thing.kind} {thing.colour} {place}".encode()) % 16 == 0


def training_scene(seed: int, kinds: Sequence[str] = TRAINED) -> Scene:
    """A scene of up to three toys, none of them :func:`is_reserved`: what models are trained on."""
    for attempt in range(1000):
        scene = sample_scene((seed, attempt), kinds, odds=_TRAINING_ODDS, alike=_TRAINING_ALIKE)
        if not any(is_reserved(thing, scene.place) for thing in scene.things):
            return scene
    raise AssertionError("a thousand draws in a row were reserved")


def held_out_scene(
    seed: int, kinds: Sequence[str] = TRAINED, things: int = 1, alike: bool = False
) -> Scene:
    """A scene whose toys are all :func:`is_reserved`: what models are measured on.

    Args:
        alike: several toys look the same.
    """
    for attempt in range(100_000):
        scene = sample_scene((seed, attempt), kinds, things=things, alike=float(alike))
        if all(is_reserved(thing, scene.place) for thing in scene.things):
            return scene
    raise AssertionError("a hundred thousand draws in a row were not reserved")


def _thing(rng: np.random.Generator, kinds: Sequence[str]) -> Thing:
    kind = str(rng.choice(list(kinds)))
    size = str(rng.choice(list(SIZES), p=_SIZE_ODDS))
    turn = rng.uniform(-26, 26)
    if kind in _LONG_SIDE_FIRST and rng.random() < 0.5:
        turn += 180  # facing the other way
    return Thing(
        kind=kind,
        colour=str(rng.choice(list(COLOURS))),
        finish=str(rng.choice(list(FINISHES), p=_FINISH_ODDS)),
        size=size,
        yaw=float(turn),
        scale=float(SIZE_SCALE[size] * rng.uniform(0.95, 1.05)),
    )


def _make_alike(rng: np.random.Generator, toys: list[Thing]) -> list[Thing]:
    """Two of them, or all three, look like the first; the odd one stands at either end."""
    same = 2 if len(toys) == 2 or rng.random() < 0.5 else 3
    first = toys[0]
    toys = [
        replace(
            toy,
            kind=first.kind,
            colour=first.colour,
            finish=first.finish,
            size=first.size,
            scale=first.scale,
        )
        if i < same
        else toy
        for i, toy in enumerate(toys)
    ]
    return toys[::-1] if rng.random() < 0.5 else toys


def _alone(rng: np.random.Generator, toys: list[Thing]) -> tuple[list[Thing], None]:
    return [
        replace(toys[0], x=float(rng.uniform(-0.22, 0.22)), z=float(rng.uniform(-0.1, 0.1)))
    ], None


def _pair(
    rng: np.random.Generator, toys: list[Thing], kinds: Sequence[str], side_by_side: bool
) -> tuple[list[Thing], str, float, float]:
    first, second = (replace(toy, scale=min(toy.scale, 1.12)) for toy in toys)
    tops = [kind for kind in FLAT_TOPS if kind in kinds]
    kind_of_relation = rng.choice(list(_RELATION_ODDS), p=list(_RELATION_ODDS.values()))
    if side_by_side:
        kind_of_relation = "side"
    if kind_of_relation == "top" and tops:
        base = replace(
            second,
            kind=str(rng.choice(tops)),
            size="medium",
            scale=1.0,
            x=float(rng.uniform(-0.12, 0.12)),
            z=0.0,
        )
        top = replace(
            first,
            size="medium",
            scale=float(rng.uniform(0.68, 0.76)),
            x=base.x,
            y=shape_of(base.kind).top,
            z=0.0,
        )
        return [top, base], "on top of", 2.2, 0.82
    if kind_of_relation == "depth":
        side = float(rng.choice([-1, 1]))
        front = replace(
            first, x=-side * float(rng.uniform(0.26, 0.40)), z=float(rng.uniform(0.45, 0.6))
        )
        back = replace(
            second, x=side * float(rng.uniform(0.34, 0.50)), z=float(rng.uniform(-0.9, -0.7))
        )
        pair, relation = [front, back], "in front of"
    else:
        gap = float(rng.uniform(0.58, 0.66))
        depth = rng.uniform(-0.12, 0.12, size=2)
        left = replace(first, x=-gap, z=float(depth[0]))
        right = replace(second, x=gap, z=float(depth[1]))
        pair, relation = [left, right], "left of"
    if rng.random() < 0.5:  # say it the other way round
        pair, relation = pair[::-1], INVERSE[relation]
    return pair, relation, 2.50, 0.50


def _row(rng: np.random.Generator, toys: list[Thing]) -> tuple[list[Thing], None]:
    places = (-1.02, 0.0, 1.02)
    return [
        replace(toy, x=x + float(rng.uniform(-0.05, 0.05)), z=float(rng.uniform(-0.12, 0.12)))
        for toy, x in zip(toys, places, strict=True)
    ], None


def mirror(scene: Scene) -> Scene:
    """The scene that a left-to-right flip of the picture shows: left and right change places."""
    swap = {"left of": "right of", "right of": "left of"}
    things = tuple(replace(t, x=-t.x, yaw=-t.yaw) for t in scene.things)
    return replace(
        scene,
        things=things,
        relation=swap.get(scene.relation, scene.relation),
        azimuth=-scene.azimuth,
        sun=(-scene.sun[0], scene.sun[1]),
    )
