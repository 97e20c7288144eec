"""Whether a picture shows what its prompt asks for, as the judge sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from pipelines.toybox.vocabulary import COLOURS, COUNTS, KINDS, PLACES, plural_of

if TYPE_CHECKING:
    from pipelines.toybox.judge import Verdict


@dataclass(frozen=True, slots=True)
class Asked:
    """What a prompt asks for.

    Attributes:
        toys: kind and colour of each; a colour that is not said is "".
        place: "" where none is said.
    """

    toys: tuple[tuple[str, str], ...]
    place: str

    @property
    def count(self) -> int:
        """How many things can be right: each kind, each colour, the place."""
        colours = sum(bool(colour) for _, colour in self.toys)
        return len(self.toys) + colours + bool(self.place)


def read_prompt(prompt: str) -> Asked:
    """What of a prompt the judge can see.

    >>> read_prompt("a shiny red cup left of a duck, in the snow")
    Asked(toys=(('mug', 'red'), ('duck', '')), place='snow')
    >>> read_prompt("two green apples").toys
    (('apple', 'green'), ('apple', 'green'))
    """
    toys: list[tuple[str, str]] = []
    place = colour = ""
    count = 1
    for table, name in _words_of(prompt):
        if table == "place":
            place = place or name
        elif table == "colour":
            colour = name
        elif table == "count":
            count = int(name)
        else:
            toys += [(name, colour)] * count
            colour, count = "", 1
    return Asked(tuple(toys), place)


def count_right(asked: Asked, verdict: Verdict) -> int:
    """How many of :attr:`Asked.count` things are as the prompt has them."""
    left = list(verdict.toys)
    right = int(bool(asked.place) and verdict.place == asked.place)
    for kind, colour in asked.toys:
        same = [toy for toy in left if toy.kind == kind]
        if not same:
            continue
        best = next((toy for toy in same if toy.colour == colour), same[0])
        left.remove(best)
        right += 1 + int(bool(colour) and best.colour == colour)
    return right


def _words_of(prompt: str) -> Iterator[tuple[str, str]]:
    """What is found in a prompt, in its order: table and canonical name."""
    pattern, names = _vocabulary()
    return (names[match[0].lower()] for match in pattern.finditer(prompt))


@cache
def _vocabulary() -> tuple[re.Pattern[str], Mapping[str, tuple[str, str]]]:
    kinds = {name: [*ways, *map(plural_of, ways)] for name, ways in KINDS.items()}
    counts = {str(count): ways for count, ways in COUNTS.items()}
    tables = {"kind": kinds, "colour": COLOURS, "place": PLACES, "count": counts}
    names = {
        way: (table, name)
        for table, entries in tables.items()
        for name, ways in entries.items()
        for way in ways
    }
    # The longest first: "on a white background" is no colour, "orange" no part of another word.
    ways = "|".join(re.escape(way) for way in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{ways})(?!\w)", re.IGNORECASE), names
