"""Captions: what a person might say of a scene, in many words and orders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from pipelines.toybox.scenes import Scene, Thing
from pipelines.toybox.vocabulary import (
    COLOURS,
    COUNTS,
    FINISHES,
    INVERSE,
    KINDS,
    PLACES,
    RELATIONS,
    SIZES,
    plural_of,
)

_OPENINGS = (
    "",
    "",
    "",
    "a photo of ",
    "a picture of ",
    "an image of ",
    "a render of ",
    "there is ",
)
_AND = (" and ", " and ", " next to ", " beside ", " with ", ", ")


def caption(scene: Scene, seed: int | np.random.Generator, plain: bool = False) -> str:
    """One caption of ``scene``; the same seed gives the same words.

    Args:
        scene: what to describe.
        seed: an integer, or a generator to draw from.
        plain: canonical words, nothing left out: the form that measurements use.
    """
    rng = np.random.default_rng(seed) if isinstance(seed, int) else seed
    if len({thing.look for thing in scene.things}) < len(scene.things):
        text = _count(scene, rng, plain)
    else:
        parts = [_phrase(thing, rng, plain) for thing in scene.things]
        text = _join(scene, parts, rng, plain)
    place = "" if not plain and rng.random() < 0.08 else _say(PLACES[scene.place], rng, plain)
    opening = "" if plain else _OPENINGS[rng.integers(len(_OPENINGS))]
    if place and not plain and rng.random() < 0.2:
        return f"{place}, {opening}{text}"
    return f"{opening}{text} {place}".rstrip()


def _count(scene: Scene, rng: np.random.Generator, plain: bool) -> str:
    """Toys that look the same as one phrase with their number, the odd one after it or before."""
    together = sorted(scene.things, key=lambda thing: thing.look)
    phrases = []
    for _, alike in groupby(together, key=lambda thing: thing.look):
        thing, *others = alike
        phrases.append((_phrase(thing, rng, plain, 1 + len(others)), len(others)))
    phrases.sort(key=lambda phrase: -phrase[1])
    if not plain and rng.random() < 0.5:
        phrases.reverse()
    joint = " and " if plain else _AND[rng.integers(len(_AND))]
    return joint.join(phrase for phrase, _ in phrases)


def _phrase(thing: Thing, rng: np.random.Generator, plain: bool, count: int = 1) -> str:
    words = []
    if thing.size != "medium" and (plain or rng.random() < 0.8):
        words.append(_say(SIZES[thing.size], rng, plain))
    look = []
    if thing.finish != "matte" and (plain or rng.random() < 0.85):
        look.append(_say(FINISHES[thing.finish], rng, plain))
    elif thing.finish == "matte" and not plain and rng.random() < 0.06:
        look.append(FINISHES["matte"][rng.integers(1, 3)])
    if plain or rng.random() < 0.93:
        look.append(_say(COLOURS[thing.colour], rng, plain))
    if not plain and len(look) == 2 and rng.random() < 0.3:
        look.reverse()
    kind = _say(KINDS[thing.kind], rng, plain)
    if count > 1:
        return " ".join([_say(COUNTS[count], rng, plain), *words, *look, plural_of(kind)])
    words += [*look, kind]
    if not plain and rng.random() < 0.08:
        words.insert(0, "toy") if "toy" not in words[-1] else None
    article = "" if not plain and rng.random() < 0.08 else _article(words[0])
    if not plain and rng.random() < 0.08:
        article = "the "
    return article + " ".join(words)


def _article(word: str) -> str:
    return "an " if word[0] in "aeiou" else "a "


def _join(scene: Scene, parts: list[str], rng: np.random.Generator, plain: bool) -> str:
    if len(parts) == 1:
        return parts[0]
    if len(parts) == 3:
        if plain or rng.random() < 0.6:
            return f"{parts[0]}, {parts[1]} and {parts[2]}"
        left, middle, right = (part for _, part in sorted(zip(_xs(scene), parts, strict=True)))
        if rng.random() < 0.5:
            return f"{left} on the left, {middle} in the middle and {right} on the right"
        return f"from left to right {left}, {middle} and {right}"
    first, second = parts
    relation = scene.relation
    say_it = plain or relation == "on top of" or rng.random() < 0.75
    if not say_it or relation is None:
        if rng.random() < 0.5:
            first, second = second, first
        return f"{first}{_AND[rng.integers(len(_AND))]}{second}"
    if not plain and relation != "on top of" and rng.random() < 0.2:
        first, second, relation = second, first, INVERSE[relation]
    if not plain and relation in ("left of", "right of") and rng.random() < 0.15:
        side, other = ("left", "right") if relation == "left of" else ("right", "left")
        return f"{first} on the {side} and {second} on the {other}"
    return f"{first} {_say(RELATIONS[relation], rng, plain)} {second}"


def _xs(scene: Scene) -> list[float]:
    return [thing.x for thing in scene.things]


def _say(words: Sequence[str], rng: np.random.Generator, plain: bool) -> str:
    """The canonical word half of the time, one of the others else."""
    if plain or len(words) == 1 or rng.random() < 0.5:
        return words[0]
    return words[rng.integers(1, len(words))]
