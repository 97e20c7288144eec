"""Names that come close to one that stands for nothing, for the error's sentence."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def closest(name: str, known: Iterable[str], count: int = 3) -> str:
    """The ``count`` of ``known`` that look most like ``name``, best first, as one enumeration."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    matches = get_close_matches(name.casefold(), by_folded, n=count, cutoff=0.0)
    return ", ".join(by_folded[match] for match in matches)
