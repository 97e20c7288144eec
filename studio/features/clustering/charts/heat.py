"""Tables whose cells are shaded: agreement of seeds, and classes against clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.core.messages import Message
from studio.features.clustering.charts.axes import signed
from studio.features.clustering.charts.colours import kind_of
from studio.features.clustering.charts.drawing import cut, drawing, figure, swatch, text_width
from studio.features.labs.inspect_views import percent

if TYPE_CHECKING:
    from studio.page.widgets import Visitor

_WRITTEN = 12  # seeds; where there are more, their cells have no number
_ROWS, _COLUMNS = 40, 40  # of a confusion matrix
_LONGEST = 140  # pixels of a row's name
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
                    signed(f"{value:.2f}") if written else "",
                    f"{seed} – {other}: {signed(f'{value:.3f}')}",
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
            mean=signed(f"{mean:.3f}"),
        )
    title, columns = say("Stability over seeds"), [("", str(seed)) for seed in seeds]
    return figure(
        "stability",
        title,
        _heat(title, (say("Seed"), say("Clusters")), columns, rows, _WIDE if written else _FINE),
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
        _heat(title, (say("Class"), ""), heads, rows, _WIDE),
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


class _Size(NamedTuple):
    """Pixels of a cell at least, between two of them, and of letters."""

    width: float
    height: float
    gap: float
    letters: float


_WIDE, _FINE = _Size(42, 26, 2, 12), _Size(20, 20, 1, 10)


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
    size: _Size,
) -> str:
    """A table whose cells are shaded, as wide as it must be.

    Args:
        corners: the heads of what stands before and after the cells.
        columns: the class of each with a swatch, or "", and its head.
    """
    letters = size.letters
    names = [cut(row.name, _LONGEST, letters) for row in rows]
    x = left = 8 + max(text_width(name, letters) for name in [*names, corners[0]])
    head = _word("columnheader", left - 8, 15, corners[0], letters, "end")
    places = []
    for kind, name in columns:
        swatch_width = 16 if kind else 0
        text = text_width(name, letters)
        width = max(size.width, swatch_width + text + 8)
        start = x + (width - swatch_width - text) / 2
        colour = f'<svg x="{start:.1f}" y="15">{swatch(kind)}</svg>' if kind else ""
        head += colour + _word("columnheader", start + swatch_width, 15, name, letters, "start")
        places.append((x, width))
        x += width + size.gap
    x += 8
    head += _word("columnheader", x, 15, corners[1], letters, "start")
    drawn, y = f'<g role="row">{head}</g>', 24.0
    for name, row in zip(names, rows, strict=True):
        middle = y + size.height / 2 + letters / 3
        parts = _word("rowheader", left - 8, middle, name, letters, "end", row.name)
        for (at, width), cell in zip(places, row.cells, strict=True):
            parts += _cell(cell, at, y, width, size)
        parts += _word("cell", x, middle, row.after, letters, "start", kind="strong")
        drawn += f'<g role="row">{parts}</g>'
        y += size.height + size.gap
    width = x + text_width(corners[1], letters)
    table = drawing(drawn, width, y, label=label, role="table", kind="fixed")
    return f'<div class="scroll">{table}</div>'


def _word(
    role: str, x: float, y: float, text: str, size: float, anchor: str, title: str = "",
    kind: str = "",
) -> str:  # fmt: skip
    if not text:
        return ""
    about = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<text role="{role}" class="{kind}" x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" '
        f'text-anchor="{anchor}">{escape(text)}{about}</text>'
    )


def _cell(cell: _Cell, x: float, y: float, width: float, size: _Size) -> str:
    share = min(1.0, max(0.0, cell.share))
    ink = "on-deep" if share > 0.85 else "on-shade" if share > 0.6 else "strong"
    text = (
        f'<text class="{ink}" x="{x + width / 2:.1f}" y="{y + size.height / 2 + 4:.1f}" '
        f'text-anchor="middle">{escape(cell.text)}</text>'
    )
    return (
        f'<g role="cell"><title>{escape(cell.title)}</title><rect class="shade" x="{x:.1f}" '
        f'y="{y:.1f}" width="{width:.1f}" height="{size.height:g}" rx="{2 * size.gap}" '
        f'fill-opacity="{_FAINTEST + (1 - _FAINTEST) * share:.3f}"/>{text if cell.text else ""}</g>'
    )
