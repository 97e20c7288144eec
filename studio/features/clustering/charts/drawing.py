"""What all charts of clustering are drawn with: a figure, its plot, marks and lines.

A plot is SVG within HTML. Places are percentages of the plot, and sizes of letters, marks and lines
are pixels, so that it fills any width with letters that can be read. Curves are in an inner drawing
of 1000 × 1000, stretched to the plot.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from pipelines.core.messages import Message
from studio.features.clustering.charts.axes import Axis

if TYPE_CHECKING:
    from studio.page.widgets import Visitor

SIDE = 1000  # of the inner drawing
_ZERO = ' class="zero"'
_CROWDED = 40  # marks from which they are smaller
_FORMATS = ("PNG", "SVG")
_FILES = {"silhouette": "silhouette-over-k", "silhouettes": "silhouette-of-points",
          "information": "bic-aic", "confusion": "confusion-matrix"}  # fmt: skip
# The icon of the plot's own menu.
_SAVE = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 4v11M7 10l5 5 5-5M5 20h14"/></svg>'
)
_SHAPES = ("circle", "square", "triangle", "diamond")


def figure(
    kind: str,
    title: str,
    body: str,
    visitor: Visitor,
    *,
    finding: str = "",
    legend: str = "",
    caption: Iterable[str] = (),
    hand: str = "",
) -> str:
    """A chart: title, what it says, legend, plot, how to read it. Texts are plain, HTML is not.

    Args:
        kind: classes; the first one names it.
        hand: what can be done with it here, which a saved chart does not say.
    """
    said = f'<p class="finding">{escape(finding)}</p>' if finding else ""
    words = captioned(caption, hand)
    below = f"<figcaption>{words}</figcaption>" if words else ""
    head = heading(title, visitor) if body else f"<h4>{escape(title)}</h4>"
    return (
        f'<figure class="cluster-chart {kind}"{saved_as(kind.split()[0])}>{head}{said}{legend}'
        f"{body}{below}</figure>"
    )


def captioned(sentences: Iterable[str], hand: str = "") -> str:
    """Sentences, between which Chinese has no space, and what a hand can do; as HTML."""
    words = "".join(each if each.endswith("。") else f"{each} " for each in sentences)
    if not hand:
        return escape(words.rstrip())
    return f"{escape(words)}<span data-unsaved>{escape(hand)}</span>"


def heading(title: str, visitor: Visitor) -> str:
    """The title of a chart, with the menu that saves it as a file; read by ``assets/clustering``.

    What has it must have :func:`saved_as`; what is ``data-unsaved`` in there is left out.
    """
    name = escape(visitor.say(Message("Save “{title}”", title=title)))
    formats = "".join(
        f'<button type="button" data-save="{each.lower()}">{each}</button>' for each in _FORMATS
    )
    return (
        f'<div class="chart-head"><h4>{escape(title)}</h4><details class="save" data-unsaved>'
        f'<summary class="tool" title="{name}" aria-label="{name}">{_SAVE}</summary>'
        f'<div class="menu">{formats}</div></details></div>'
    )


def saved_as(kind: str) -> str:
    """The attribute that gives a chart's file its name."""
    return f' data-file="clusters-{_FILES.get(kind, kind)}"'


def plot(
    x: Axis,
    y: Axis,
    label: str,
    *,
    paths: str = "",
    marks: str = "",
    over: str = "",
    height: int | None = None,
    data: dict[str, Any] | None = None,
) -> str:
    """Axes and what is within them.

    Args:
        label: what is read aloud.
        paths: elements of the inner drawing.
        marks: elements whose places are percentages.
        over: HTML over the plot.
        height: in pixels, if not the usual one.
        data: attributes ``data-…`` as JSON.
    """
    style = f' style="--height:{height}px"' if height else ""
    more = "".join(
        f' data-{name}="{escape(json.dumps(value))}"' for name, value in (data or {}).items()
    )
    dense = " dense" if marks.count('class="dot"') > _CROWDED else ""
    return (
        f'<div class="plot{dense}"{style}{more}><div class="y-title">{escape(y.title)}</div>'
        f'<div class="field"><svg role="img" aria-label="{escape(label)}">'
        f'<g class="axes" aria-hidden="true">{_grid(x, y)}</g>'
        f'<svg class="paths" viewBox="0 0 {SIDE} {SIDE}" preserveAspectRatio="none">{paths}</svg>'
        f'{marks}</svg>{over}</div><div class="x-title">{escape(x.title)}</div></div>'
    )


def _grid(x: Axis, y: Axis) -> str:
    rows = "".join(
        f'<line x1="0" x2="100%" y1="{down(y, tick)}" y2="{down(y, tick)}"'
        f"{_ZERO if tick == 0 else ''}/>"
        f'<text x="-8" y="{down(y, tick)}" dy="0.32em" text-anchor="end">{escape(name)}</text>'
        for tick, name in zip(y.ticks, y.names, strict=True)
    )
    columns = "".join(
        f'<text x="{across(x, tick)}" y="100%" dy="18" text-anchor="middle">{escape(name)}</text>'
        for tick, name in zip(x.ticks, x.names, strict=True)
    )
    return rows + columns + '<line class="base" x1="0" x2="100%" y1="100%" y2="100%"/>'


