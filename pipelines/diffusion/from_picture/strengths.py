"""What each strength does to a picture, as it was measured; see ``benchmarks/from_picture.py``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

from pipelines.core.paths import ASSETS

STRENGTHS = ASSETS / "starter" / "strengths.json"
_NEARLY_ALL, _HALF = 0.9, 0.5


@dataclass(frozen=True, slots=True)
class Curves:
    """Shares in 0 … 1 at each strength.

    Attributes:
        new: of pictures in which what was asked for is read.
        old: how far the outlines are those of the picture before, by F1.
        both: the strengths from which and up to which nearly all pictures show what was asked for
            and half of the outlines stay; None where there are none.
    """

    strengths: tuple[float, ...]
    new: tuple[float, ...]
    old: tuple[float, ...]
    both: tuple[float, float] | None


@cache
def starter_curves() -> Curves | None:
    """The starter's, the only model that has been measured; None without the file."""
    if not STRENGTHS.is_file():
        return None
    rows = json.loads(STRENGTHS.read_text(encoding="utf-8"))["rows"]
    new, old = ([row["colour"] / 100 for row in rows], [row["edges"] for row in rows])
    both = [row["strength"] for row, more, less in zip(rows, new, old, strict=True)
            if more >= _NEARLY_ALL and less >= _HALF]  # fmt: skip
    return Curves(
        strengths=tuple(row["strength"] for row in rows),
        new=tuple(new),
        old=tuple(old),
        both=(both[0], both[-1]) if both else None,
    )
