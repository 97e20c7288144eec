"""How names are compared: which of the known ones a name means, and which come close to it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

_SEPARATORS = str.maketrans(dict.fromkeys("_-‐‑", " "))


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
    """The one of ``known`` that ``name`` means: itself, else the first of another spelling.

    Blanks, hyphens and underscores stand for one another where that leaves one name only.

    >>> find_name("EULER_A", ["Euler", "Euler a"])
    'Euler a'
    """
    candidates = list(known)
    if name in candidates:
        return name
    if (same := same_name(name, candidates)) is not None:
        return same
    key = _words_of(name)
    alike = [candidate for candidate in candidates if _words_of(candidate) == key]
    return alike[0] if len(alike) == 1 else None


def same_name(name: str, known: Iterable[str]) -> str | None:
    """The first of ``known`` that is the same name, perhaps in another spelling.

    Stricter than :func:`find_name`: two things may be called ``a-b`` and ``a b``.
    """
    key = name_key(name)
    return next((candidate for candidate in known if name_key(candidate) == key), None)


def closest(name: str, known: Iterable[str], least: float = 0.0) -> str:
    """The three of ``known`` that look most like ``name``, best first, as one enumeration.

    Args:
        least: likeness from 0 to 1 below which a name is not among them.
    """
    by_key = {name_key(candidate): candidate for candidate in known}
    matches = get_close_matches(name_key(name), by_key, n=3, cutoff=least)
    return ", ".join(by_key[match] for match in matches)


def _words_of(name: str) -> str:
    return name_key(name.translate(_SEPARATORS))
