"""What the tab “Shorten a LLaMA” shows: scores of blocks, before and after, the curve; as HTML.

Drawn as :mod:`studio.features.labs.inspect_views` draws, and for the same reasons. What
is told apart by colour is told apart by a pattern, a dash or a mark as well.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from pipelines.chat.pruning.blocks import guarded_blocks
from pipelines.core.messages import Message
from pipelines.core.sizes import format_bytes

if TYPE_CHECKING:
    from studio.page.widgets import Visitor

CRITERIA = {"perplexity": "Perplexity", "taylor": "Taylor", "magnitude": "Magnitude"}
_TICKS = 4
_MANY = 16  # blocks; a phone has room for the numbers of no more
_TALL = 170  # pixels of the highest bar; assets/shorten.css has room for it
_SIDE, _LEFT, _RIGHT, _TOP, _BOTTOM = (640, 300), 58, 54, 22, 40  # of the curve's drawing
_FAR = 20.0  # greatest over least perplexity from which on the axis is logarithmic
_LOWEST = 0.02  # of the height: even the least bar can be seen


# --- scores ---------------------------------------------------------------------------------------


def scores(
    found: Sequence[float],
    criterion: str,
    going: Sequence[int],
    guard: bool,
    visitor: Visitor,
    model: str = "",
) -> str:
    """A bar for each block; hatched what the guard keeps, marked what goes.

    Args:
        found: one score a block; the higher, the more important.
        going: numbers of the blocks that go, from 0.
        guard: whether the first four and the last two stay.
        model: its title, where that is not said elsewhere.
    """
    low, high, log = _scale(found)
    kept, gone = guarded_blocks(len(found)) if guard else set(), set(going)
    bars = "".join(
        _block(n, value, _height(value, low, high, log), n in kept, n in gone, visitor)
        for n, value in enumerate(found)
    )
    ticks = "".join(
        f'<span style="bottom:{100 * _height(value, low, high, log):.1f}%">{_short(value)}</span>'
        for value in _marks(low, high, log)
    )
    said = _dropped_blocks(sorted(gone), len(found), (low, high, log), visitor)
    many = " many" if len(found) > _MANY else ""
    by = _say(criterion, visitor)
    title = visitor.say(
        Message("How important each block of {title} is, by {criterion}", title=model, criterion=by)
        if model
        else Message("How important each block is, by {criterion}", criterion=by)
    )
    return (
        f'<figure class="scores"><h4>{escape(title)}</h4>{_legend(bool(kept), bool(gone), visitor)}'
        f'<div class="plot"><div class="ticks" aria-hidden="true">{ticks}</div>'
        f'<div class="blocks{many}" style="--count:{len(found)}">{bars}</div></div>'
        f"<figcaption>{escape(said)}</figcaption></figure>"
    )


def _say(criterion: str, visitor: Visitor) -> str:
    return visitor.say(CRITERIA.get(criterion, criterion))


def _block(
    number: int, score: float, height: float, kept: bool, gone: bool, visitor: Visitor
) -> str:
    values = {"number": number + 1, "score": f"{score:,.4g}"}
    words = Message("Block {number}: {score}", **values)
    if gone:
        words = Message("Block {number}: {score}, goes", **values)
    elif kept:
        words = Message("Block {number}: {score}, guarded", **values)
    about = escape(visitor.say(words))
    kind = " gone" if gone else " kept" if kept else ""
    return (
        f'<span class="block{kind}" data-block="{number + 1}" title="{about}" role="img" '
        f'aria-label="{about}"><i style="height:{_TALL * height:.0f}px"></i>'
        f"<b{' class=some' if number % 5 == 4 else ''}>{number + 1}</b></span>"
    )


def _legend(kept: bool, gone: bool, visitor: Visitor) -> str:
    names = [
        ("stays", "Stays"),
        *[("gone", "Goes")] * gone,
        *[("kept", "Guarded: never goes")] * kept,
    ]
    spans = "".join(
        f'<span class="{kind}">{escape(visitor.say(name))}</span>' for kind, name in names
    )
    return f'<div class="legend">{spans}</div>'


def _dropped_blocks(
    gone: Sequence[int], blocks: int, scale: tuple[float, float, bool], visitor: Visitor
) -> str:
    low, _, log = scale
    words = [
        Message("{count} of {blocks} blocks go: {which}.", count=len(gone), blocks=blocks,
                which=", ".join(str(n + 1) for n in gone))
        if gone
        else Message("No block goes yet. Move “Blocks to drop”."),
        Message("The lower its bar, the less a block is missed."),
    ]  # fmt: skip
    if log:
        words.append(Message("The axis is logarithmic."))
    if low:
        words.append(Message("The axis begins at {low}, not at 0.", low=_short(low)))
    return " ".join(visitor.say(each) for each in words)


def _scale(values: Sequence[float]) -> tuple[float, float, bool]:
    """Least, greatest, and whether their logarithms are shown; the least bar is not of height 0."""
    low, high = min(values), max(values)
    log = low > 0 and high / low > _FAR
    if not log and low >= 0 and low < high / 2:
        low = 0.0
    if high <= low:
        return low - 1, high, False
    return low, high, log


def _height(value: float, low: float, high: float, log: bool) -> float:
    """From :data:`_LOWEST` to 1."""
    share = math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)
    return _LOWEST + (1 - _LOWEST) * min(1.0, max(0.0, share))


def _marks(low: float, high: float, log: bool) -> list[float]:
    if log:
        return [low * (high / low) ** (n / _TICKS) for n in range(_TICKS + 1)]
    return [low + (high - low) * n / _TICKS for n in range(_TICKS + 1)]


def _short(value: float) -> str:
    """A number of at most three digits, such as ``12.3`` or ``4.1M``."""
    if abs(value) >= 1e12:
        return f"{value:.1e}"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}" if value else "0"


# --- before and after -----------------------------------------------------------------------------

# Figure → its name, how it is written, and whether less of it is better.
_FIGURES: tuple[tuple[str, str, Callable[[float], str], bool], ...] = (
    ("parameters", "Parameters", lambda value: f"{value:,.0f}", True),
    ("file_bytes", "File size", lambda value: format_bytes(int(value)), True),
    ("perplexity", "Perplexity", lambda value: _perplexity(value), True),
    ("tokens_per_second", "Tokens/s", lambda value: f"{value:,.1f}", False),
    ("peak_bytes", "Memory", lambda value: format_bytes(int(value)), True),
)


def table(facts: Mapping[str, Any], visitor: Visitor) -> str:
    """Original, cut and healed side by side, a bar for each number; and what was taken out."""
    states = [
        (name, title)
        for name, title in (("before", "Original"), ("cut", "Cut"), ("healed", "Healed"))
        if facts.get(name)
    ]
    heads = "".join(f'<th scope="col">{escape(visitor.say(title))}</th>' for _, title in states)
    rows = "".join(
        _row(figure, facts, [name for name, _ in states], visitor) for figure in _FIGURES
    )
    words = visitor.say(
        "Perplexity: how surprised it is by a book it was not made with; lower is better. Bars of "
        "one row share one scale."
    )
    notes = "".join(
        f'<div class="hint">{escape(visitor.say(Message.from_json(note)))}</div>'
        for note in facts.get("notes", ())
    )
    return (
        f'<div class="versus-table"><div class="scroll"><table><thead><tr><td></td>{heads}</tr>'
        f"</thead><tbody>{rows}</tbody></table></div>{notes}{_describe_cut(facts, visitor)}"
        f'<p class="summary">{escape(words)}</p></div>'
    )


def _row(
    figure: tuple[str, str, Callable[[float], str], bool],
    facts: Mapping[str, Any],
    states: Sequence[str],
    visitor: Visitor,
) -> str:
    name, title, written, less = figure
    values = [facts[state].get(name) or 0 for state in states]
    top, first = max(values) or 1, values[0]
    cells = []
    for state, value in zip(states, values, strict=True):
        change = ""
        if state != "before" and first and abs(share := value / first - 1) >= 0.0005:
            kind = "better" if (share < 0) == less else "worse"
            change = f' <small class="{kind}">{_change(share)}</small>'
        cells.append(
            f'<td data-figure="{name}" data-state="{state}"><span class="bar {state}">'
            f'<i style="width:{100 * value / top:.1f}%"></i></span>'
            f"<b>{escape(written(value))}</b>{change}</td>"
        )
    head = f'<th scope="row">{escape(visitor.say(title))}</th>'
    return f"<tr>{head}{''.join(cells)}</tr>"


def _perplexity(value: float) -> str:
    """Of a model that was cut too far it has any number of digits."""
    return f"{value:,.2f}" if value < 1e7 else f"{value:.2e}"


def _change(share: float) -> str:
    if share >= 9:
        return f"×{share + 1:,.0f}" if share < 1e6 else f"×{share:.1e}"
    return f"{'+' if share > 0 else '−'}{abs(100 * share):.{0 if abs(share) >= 0.1 else 1}f} %"


def _describe_cut(facts: Mapping[str, Any], visitor: Visitor) -> str:
    """What the cut has taken, and how long it was healed."""
    what, words, chart = facts.get("what") or {}, [], ""
    if what.get("method") == "width":
        heads, channels = what["kv_heads"], what["channels"]
        words = [
            Message("{before} key/value heads a block became {after}.",
                    before=heads[0], after=heads[1]),
            Message("{before} channels a block became {after}.",
                    before=channels[0], after=channels[1]),
        ]  # fmt: skip
    elif what.get("scores"):
        chart = scores(what["scores"], what["criterion"], what["dropped"], what["guard"], visitor)
    if healing := facts.get("healing"):
        words.append(
            Message("Healed for {minutes} minutes, {steps} steps.",
                    minutes=f"{healing['minutes']:g}", steps=f"{healing['steps']:,}")
        )  # fmt: skip
    shown = " ".join(visitor.say(each) for each in words)
    title = escape(visitor.say("What was taken out"))
    text = f"<p>{escape(shown)}</p>" if shown else ""
    return f'<section class="taken"><h4>{title}</h4>{text}{chart}</section>' if text + chart else ""


def chat_with(both: tuple[str, str], visitor: Visitor) -> str:
    """A button that opens a conversation with original and shortened model side by side; its click
    is read by :data:`BOTH_CLICKED`."""
    words, names = escape(visitor.say("Chat with both")), escape(json.dumps(both))
    return (
        f'<div class="button-row"><button type="button" class="chat-both" data-models="{names}">'
        f"{words}</button></div>"
    )


# Handed over through the window: the tab of conversations may not have been drawn yet.
BOTH_CLICKED = """
element.addEventListener('click', event => {
  const both = event.target.closest('.chat-both');
  if (!both) return;
  sessionStorage.setItem('atelier-chat-with', both.dataset.models);
  window.dispatchEvent(new Event('atelier-chat-with'));
  trigger('both');
});
"""


# --- the curve ------------------------------------------------------------------------------------


def curve(points: Sequence[Mapping[str, Any]], criterion: str, visitor: Visitor, model: str) -> str:
    """Perplexity (left) and speed (right) against the number of blocks dropped, as SVG."""
    points = sorted(points, key=lambda point: point["blocks"])
    xs = [point["blocks"] for point in points]
    worth = [point["perplexity"] for point in points]
    speed = [point["tokens_per_second"] for point in points]
    low, high, log = min(worth), max(worth), max(worth) / max(1e-9, min(worth)) > _FAR
    if not log:
        low = 0.0
    top = min(high * 1.08, sys.float_info.max)
    fast = max(speed) * 1.1 or 1.0
    left = [_xy(x, xs, _share(value, low, top, log)) for x, value in zip(xs, worth, strict=True)]
    right = [_xy(x, xs, value / fast) for x, value in zip(xs, speed, strict=True)]
    words = visitor.say(
        Message("{title}: perplexity and speed against blocks dropped, by {criterion}",
                title=model, criterion=_say(criterion, visitor))
    )  # fmt: skip
    worse, faster = visitor.say("Perplexity (left)"), visitor.say("Tokens/s (right)")
    axis = visitor.say("Blocks dropped")
    log_note = f" {escape(visitor.say('The axis is logarithmic.'))}" if log else ""
    marks = "".join(
        f'<g class="mark perplexity"><circle cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
        f"<title>{escape(_point(point, visitor))}</title></g>"
        for (x, y), point in zip(left, points, strict=True)
    ) + "".join(
        f'<g class="mark speed"><rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"/>'
        f"<title>{escape(_point(point, visitor))}</title></g>"
        for (x, y), point in zip(right, points, strict=True)
    )
    width, height = _SIDE
    return (
        f'<figure class="two-curves"><h4>{escape(words)}</h4><div class="legend">'
        f'<span class="perplexity">{escape(worse)}</span>'
        f'<span class="speed">{escape(faster)}</span></div>'
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(words)}">'
        f"{_axes(xs, (low, top, log), fast)}"
        f'<polyline class="perplexity" points="{_line(left)}"/>'
        f'<polyline class="speed" points="{_line(right)}"/>{marks}'
        f'<text class="name" x="{(_LEFT + width - _RIGHT) / 2}" y="{height - 4}" '
        f'text-anchor="middle">{escape(axis)}</text></svg>'
        f"<figcaption>{_rows(points, visitor)}{log_note}</figcaption></figure>"
    )


def _axes(xs: Sequence[int], worth: tuple[float, float, bool], fast: float) -> str:
    width, height = _SIDE
    low, high, log = worth
    lines = []
    for n in range(_TICKS + 1):
        share = n / _TICKS
        y = _xy(xs[0], xs, share)[1]
        value = low * (high / low) ** share if log else low + (high - low) * share
        lines.append(
            f'<line x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="perplexity" x="{_LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">'
            f'{_short(value)}</text><text class="speed" x="{width - _RIGHT + 10}" y="{y + 4:.1f}">'
            f"{_short(fast * share)}</text>"
        )
    for x in xs:
        at = _xy(x, xs, 0)[0]
        lines.append(
            f'<text x="{at:.1f}" y="{height - _BOTTOM + 18}" text-anchor="middle">{x}</text>'
        )
    return f'<g class="axis">{"".join(lines)}</g>'


def _share(value: float, low: float, high: float, log: bool) -> float:
    if log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low) if high > low else 0.0


def _xy(x: int, xs: Sequence[int], share: float) -> tuple[float, float]:
    """A place in the drawing, of a number of blocks and a share of the height."""
    width, height = _SIDE
    span = max(1, max(xs) - min(xs))
    inner = 14  # so that no mark lies on an axis
    across = _LEFT + inner + (x - min(xs)) / span * (width - _LEFT - _RIGHT - 2 * inner)
    return across, height - _BOTTOM - share * (height - _BOTTOM - _TOP)


def _line(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _point(point: Mapping[str, Any], visitor: Visitor) -> str:
    return visitor.say(
        Message(
            "{count} blocks dropped: perplexity {perplexity}, {speed} tokens/s",
            count=point["blocks"],
            perplexity=_perplexity(point["perplexity"]),
            speed=f"{point['tokens_per_second']:,.1f}",
        )
    )


def _rows(points: Sequence[Mapping[str, Any]], visitor: Visitor) -> str:
    """The numbers of the curve, to be read and copied."""
    names = ("Blocks dropped", "Perplexity", "Tokens/s", "Parameters")
    heads = "".join(f'<th scope="col">{escape(visitor.say(name))}</th>' for name in names)
    rows = "".join(
        f"<tr><td>{point['blocks']}</td><td>{_perplexity(point['perplexity'])}</td>"
        f"<td>{point['tokens_per_second']:,.1f}</td><td>{point['parameters']:,}</td></tr>"
        for point in points
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
