"""How names are compared: which of the known ones a name means, and which come close to it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches


def name_key(name: str) -> str:
    """What all spellings of one name share: composed letters (NFC), no case, single blanks inside.

    A file that comes from a Mac has its ``é`` as two code points, and the prompt that names it as
    one; both mean the same file.

    >>> name_key("  Cafe\\u0301 lights ") == name_key("caf\\u00e9  Lights")
    True
    """
    folded = unicodedata.normalize("NFC", name).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).split())


def find_name(name: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that ``name`` means: itself, else the first of another spelling."""
    candidates = list(known)
    if name in candidates:
        return name
    key = name_key(name)
    return next((candidate for candidate in candidates if name_key(candidate) == key), None)


def closest(name: str, known: Iterable[str], count: int = 3) -> str:
    """The ``count`` of ``known`` that look most like ``name``, best first, as one enumeration."""
    by_key = {name_key(candidate): candidate for candidate in known}
    matches = get_close_matches(name_key(name), by_key, n=count, cutoff=0.0)
    return ", ".join(by_key[match] for match in matches)
