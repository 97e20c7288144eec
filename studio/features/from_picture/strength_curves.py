"""What each strength does, drawn behind the slider of models of which it has been measured."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from pipelines.diffusion.from_picture.strengths import Curves, curves_of

if TYPE_CHECKING:
    from pipelines.models.catalog import ModelEntry
    from studio.page.widgets import Visitor

_HEIGHT = 40  # of the drawing; it is 100 wide, and stretched to the slider
_NEW = "The new colour is read"
_OLD = "Outlines stay"


def strength_curves(entry: ModelEntry, visitor: Visitor) -> str:
    """The drawing for a model; empty where nothing has been measured."""
    curves = curves_of(entry)
    return "" if curves is None else _draw(curves, visitor)


def _draw(curves: Curves, visitor: Visitor) -> str:
    new, old = visitor.say(_NEW), visitor.say(_OLD)
    span = ""
    if curves.both is not None:
        start, end = curves.both
        span = (
            f'<rect class="both" x="{100 * start:g}" y="0" width="{100 * (end - start):g}" '
            f'height="{_HEIGHT}"/>'
        )
    return (
        '<div class="strength-curves" role="img" '
        f'aria-label="{escape(new)}, {escape(old)}">'
        f'<svg viewBox="0 0 100 {_HEIGHT}" preserveAspectRatio="none" aria-hidden="true">{span}'
        f'<polyline class="new" points="{_points(curves.strengths, curves.new)}"/>'
        f'<polyline class="old" points="{_points(curves.strengths, curves.old)}"/></svg>'
        f'<span class="new">{escape(new)}</span><span class="old">{escape(old)}</span></div>'
    )


def _points(strengths: tuple[float, ...], shares: tuple[float, ...]) -> str:
    return " ".join(
        f"{100 * x:g},{_HEIGHT * (1 - y):g}" for x, y in zip(strengths, shares, strict=True)
    )
