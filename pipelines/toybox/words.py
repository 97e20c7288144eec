"""Which words the starter model has seen, so that the page can say when a prompt has others."""

from __future__ import annotations

import re
from functools import cache

from pipelines.toybox.vocabulary import (
    COLOURS,
    FINISHES,
    FIRST_RELEASE,
    KINDS,
    PLACES,
    RELATIONS,
    SIZES,
    UNREAD,
)

# What captions say around the toys, and words so common that no one expects a picture of them.
_GRAMMAR = (
    "a photo of, a picture of, an image of, a render of, there is, toy",
    "and, next to, beside, with, on the left and on the right, in the middle, from left to right",
    "the this that one some it its is are be has by from for as or my very",
)
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
# Prompt syntax that is not said to the text encoder: <lora:name:0.8> and the separator BREAK.
_SYNTAX = re.compile(r"<[^<>]*>|\bBREAK\b")


@cache
def known_words() -> frozenset[str]:
    """Every word that may stand in a training caption, lower case, and common English glue.

    Of the kinds only those of the first release: a kind held out is a word never seen.
    """
    kinds = [KINDS[kind] for kind in FIRST_RELEASE]
    tables = (COLOURS, FINISHES, SIZES, PLACES, RELATIONS)
    others = [ways for table in tables for ways in table.values()]
    phrases = [phrase for ways in (*kinds, *others, _GRAMMAR) for phrase in ways]
    phrases = [phrase for phrase in phrases if phrase not in UNREAD]
    return frozenset(word.lower() for phrase in phrases for word in _WORD.findall(phrase))


def unknown_words(prompt: str) -> list[str]:
    """The words of ``prompt`` that the starter has never seen, in order, each once, as written."""
    unknown: dict[str, str] = {}
    for word in _WORD.findall(_SYNTAX.sub(" ", prompt)):
        if word.lower() not in known_words():
            unknown.setdefault(word.lower(), word)
    return list(unknown.values())
