"""Tables whose cells are shaded: agreement of seeds, and classes against clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.core.messages import Message
from studio.features.clustering.charts.axes import format_signed
from studio.features.clustering.charts.colours import kind_of
from studio.features.clustering.charts.drawing import (
    cut,
    draw_svg,
    figure,
    swatch,
    text_at,
    text_width,
)
from studio.page.views import percent

if TYPE_CHECKING:
    from studio.page.widgets import Visitor

_WRITTEN = 12  # seeds; where there are more, their cells have no number
_ROWS, _COLUMNS = 40, 40  # of a confusion matrix
_LONGEST = 100  # pixels of a row's name
_FAINTEST = 0.04  # the shade of 0, so that there is a cell


def stability(data: Mapping[str, Any], visitor: Visitor) -> str:
    """How alike the clusters of different seeds are: each pair's ARI.

    ``data``: seeds, pairwise (ARI of each two), mean, clusters (of each seed).
    """
    say, seeds, pairwise = visitor.say, data["seeds"], data["pairwise"]
    written = len(seeds) <= _WRITTEN
    rows = [
        _Row(
            str(seed),
            [
                _Cell(
                    value,
                    format_signed(f"{value:.2f}") if written else "",
                    f"{seed} – {other}: {format_signed(f'{value:.3f}')}",
                )
                for other, value in zip(seeds, row, strict=True)
            ],
            str(count),
        )
        for seed, row, count in zip(seeds, pairwise, data["clusters"], strict=True)
    ]
    mean = data["mean"]
    if mean >= 0.9:
        found = Message("Stable: the mean ARI of two seeds is {mean}.", mean=f"{mean:.3f}")
    elif mean >= 0.6:
        found = Message("Partly stable: the mean ARI of two seeds is {mean}.", mean=f"{mean:.3f}")
    else:
        found = Message(
            "Unstable: the mean ARI of two seeds is {mean}. Try another k or algorithm, or more "
            "starts.",
            mean=format_signed(f"{mean:.3f}"),
        )
    title, columns = say("Stability over seeds"), [("", str(seed)) for seed in seeds]
    return figure(
        "stability",
        title,
        _heat(title, (say("Seed"), say("Clusters")), columns, rows, not written),
        visitor,
        finding=say(found),
        caption=[
            say("ARI 1: two seeds gave the same clusters. 0: no more alike than by chance."),
        ],
    )


def confusion(agreement: Mapping[str, Any], visitor: Visitor) -> str:
    """Points of each true class in each cluster, shaded by the share of the class.

    Args:
        agreement: confusion (a row a class, a column a cluster), classes, columns (clusters, −1
            is noise).
    """
    say, columns = visitor.say, agreement["columns"][:_COLUMNS]
    classes, table = agreement["classes"][:_ROWS], agreement["confusion"][:_ROWS]
    heads = [(kind_of(label), say("Noise") if label < 0 else str(label)) for label in columns]
    rows = [_class(name, row, columns, visitor) for name, row in zip(classes, table)]  # noqa: B905
    is_cut = len(agreement["classes"]) > _ROWS or len(agreement["columns"]) > _COLUMNS
    more = Message("Shown are the first {rows} classes and {columns} clusters.",
                   rows=len(classes), columns=len(columns))  # fmt: skip
    title = say("True classes (rows) and clusters (columns)")
    return figure(
        "confusion",
        title,
        _heat(title, (say("Class"), ""), heads, rows),
        visitor,
        caption=[
            say(
                "How many points of a class are in a cluster; the stronger the colour, the more of "
                "the class."
            ),
            *[say(more)] * is_cut,
        ],
    )


class _Cell(NamedTuple):
    """A shade from 0 to 1, what is written on it, and what is said where a pointer rests."""

    share: float
    text: str
    title: str


class _Row(NamedTuple):
    """What stands before and after the cells of a row."""

    name: str
    cells: Sequence[_Cell]
    after: str = ""


def _class(name: str, row: Sequence[int], columns: Sequence[int], visitor: Visitor) -> _Row:
    total = sum(row) or 1
    cells = []
    for label, count in zip(columns, row, strict=False):
        share = count / total
        values = {"name": name, "count": f"{count:,}", "share": percent(share)}
        if label < 0:
            title = Message("Class {name}: {count} points ({share}) are noise", **values)
        else:
            title = Message(
                "Class {name}: {count} points ({share}) are in cluster {n}", n=label, **values
            )
        cells.append(_Cell(share, f"{count:,}" if count else "·", visitor.say(title)))
    return _Row(name, cells)


def _heat(
    label: str,
    corners: tuple[str, str],
    columns: Sequence[tuple[str, str]],
    rows: Sequence[_Row],
    is_fine: bool = False,
) -> str:
    """A table whose cells are shaded, as wide as it must be.

    Args:
        corners: the heads of what stands before and after the cells.
        columns: the class of each with a swatch, or "", and its head.
        is_fine: whether cells are small squares.
    """
    size, high, gap, least = (10, 20, 1, 20) if is_fine else (12, 26, 2, 38)
    heads = [(16 if kind else 0) + text_width(name, size) for kind, name in columns]
    wide = max(least, 8 + max(heads))
    names = [cut(row.name, _LONGEST, size) for row in rows]
    left = 8 + max(text_width(name, size) for name in [*names, corners[0]])
    right = left + len(columns) * (wide + gap) + 8
    head = text_at(left - 8, 15, corners[0], "end", role="columnheader")
    for at, ((kind, name), head_width) in enumerate(zip(columns, heads, strict=True)):
        x = left + at * (wide + gap) + (wide - head_width) / 2
        if kind:
            head += f'<svg x="{x:.1f}" y="15">{swatch(kind)}</svg>'
        head += text_at(x + 16 * bool(kind), 15, name, role="columnheader")
    head += text_at(right, 15, corners[1], role="columnheader")
    lines, y = [head], 24.0
    for name, row in zip(names, rows, strict=True):
        line = (y + high / 2 + size / 3, name, "end")
        parts = text_at(left - 8, *line, role="rowheader", title=row.name)
        for at, cell in enumerate(row.cells):
            parts += _cell(cell, left + at * (wide + gap), y, wide, high)
        lines.append(parts + text_at(right, line[0], row.after, kind="strong", role="cell"))
        y += high + gap
    drawn = "".join(f'<g role="row">{line}</g>' for line in lines)
    table = draw_svg(
        f'<g font-size="{size}">{drawn}</g>', right + text_width(corners[1], size), y,
        label=label, role="table", kind="fixed",
    )  # fmt: skip
    return f'<div class="scroll">{table}</div>'


def _cell(cell: _Cell, x: float, y: float, width: float, height: float) -> str:
    share = min(1.0, max(0.0, cell.share))
    ink = "on-deep" if share > 0.85 else "on-shade" if share > 0.6 else "strong"
    text = text_at(x + width / 2, y + height / 2 + 4, cell.text, "middle", ink)
    return (
        f'<g role="cell"><title>{escape(cell.title)}</title><rect class="shade" x="{x:.1f}" '
        f'y="{y:.1f}" width="{width:.1f}" height="{height:g}" rx="3" '
        f'fill-opacity="{_FAINTEST + (1 - _FAINTEST) * share:.3f}"/>{text}</g>'
    )
