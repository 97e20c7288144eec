"""What each strength does to a picture, as it was measured; see ``benchmarks/from_picture.py``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.core.paths import ASSETS

if TYPE_CHECKING:
    from pipelines.models.catalog import ModelEntry

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


def curves_of(entry: ModelEntry) -> Curves | None:
    """The curves of a model; None where it has not been measured, or without the file."""
    path = None if entry.strengths is None else ASSETS / entry.strengths
    return _read(path) if path is not None and path.is_file() else None


@cache
def _read(path: Path) -> Curves:
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    new, old = ([row["colour"] / 100 for row in rows], [row["edges"] for row in rows])
    both = [row["strength"] for row, more, less in zip(rows, new, old, strict=True)
            if more >= _NEARLY_ALL and less >= _HALF]  # fmt: skip
    return Curves(
        strengths=tuple(row["strength"] for row in rows),
        new=tuple(new),
        old=tuple(old),
        both=(both[0], both[-1]) if both else None,
    )