def across(x: Axis, value: float) -> str:
    """Where a value lies, from the left."""
    return f"{100 * x.share(value):.2f}%"


def down(y: Axis, value: float) -> str:
    """Where a value lies, from the top."""
    return f"{100 * (1 - y.share(value)):.2f}%"


def place(x: Axis, y: Axis, at: float, value: float) -> str:
    """A point of the inner drawing."""
    return f"{SIDE * x.share(at):.1f},{SIDE * (1 - y.share(value)):.1f}"


def curve(
    x: Axis, y: Axis, at: Sequence[float], values: Sequence[float | None], kind: str = ""
) -> str:
    """A line through the points; where a value is None it is broken."""
    runs: list[list[str]] = [[]]
    for where, value in zip(at, values, strict=True):
        if value is None:
            runs.append([])
        else:
            runs[-1].append(place(x, y, where, value))
    return "".join(
        f'<polyline class="curve {kind}" points="{" ".join(run)}"/>' for run in runs if run
    )


def mark(
    x: Axis,
    y: Axis,
    at: float,
    value: float,
    title: str,
    *,
    kind: str = "",
    shape: int = 0,
    best: bool = False,
    k: int | None = None,
) -> str:
    """A mark with its title; with ``k`` it is a button that takes this number of clusters.

    Args:
        shape: its number; there are four.
        best: whether it is ringed.
    """
    about = escape(title)
    taken = f' role="button" tabindex="0" data-k="{k}" aria-label="{about}"' if k else ""
    ring = '<circle class="ring" r="10"/>' if best else ""
    # Nothing but a nested <svg> can be put at percentages whatever is in it.
    return (
        f'<svg class="mark {kind}" x="{across(x, at)}" y="{down(y, value)}"{taken}>'
        f'<title>{about}</title><circle class="reach" r="13"/>{ring}{_shape(shape)}</svg>'
    )


def _shape(number: int) -> str:
    name = _SHAPES[number % len(_SHAPES)]
    if name == "circle":
        return '<circle class="dot" r="4.5"/>'
    if name == "square":
        return '<rect class="dot" x="-4" y="-4" width="8" height="8"/>'
    if name == "triangle":
        return '<path class="dot" d="M0-5.5L5.2 4H-5.2Z"/>'
    return '<path class="dot" d="M0-6L6 0L0 6L-6 0Z"/>'


def sample(shape: int, kind: str, words: str) -> str:
    """An entry of a legend: a bit of line with its mark, and what it is."""
    return (
        f'<span class="{kind}"><svg viewBox="-14 -8 28 16" aria-hidden="true">'
        f'<line class="curve {kind}" x1="-14" x2="14" y1="0" y2="0"/>{_shape(shape)}</svg>'
        f"{escape(words)}</span>"
    )


def legend(entries: Iterable[str]) -> str:
    return f'<div class="legend">{"".join(entries)}</div>'


def upright(x: Axis, at: float, words: str, above: bool = False) -> str:
    """A dashed line from top to bottom at a value, and what it marks, within the plot or above."""
    right = x.share(at) > 0.7
    anchor = "end" if right else "start"
    dy = -6 if above else 11
    return (
        f'<line class="marked" x1="{across(x, at)}" x2="{across(x, at)}" y1="0" y2="100%"/>'
        f'<text class="marked" x="{across(x, at)}" dx="{-7 if right else 7}" y="0" dy="{dy}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )


def dragged(
    y: Axis,
    name: str,
    value: float,
    *,
    words: str,
    label: str,
    least: float,
    most: float,
    shown: Any,
) -> str:
    """A line across the plot that can be dragged up and down; read by ``assets/clustering``.

    Args:
        name: what it sets, as in the event ``line``.
        value: where it is, on the axis.
        words: what stands at it, with ``{value}``.
        label: what is read aloud.
        least, most: of what it sets.
        shown: what it sets now.
    """
    return (
        f'<div class="dragged" role="slider" tabindex="0" aria-orientation="vertical" '
        f'aria-label="{escape(label)}" aria-valuemin="{least:.6g}" aria-valuemax="{most:.6g}" '
        f'aria-valuenow="{shown}" data-line="{name}" data-low="{y.low!r}" data-high="{y.high!r}" '
        f'data-words="{escape(words)}" style="--at:{100 * y.share(value):.3f}%">'
        f"<b>{escape(words.replace('{value}', str(shown)))}</b></div>"
    )


def sampled(data: Mapping[str, Any], visitor: Visitor) -> list[str]:
    """Sentences where not all points were looked at (``sampled``), or not all drawn (``of``)."""
    words = []
    if count := data.get("sampled"):
        words.append(Message("Taken of {count} points, drawn at random.", count=f"{count:,}"))
    if count := data.get("of"):
        words.append(Message("Of {count} values some are left out of the drawing.",
                             count=f"{count:,}"))  # fmt: skip
    return [visitor.say(each) for each in words]
