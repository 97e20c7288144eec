"""Bars one below the other, with names before and numbers behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from studio.features.clustering.charts.drawing import (
    WIDTH,
    draw_svg,
    lines_of,
    text_at,
    text_width,
)

_ROW, _BAR, _LINE = 22, 13, 16  # pixels of a row, its bar, and a line of what is said below
_LETTERS = 13
_PHONE = 350  # pixels of a line, of about what a phone has room for
_SHORTEST = 0.4  # % of the room


class Bar(NamedTuple):
    """A row.

    Attributes:
        kind: the class of its colour, or "".
        name: what stands before it.
        share: of the longest that a bar can be, 0 … 1.
        numbers: what stands behind it; of all rows as many.
        about: what stands below.
        figure: the name of what it shows, for tests and scripts, or "".
    """

    kind: str
    name: str
    share: float
    numbers: tuple[str, ...]
    about: str = ""
    figure: str = ""


def bars(rows: Sequence[Bar], label: str) -> str:
    """A drawing of the rows, which fills any width."""
    left = 12 + max(text_width(row.name, _LETTERS) for row in rows)
    rights = [0.0]  # pixels from the bars' room to where each column of numbers ends
    for column in zip(*(row.numbers for row in rows), strict=True):
        rights.append(rights[-1] + 14 + max(text_width(number, _LETTERS) for number in column))
    parts, y = [], 0
    for row in rows:
        line = y + 14
        named = f' data-figure="{row.figure}"' if row.figure else ""
        texts = text_at(-left, line, row.name, kind="medium", role="rowheader")
        for at, (number, right) in enumerate(zip(row.numbers, rights[1:], strict=True)):
            kind = "medium" if at else "medium strong"
            texts += text_at("100%", line, number, "end", kind, role="cell", dx=right)
        parts.append(
            f'<g role="row"{named}>{texts}<rect class="area {row.kind}" y="{y + 3}" '
            f'width="{max(100 * row.share, _SHORTEST):.2f}%" height="{_BAR}" rx="2"/></g>'
        )
        y += _ROW
        lines = lines_of(row.about, _PHONE, 12) if row.about else []
        parts += [text_at(-left, y + 8 + _LINE * at, each) for at, each in enumerate(lines)]
        y += _LINE * len(lines) + (6 if lines else 0)
    beside = (0, rights[-1], 0, left)
    width = WIDTH - left - rights[-1]
    return draw_svg("".join(parts), width, y, margins=beside, label=label, role="table")
