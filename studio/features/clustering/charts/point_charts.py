"""Charts of points in a row: sorted distances, reachability, the silhouettes of each cluster.

Where there are more points than are drawn, ``data`` has every so many-th, and what else it says
counts all of them.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pipelines.core.messages import Message
from studio.features.clustering.charts.axes import Axis, axis, number
from studio.features.clustering.charts.colours import kind_of
from studio.features.clustering.charts.drawing import (
    LEFT,
    RIGHT,
    WIDTH,
    Plot,
    draw_svg,
    figure,
    swatch,
    thin_out,
)
from studio.page.views import percent

if TYPE_CHECKING:
    from studio.page.widgets import Visitor

_NAMED = 24  # clusters in a legend; more would not be read
_COLUMNS = 8  # of it, for which a phone has room
_USUAL = 0.98  # of the bars of reachability, which are always seen,
_FAR = 2.0  # and how many times as high others are at most
_LEAST_BAND, _TALLEST = 16, 900  # pixels of a cluster's blade, and of all of them


# --- k-distance -----------------------------------------------------------------------------------


def k_distance(data: Mapping[str, Any], visitor: Visitor, eps: float | None = None) -> str:
    """Sorted distances with a line that sets eps: event ``line``, ``{"name": "eps", "value": v}``.

    Args:
        data: distances (ascending), min_samples, eps (at the knee, or None), sampled, of.
        eps: where the line lies, if not at the knee.
    """
    say, distances = visitor.say, data["distances"]
    title = say("k-distance: how far each point’s neighbours are")
    count = data["min_samples"]
    y_title = say(Message("Distance to neighbour {number}", number=count - 1))
    y = axis(distances, y_title, zero=True)
    plot = Plot(_percentages(say("Points by this distance, in %")), y)
    places = [100 * (at + 0.5) / len(distances) for at in range(len(distances))]
    knee = data.get("eps")
    value = eps or knee or distances[len(distances) // 2] or y.high / 2
    value = min(max(value, y.high / 1000), y.high)
    marks = ""
    if knee:
        at = places[min(bisect.bisect_left(distances, knee), len(distances) - 1)]
        marks = plot.upright(at, say("knee"))
        found = say(Message("The knee is at eps = {eps}.", eps=number(knee)))
    else:
        found = say("There is no knee; look for a step.")
    words = say("eps = {value}")
    line = plot.drag_line(
        "eps",
        value,
        words=words,
        label=say("Radius (eps)"),
        least=y.high / 1000,
        most=y.high,
        shown=f"{value:.3g}",
    )
    reading = say("{share} of the points are core points at this eps with min_samples = {count}.")
    reading = reading.replace("{count}", str(count))
    share = bisect.bisect_right(distances, value) / len(distances)
    drawn = plot.to_svg(title, plot.curve(places, distances), marks + line)
    shown = reading.replace("{share}", percent(share))
    body = f'{drawn}<p class="reading" aria-live="polite" data-words="{reading}">{shown}</p>'
    return figure(
        "k-distance",
        title,
        body,
        visitor,
        finding=found,
        caption=[
            say("Below the line are the core points; above the knee lies the noise."),
            *thin_out(data, visitor),
        ],
        hint=say("Drag the line, or move it with the arrow keys, to set eps."),
        data={"values": [float(f"{each:.5g}") for each in distances]},
    )


def _percentages(title: str) -> Axis:
    ticks = (0.0, 20.0, 40.0, 60.0, 80.0, 100.0)
    return Axis(0.0, 100.0, ticks, tuple(f"{tick:.0f}" for tick in ticks), title)


# --- reachability ---------------------------------------------------------------------------------


def reachability(data: Mapping[str, Any], visitor: Visitor) -> str:
    """OPTICS' plot, its valleys in their clusters' colours.

    ``data``: reachability (in the order of the plot; None or ∞ where a point is reached from
    none), labels (in that order), of.
    """
    say, labels = visitor.say, data["labels"]
    heights = [_finite(value) for value in data["reachability"]]
    known = sorted(height for height in heights if height is not None)
    top = _visible(known)
    y = axis([height for height in known if height <= top], say("Reachability distance"), zero=True)
    plot = Plot(_percentages(say("Points in OPTICS’ order, in %")), y)
    paths, at = [], 0
    for label, run in groupby(labels):
        end = at + len(list(run))
        paths.append(_bars(plot, heights, at, end, label, visitor))
        at = end
    named = sorted(set(labels))
    clusters = sum(label >= 0 for label in named)
    title = say("Reachability: valleys are clusters")
    noise = labels.count(-1) / len(labels)
    return figure(
        "reachability",
        title,
        _clusters_legend(named, visitor) + plot.to_svg(title, "".join(paths), styled=False),
        visitor,
        finding=say(
            Message(
                "{clusters} clusters; {share} is noise.", clusters=clusters, share=percent(noise)
            )
        ),
        caption=[
            say("Each bar is a point: how far it is from the denser ones before it."),
            say("A deep valley is a dense cluster; a high bar begins a new one."),
            *_cut_off(known, y, visitor),
            *thin_out(data, visitor),
        ],
    )


def _visible(heights: Sequence[float]) -> float:
    """Up to where ascending heights are drawn.

    A few far jumps, between clusters that lie apart, would leave no room for the valleys.
    """
    if not heights:
        return 0.0
    most = heights[int(_USUAL * (len(heights) - 1))]
    return _FAR * most if most and heights[-1] > 2 * _FAR * most else heights[-1]


def _cut_off(heights: Sequence[float], y: Axis, visitor: Visitor) -> list[str]:
    if not heights or heights[-1] <= y.high:
        return []
    words = Message("Bars that go beyond the axis are cut off; the highest is {value}.",
                    value=number(heights[-1]))  # fmt: skip
    return [visitor.say(words)]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _bars(
    plot: Plot, heights: Sequence[float | None], start: int, end: int, label: int, visitor: Visitor
) -> str:
    """The bars of neighbours in one cluster as one outline; what is reached from none is full."""
    step, low = plot.width / len(heights), plot.height
    steps = [
        f"V{low * (1 - (1 if height is None else plot.y.share(height))):.1f}H{step * (at + 1):.2f}"
        for at, height in enumerate(heights[start:end], start)
    ]
    path = f"M{step * start:.2f} {low:g}{''.join(steps)}V{low:g}Z"
    return (
        f'<path class="area {kind_of(label)}" d="{path}">'
        f"<title>{escape(_name(label, visitor))}</title></path>"
    )


def _name(label: int, visitor: Visitor) -> str:
    return visitor.say("Noise") if label < 0 else visitor.say(Message("Cluster {n}", n=label))


def _clusters_legend(labels: Sequence[int], visitor: Visitor) -> str:
    """The numbers of the first clusters beside their colours, eight a line; noise is the last."""
    clusters = [label for label in labels if label >= 0]
    entries = [f"<text>{escape(visitor.say('Cluster'))}</text>"] + [
        f"<title>{escape(_name(label, visitor))}</title>{swatch(kind_of(label))}"
        f'<text class="strong" x="16">{label}</text>'
        for label in clusters[:_NAMED]
    ]
    if (more := len(clusters) - _NAMED) > 0:
        entries.append(
            f"<text>{escape(visitor.say(Message('and {count} more', count=more)))}</text>"
        )
    if -1 in labels:
        entries.append(
            f'{swatch("noise")}<text class="strong" x="16">{escape(visitor.say("Noise"))}</text>'
        )
    parts = "".join(
        f'<svg x="{100 * column / _COLUMNS:g}%" y="{13 + 20 * line}">{each}</svg>'
        for each, (line, column) in zip(
            entries, map(divmod, range(len(entries)), [_COLUMNS] * len(entries)), strict=True
        )
    )
    return draw_svg(parts, WIDTH, 20 * -(-len(entries) // _COLUMNS) + 6, kind="legend")


# --- silhouettes ----------------------------------------------------------------------------------


def silhouettes(data: Mapping[str, Any], visitor: Visitor) -> str:
    """The knife plot: each point's silhouette, by cluster, the largest first.

    ``data``: values (−1 … 1), labels (of the same points, no noise), mean (of all; None or left
    out: of these), sampled, of.
    """
    say, values = visitor.say, data["values"]
    by_label: dict[int, list[float]] = {}
    for label, value in zip(data["labels"], values, strict=True):
        if label >= 0:
            by_label.setdefault(label, []).append(value)
    title = say("Silhouette of each point, by cluster")
    if not by_label:
        found = say("There is no cluster to look at.")
        return figure("silhouettes", title, "", visitor, finding=found)
    mean = data.get("mean")
    mean = sum(values) / len(values) if mean is None else mean
    x = axis([*values, mean, 1.0], say("Silhouette"), zero=True)
    total, rows = sum(map(len, by_label.values())), sorted(by_label.items())
    gap = 0.25 / len(rows) if len(rows) > 1 else 0.0  # of the height, between all of them
    height = min(_TALLEST, max(260, (_LEAST_BAND + 4) * len(rows)))
    paths, names, at = [], [], 0.0
    for label, its in rows:
        share = (1 - gap) * (0.35 / len(rows) + 0.65 * len(its) / total)
        words = _about_blade(label, its, data, visitor)
        ends = height * at, height * (at + share)
        paths.append(_blade(x, sorted(its, reverse=True), *ends, label, words))
        names.append((at + share / 2, label))
        at += share + (gap / (len(rows) - 1) if len(rows) > 1 else 0)
    y = Axis(0.0, 1.0, tuple(1 - each for each, _ in names), tuple(str(n) for _, n in names),
             say("Cluster"))  # fmt: skip
    below = sum(value < 0 for value in values)
    found = Message(
        "Mean {mean}; {share} of the points are nearer to another cluster.",
        mean=number(round(mean, 3)),
        share=percent(below / len(values)),
    )
    plot = Plot(x, y, height=height)
    zero = f'<line class="zero" x1="{plot.across(0)}" x2="{plot.across(0)}" y1="0" y2="100%"/>'
    words = say(Message("mean {mean}", mean=number(round(mean, 3))))
    return figure(
        "silhouettes",
        title,
        plot.to_svg(title, "".join(paths), zero + plot.upright(mean, words, above=True)),
        visitor,
        finding=say(found),
        caption=[
            say("Each cluster’s points lie one below the other, the best first."),
            say(
                "A full, blunt blade is a good cluster; points left of 0 are nearer to another one."
            ),
            *thin_out(data, visitor),
        ],
    )


def _blade(
    x: Axis, values: Sequence[float], top: float, bottom: float, label: int, words: str
) -> str:
    wide, step = WIDTH - LEFT - RIGHT, (bottom - top) / len(values)
    zero = wide * x.share(0)
    steps = "".join(
        f"H{wide * x.share(value):.1f}V{top + (at + 1) * step:.2f}"
        for at, value in enumerate(values)
    )
    return (
        f'<path class="area {kind_of(label)}" d="M{zero:.1f} {top:.2f}{steps}H{zero:.1f}Z">'
        f"<title>{escape(words)}</title></path>"
    )


def _about_blade(
    label: int, values: Sequence[float], data: Mapping[str, Any], visitor: Visitor
) -> str:
    mean = number(round(sum(values) / len(values), 3))
    if data.get("sampled") or data.get("of"):  # then nobody knows how many there are
        return visitor.say(Message("Cluster {n}: mean {mean}", n=label, mean=mean))
    return visitor.say(
        Message(
            "Cluster {n}: {count} points, mean {mean}",
            n=label,
            count=f"{len(values):,}",
            mean=mean,
        )
    )
