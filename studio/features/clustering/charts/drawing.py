"""What all charts of clustering are drawn with: a figure, its SVG, marks and lines, letters.

A chart is an SVG that carries its own style (:mod:`.chart_style`), so that it is saved as it is
(``assets/clustering/saving.js``). Its places are percentages and its letters, marks and lines have
pixels: on the page it fills any width with letters that can be read, and in a file it has the width
of its attributes. Curves are in an inner drawing in pixels of a file, stretched to the plot.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from pipelines.core.messages import Message
from studio.features.clustering.charts.axes import Axis
from studio.features.clustering.charts.chart_style import STYLE

if TYPE_CHECKING:
    from studio.page.widgets import Visitor

WIDTH = 680
"""Pixels of a chart in a file."""
LEFT, RIGHT = 50, 14
"""Pixels beside what is within the axes of a plot."""
_TOP = 36  # and above it
GAP = 10
"""Pixels between drawings that lie side by side, in a file."""
_CROWDED = 40  # marks from which they are smaller
_PHONE = 326  # pixels within which a legend breaks into lines
_FORMATS = ("PNG", "SVG")
_FILES = {"silhouette": "silhouette-over-k", "silhouettes": "silhouette-of-points",
          "information": "bic-aic", "confusion": "confusion-matrix"}  # fmt: skip
# The icon of the plot's own menu.
_SAVE = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 4v11M7 10l5 5 5-5M5 20h14"/></svg>'
)
_SHAPES = ("circle", "square", "triangle", "diamond")
_ELLIPSIS = "…"


# --- a figure and its SVG -------------------------------------------------------------------------


def figure(
    kind: str,
    title: str,
    body: str,
    visitor: Visitor,
    *,
    finding: str = "",
    caption: Iterable[str] = (),
    hint: str = "",
    data: Mapping[str, Any] | None = None,
) -> str:
    """A chart: title, what it says, drawing, how to read it. Texts are plain, HTML is not.

    Args:
        kind: its class.
        body: SVG of :func:`draw_svg`, and paragraphs.
        hint: what can be done with it here, which a saved chart does not say.
        data: attributes ``data-…`` as JSON.
    """
    above = f'<p class="finding">{escape(finding)}</p>' if finding else ""
    words = with_caption(caption, hint)
    below = f"<figcaption>{words}</figcaption>" if words else ""
    head = draw_heading(title, visitor) if body else f"<h4>{escape(title)}</h4>"
    more = "".join(
        f' data-{name}="{escape(json.dumps(value))}"' for name, value in (data or {}).items()
    )
    return (
        f'<figure class="cluster-chart {kind}"{file_name_attribute(kind)}{more}>'
        f"{head}{above}{body}{below}</figure>"
    )


def with_caption(sentences: Iterable[str], hint: str = "") -> str:
    """Sentences, between which Chinese has no space, and what can be done here; as HTML."""
    words = "".join(each if each.endswith("。") else f"{each} " for each in sentences)
    if not hint:
        return escape(words.rstrip())
    return f"{escape(words)}<span data-unsaved>{escape(hint)}</span>"


def draw_heading(title: str, visitor: Visitor) -> str:
    """The title of a chart, with the menu that saves it as a file; read by ``assets/clustering``.

    What has it must have :func:`file_name_attribute`; what is ``data-unsaved`` is left out.
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


def file_name_attribute(kind: str) -> str:
    """The attribute that gives a chart's file its name."""
    return f' data-file="clusters-{_FILES.get(kind, kind)}"'


def draw_svg(
    content: str,
    width: float,
    height: float,
    *,
    margins: tuple[float, float, float, float] | None = None,
    label: str = "",
    role: str = "img",
    kind: str = "",
    styled: bool = True,
) -> str:
    """An SVG of ``content``.

    Args:
        width, height: in pixels, in a file; on the page it is as wide as there is room.
        margins: above, right, below and left of it, in pixels, where ``content`` reaches to.
        label: what is read aloud; without it nothing is.
        kind: further classes; of those that are ``fixed`` the width stays.
        styled: whether it has the style; of several in a figure the first one must have it.
    """
    about = f'role="{role}" aria-label="{escape(label)}"' if label else 'aria-hidden="true"'
    style = f"<style>{STYLE}</style>" if styled else ""
    room = ""
    if margins:
        above, right, below, left = margins
        room = (
            f' style="width:calc(100% - {left + right:g}px);'
            f'margin:{above:g}px {right:g}px {below:g}px {left:g}px"'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{f"chart {kind}".rstrip()}" '
        f'width="{width:g}" height="{height:g}"{room} {about}>{style}{content}</svg>'
    )


