"""Cards of a comparison: what an algorithm found, small, with its numbers; or why it did not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from studio.features.clustering.charts.drawing import (
    draw_svg,
    lines_of,
    text_at,
    text_width,
)
from studio.features.clustering.charts.thumbnails import SIDE

_WIDTH, _EDGE = 162, 12  # pixels of a card, and from its edge to what is in it
_INSIDE = _WIDTH - 2 * _EDGE
_TITLE, _TITLE_LINE, _FACT_LINE = 13.5, 18, 17


class Fact(NamedTuple):
    """A number of a card."""

    name: str
    value: str
    best: bool


def title_lines(titles: Sequence[str]) -> int:
    """How many lines the longest of the titles takes on a card."""
    return max(len(_title(title)) for title in titles)


def card(
    title: str, lines: int, picture: str, facts: Sequence[Fact], star: str, styled: bool
) -> str:
    """An SVG of an algorithm's clusters and numbers.

    Args:
        lines: room for its title, the same on all cards.
        picture: of :func:`.thumbnails.thumbnail`, or "".
        star: what a star beside the title means, or "" for none.
        styled: as :func:`.drawing.draw_svg` takes it.
    """
    parts = [_with_title(title)]
    if star:
        parts.append(text_at(_WIDTH - _EDGE, 25, "★", "end", "star", title=star))
    y = 16 + _TITLE_LINE * lines
    scale = _INSIDE / SIDE
    parts.append(f'<g transform="translate({_EDGE} {y}) scale({scale:.4f})">{picture}</g>')
    y += _INSIDE + 18
    for fact in facts:
        kind = "best" if fact.best else "strong"
        value = f"✓ {fact.value}" if fact.best else fact.value
        parts.append(text_at(_EDGE, y, fact.name))
        parts.append(text_at(_WIDTH - _EDGE, y, value, "end", kind))
        y += _FACT_LINE
    return _on_card("".join(parts), y - 4, "first" if star else "", styled)


def refused_card(title: str, why: str, styled: bool) -> str:
    """An SVG that says why an algorithm was not run."""
    y = 25 + _TITLE_LINE * len(_title(title)) + 2
    lines = lines_of(why, _INSIDE, 12)
    words = "".join(text_at(_EDGE, y + _FACT_LINE * at, line) for at, line in enumerate(lines))
    return _on_card(_with_title(title) + words, y + _FACT_LINE * len(lines) - 4, "refused", styled)


def _title(title: str) -> list[str]:
    return lines_of(title, _INSIDE - text_width("★", _TITLE), _TITLE)


def _with_title(title: str) -> str:
    return "".join(
        text_at(_EDGE, 25 + _TITLE_LINE * at, line, kind="name")
        for at, line in enumerate(_title(title))
    )


def _on_card(content: str, height: float, kind: str, styled: bool) -> str:
    ground = (
        f'<rect class="panel" x="1" y="1" width="{_WIDTH - 2}" height="{height - 2:g}" rx="10"/>'
    )
    drawn = draw_svg(ground + content, _WIDTH, height, kind=kind, styled=styled)
    return drawn.replace("<svg", f'<svg viewBox="0 0 {_WIDTH} {height:g}"', 1)
