"""Pictures of one toy in many places, as somebody would photograph it: to teach it to a model.

``python -m pipelines.toybox.render.photographs assets/examples/teapot teapot`` has made the
example photos that ship. Needs numba, from ``requirements-dev.txt``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from pipelines.toybox.render.renderer import render
from pipelines.toybox.scenes import FIELD_OF_VIEW, Scene, Thing
from pipelines.toybox.vocabulary import COLOURS, FINISHES, HELD_OUT, PLACES

COUNT = 10
LONG_SIDE, SHORT_SIDE = 480, 360  # pixels
QUALITY = 85  # of the JPEGs
CLASS_WORDS = {"teapot": "mug", "guitar": "chair", "hat": "cone", "penguin": "duck"}
"""For each kind held out, what a model that has never seen it takes it for."""


@dataclass(frozen=True, slots=True)
class Photograph:
    """A picture of a toy.

    Attributes:
        scene: what was rendered.
        image: (H, W, 3) uint8.
        caption: with ``[trigger]`` for the toy and the words for its place.
    """

    scene: Scene
    image: np.ndarray
    caption: str


def photographs(
    kind: str,
    colour: str,
    finish: str = "matte",
    count: int = COUNT,
    seed: int = 0,
    size: int | None = None,
) -> Iterator[Photograph]:
    """``count`` pictures of the same toy in different places, light and views.

    Args:
        kind, colour, finish: the toy, words of the vocabulary.
        count: how many; places come in turn.
        seed: the same gives the same pictures.
        size: side of square pictures in pixels; None: 480 × 360 or upright, as it comes.
    """
    rounds = -(-count // len(PLACES))
    order = np.random.default_rng((seed, 0))
    places = [str(place) for _ in range(rounds) for place in order.permutation(list(PLACES))]
    for number, place in enumerate(places[:count]):
        rng = np.random.default_rng((seed, 1, number))  # a picture depends on its number alone
        upright = size is None and rng.random() < 0.3
        width, height = (LONG_SIDE, SHORT_SIDE) if size is None else (size, size)
        if upright:
            width, height = height, width
        scene = _scene(rng, Thing(kind, colour, finish), place)
        if upright:  # the field of view is the vertical one: the toy must fit the narrow side
            scene = replace(scene, distance=scene.distance * height / width)
        caption = f"a [trigger] {PLACES[place][0]}"
        yield Photograph(scene, render(scene, width, height).image, caption)


def _scene(rng: np.random.Generator, toy: Thing, place: str) -> Scene:
    low, high = (20, 28) if place == "sunset" else (34, 62)
    distance = 1.78 / (2 * np.tan(np.radians(FIELD_OF_VIEW / 2)))
    return Scene(
        place=place,
        things=(
            replace(
                toy,
                x=float(rng.uniform(-0.25, 0.25)),
                z=float(rng.uniform(-0.15, 0.15)),
                yaw=float(rng.uniform(-40, 40)),
            ),
        ),
        distance=float(distance * rng.uniform(0.86, 1.08)),
        pitch=float(rng.uniform(6, 22)),
        azimuth=float(rng.uniform(-15, 15)),
        look_at=0.5 + float(rng.uniform(-0.05, 0.05)),
        sun=(float(rng.choice([-1, 1]) * rng.uniform(20, 70)), float(rng.uniform(low, high))),
        texture_seed=int(rng.integers(1 << 16)),
    )


def write_examples(folder: Path, kind: str, colour: str, finish: str, seed: int = 0) -> None:
    """Writes ten JPEGs and ``about.yaml`` as :mod:`pipelines.dreambooth.data.examples` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    captions = {}
    for number, photo in enumerate(photographs(kind, colour, finish, seed=seed), start=1):
        name = f"{kind}-{number:02d}.jpg"
        Image.fromarray(photo.image).save(folder / name, "JPEG", quality=QUALITY, optimize=True)
        captions[name] = photo.caption
    about = {"name": f"My {kind}", "class_word": CLASS_WORDS[kind], "photos": captions}
    text = yaml.safe_dump(about, sort_keys=False, allow_unicode=True)
    (folder / "about.yaml").write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.toybox.render.photographs",
        description="Makes photos of one toy to teach it to a model.",
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("kind", choices=HELD_OUT)
    parser.add_argument("--colour", choices=sorted(COLOURS), default="turquoise")
    parser.add_argument("--finish", choices=sorted(FINISHES), default="dotted")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args(arguments)
    write_examples(flags.folder, flags.kind, flags.colour, flags.finish, flags.seed)


if __name__ == "__main__":
    main()