# --- plots ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plot:
    """Two axes, and what is drawn within them.

    Attributes:
        width, height: pixels of what is within the axes, in a file.
    """

    x: Axis
    y: Axis
    width: float = WIDTH - LEFT - RIGHT
    height: float = 240

    def across(self, value: float) -> str:
        """Where a value lies, from the left."""
        return f"{100 * self.x.share(value):.2f}%"

    def down(self, value: float) -> str:
        """Where a value lies, from the top."""
        return f"{100 * (1 - self.y.share(value)):.2f}%"

    def place(self, at: float, value: float) -> str:
        """A point of the inner drawing."""
        across, up = self.width * self.x.share(at), self.height * self.y.share(value)
        return f"{across:.1f},{self.height - up:.1f}"

    def to_svg(
        self, label: str, paths: str = "", marks: str = "", below: float = 50, styled: bool = True
    ) -> str:
        """The whole as a drawing.

        Args:
            label: what is read aloud.
            paths: elements of the inner drawing.
            marks: elements whose places are percentages.
            below: pixels for what is below.
        """
        x_title = escape(self.x.title)
        content = (
            f'<text x="{-LEFT}" y="-17">{escape(self.y.title)}</text>'
            f'<rect class="frame" width="100%" height="100%" fill-opacity="0"/>'
            f'<g aria-hidden="true">{self._grid()}</g>'
            f'<svg class="paths" viewBox="0 0 {self.width:g} {self.height:g}" width="100%" '
            f'height="100%" preserveAspectRatio="none">{paths}</svg>{marks}'
            f'<text x="50%" y="100%" dy="{below - 14:g}" text-anchor="middle">{x_title}</text>'
        )
        margins = (_TOP, RIGHT, below, LEFT)
        return draw_svg(
            content, self.width, self.height, margins=margins, label=label, styled=styled
        )

    def _grid(self) -> str:
        rows = "".join(
            f'<line class="{"zero" if tick == 0 else "grid"}" x1="0" x2="100%" '
            f'y1="{self.down(tick)}" y2="{self.down(tick)}"/><text x="-8" y="{self.down(tick)}" '
            f'dy="4" text-anchor="end">{escape(name)}</text>'
            for tick, name in zip(self.y.ticks, self.y.names, strict=True)
        )
        columns = "".join(
            f'<text x="{self.across(tick)}" y="100%" dy="18" text-anchor="middle">'
            f"{escape(name)}</text>"
            for tick, name in zip(self.x.ticks, self.x.names, strict=True)
            if name
        )
        return rows + columns + '<line class="zero" x1="0" x2="100%" y1="100%" y2="100%"/>'

    def curve(self, at: Sequence[float], values: Sequence[float | None], kind: str = "") -> str:
        """A line through the points; where a value is None it is broken."""
        runs: list[list[str]] = [[]]
        for where, value in zip(at, values, strict=True):
            if value is None:
                runs.append([])
            else:
                runs[-1].append(self.place(where, value))
        return "".join(
            f'<polyline class="curve {kind}" points="{" ".join(run)}"/>' for run in runs if run
        )

    def mark(
        self,
        at: float,
        value: float,
        title: str,
        *,
        kind: str = "",
        shape: int = 0,
        best: bool = False,
        k: int | None = None,
        among: int = 0,
    ) -> str:
        """A mark with its title; with ``k`` it is a button that takes this number of clusters.

        Args:
            shape: its number; there are four.
            best: whether it is ringed.
            among: how many marks there are; among many it is smaller.
        """
        about = escape(title)
        button = f' role="button" tabindex="0" data-k="{k}" aria-label="{about}"' if k else ""
        ring = '<circle class="ring" r="10"/>' if best else ""
        crowded = among > _CROWDED
        drawn = f'<g transform="scale(0.62)">{_shape(shape)}</g>' if crowded else _shape(shape)
        # Nothing but a nested <svg> can be put at percentages whatever is in it.
        return (
            f'<svg class="mark {kind}" x="{self.across(at)}" y="{self.down(value)}"{button}>'
            f'<title>{about}</title><circle class="reach" r="{7 if crowded else 13}" '
            f'fill-opacity="0"/>{ring}{drawn}</svg>'
        )

    def upright(self, at: float, words: str, above: bool = False) -> str:
        """A dashed line from top to bottom at a value, and what it marks, within or above."""
        x, right = self.across(at), self.x.share(at) > 0.7
        return (
            f'<line class="marked" x1="{x}" x2="{x}" y1="0" y2="100%"/>'
            f'<text class="marked" x="{x}" dx="{-7 if right else 7}" y="0" '
            f'dy="{-6 if above else 11}" text-anchor="{"end" if right else "start"}">'
            f"{escape(words)}</text>"
        )

    def drag_line(
        self,
        name: str,
        value: float,
        *,
        words: str,
        label: str,
        least: float,
        most: float,
        shown: Any,
        right: bool = False,
    ) -> str:
        """A line across that can be dragged up and down; read by ``assets/clustering``.

        Args:
            name: what it sets, as in the event ``line``.
            value: where it is, on the axis.
            words: what stands at it, with ``{value}``.
            label: what is read aloud.
            least, most: of what it sets.
            shown: what it sets now.
            right: whether the words stand at the right end.
        """
        text = words.replace("{value}", str(shown))
        width = 1.06 * text_width(f"↕ {text}", 12.5) + 18
        x, anchor = ("100%", "end") if right else ("0", "start")
        mirrored = ' transform="scale(-1 1)"'
        return (
            f'<svg class="dragged" y="{self.down(value)}" role="slider" tabindex="0" '
            f'aria-orientation="vertical" aria-label="{escape(label)}" '
            f'aria-valuemin="{least:.6g}" aria-valuemax="{most:.6g}" aria-valuenow="{shown}" '
            f'data-line="{name}" data-low="{self.y.low!r}" data-high="{self.y.high!r}" '
            f'data-words="{escape(words)}">'
            f'<rect y="-15" width="100%" height="30" fill-opacity="0"/><line x1="0" x2="100%"/>'
            f'<svg x="{x}"><rect class="pill" x="{3 if right else 8}" y="-12" '
            f'width="{width:.0f}" height="24" rx="12"{mirrored if right else ""}/></svg>'
            f'<text x="{x}" dx="{-12 if right else 17}" dy="4.5" text-anchor="{anchor}">'
            f'<tspan data-unsaved aria-hidden="true">↕ </tspan>'
            f'<tspan class="value">{escape(text)}</tspan></text></svg>'
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


# --- legends --------------------------------------------------------------------------------------


def legend(entries: Iterable[tuple[int, str, str]]) -> str:
    """A drawing of bits of line with their marks, and what they are.

    Args:
        entries: shape, class and words of each; as many in a line as a phone has room for.
    """
    parts, x, y = [], 0.0, 9
    for shape, kind, words in entries:
        width = 34 + text_width(words, 12)
        if x and x + width > _PHONE:
            x, y = 0.0, y + 20
        parts.append(
            f'<svg class="{kind}" x="{x + 14:.0f}" y="{y}">'
            f'<line class="curve {kind}" x1="-14" x2="14"/>{_shape(shape)}'
            f'<text class="strong" x="19" y="4">{escape(words)}</text></svg>'
        )
        x += width + 12
    return draw_svg("".join(parts), WIDTH, y + 13, kind="legend")


def swatch(kind: str) -> str:
    """A small square in a cluster's colour, round where the colours come again."""
    again = kind.endswith("again")
    return (f'<rect class="area {kind}" width="11" height="11" y="-10" '
            f'rx="{5.5 if again else 3}"/>')  # fmt: skip


def thin_out(data: Mapping[str, Any], visitor: Visitor) -> list[str]:
    """Sentences where not all points were looked at (``sampled``), or not all drawn (``of``)."""
    words = []
    if count := data.get("sampled"):
        words.append(Message("Taken of {count} points, drawn at random.", count=f"{count:,}"))
    if count := data.get("of"):
        words.append(Message("Of {count} values some are left out of the drawing.",
                             count=f"{count:,}"))  # fmt: skip
    return [visitor.say(each) for each in words]


# --- letters --------------------------------------------------------------------------------------

_NARROW, _BROAD = frozenset("fijlrtI.,:;'’|!()[] ·-–"), frozenset("mwMWGOQ%@=+—…↕★✓")
_PARTS = re.compile(r"[⺀-\uffee]|[^\s⺀-\uffee]+\s*|\s+")


def text_width(text: str, size: float) -> float:
    """About how wide a text is in a sans-serif font, rather too wide than too narrow."""
    return size * sum(
        1.0 if each > "⺀" else 0.38 if each in _NARROW else 0.9 if each in _BROAD
        else 0.68 if each.isupper() else 0.61
        for each in text
    )  # fmt: skip


def text_at(
    x: float | str,
    y: float,
    text: str,
    anchor: str = "start",
    kind: str = "",
    *,
    role: str = "",
    title: str = "",
    dx: float = 0,
) -> str:
    """A text at a place, or nothing where there is none.

    Args:
        x, y: in pixels, or x as a percentage, from which it is ``dx`` pixels.
        role: for those to whom it is read aloud.
        title: what is said where a pointer rests.
    """
    if not text:
        return ""
    given = {"role": role, "class": kind, "dx": f"{dx:g}" if dx else "",
             "text-anchor": "" if anchor == "start" else anchor}  # fmt: skip
    more = "".join(f' {name}="{value}"' for name, value in given.items() if value)
    about = f"<title>{escape(title)}</title>" if title else ""
    place = x if isinstance(x, str) else f"{x:.1f}"
    return f'<text x="{place}" y="{y:.1f}"{more}>{escape(text)}{about}</text>'


def cut(text: str, width: float, size: float) -> str:
    """The text, shortened to a width."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + _ELLIPSIS, size) > width:
        text = text[:-1]
    return text.rstrip() + _ELLIPSIS


def lines_of(text: str, width: float, size: float) -> list[str]:
    """The text in lines of a width; what is wider itself is shortened."""
    lines = [""]
    for part in _PARTS.findall(text):
        if lines[-1] and text_width(lines[-1] + part.rstrip(), size) > width:
            lines.append("")
        lines[-1] += part
    return [cut(line.strip(), width, size) for line in lines]
