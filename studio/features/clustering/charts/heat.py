"""Tables whose cells are shaded: agreement of seeds, and classes against clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from pipelines.core.messages import Message
from studio.features.clustering.charts.axes import signed
from studio.features.clustering.charts.colours import kind_of
from studio.features.clustering.charts.drawing import figure
from studio.features.labs.inspect_views import percent

if TYPE_CHECKING:
    from studio.page.widgets import Visitor

_WRITTEN = 12  # seeds; where there are more, their cells have no number
_ROWS, _COLUMNS = 40, 40  # of a confusion matrix


def stability(data: Mapping[str, Any], visitor: Visitor) -> str:
    """How alike the clusters of different seeds are: each pair's ARI.

    ``data``: seeds, pairwise (ARI of each two), mean, clusters (of each seed).
    """
    say, seeds, pairwise = visitor.say, data["seeds"], data["pairwise"]
    written = len(seeds) <= _WRITTEN
    heads = "".join(f'<th scope="col">{seed}</th>' for seed in seeds)
    rows = "".join(
        f'<tr><th scope="row">{seed}</th>'
        + "".join(
            _cell(
                value,
                signed(f"{value:.2f}") if written else "",
                f"{seed} – {other}: {signed(f'{value:.3f}')}",
            )
            for other, value in zip(seeds, row, strict=True)
        )
        + f"<td>{count}</td></tr>"
        for seed, row, count in zip(seeds, pairwise, data["clusters"], strict=True)
    )
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
    head = (
        f'<tr><th scope="col">{escape(say("Seed"))}</th>{heads}'
        f'<th scope="col">{escape(say("Clusters"))}</th></tr>'
    )
    size = "" if written else " fine"
    return figure(
        "stability",
        say("Stability over seeds"),
        f'<div class="scroll"><table class="heat{size}"><thead>{head}</thead><tbody>{rows}'
        "</tbody></table></div>",
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
    heads = "".join(
        f'<th scope="col"><span class="chip {kind_of(label)}">'
        f"{escape(say('Noise')) if label < 0 else label}</span></th>"
        for label in columns
    )
    rows = "".join(_class(name, row, columns, visitor) for name, row in zip(classes, table))  # noqa: B905
    cut = len(agreement["classes"]) > _ROWS or len(agreement["columns"]) > _COLUMNS
    more = Message("Shown are the first {rows} classes and {columns} clusters.",
                   rows=len(classes), columns=len(columns))  # fmt: skip
    head = f'<tr><th scope="col">{escape(say("Class"))}</th>{heads}</tr>'
    return figure(
        "confusion",
        say("True classes (rows) and clusters (columns)"),
        f'<div class="scroll"><table class="heat"><thead>{head}</thead><tbody>{rows}</tbody>'
        "</table></div>",
        visitor,
        caption=[
            say(
                "How many points of a class are in a cluster; the stronger the colour, the more of "
                "the class."
            ),
            *[say(more)] * cut,
        ],
    )


def _class(name: str, row: Sequence[int], columns: Sequence[int], visitor: Visitor) -> str:
    total = sum(row) or 1
    cells = "".join(
        _cell(
            count / total,
            f"{count:,}" if count else "·",
            visitor.say(
                Message(
                    "Class {name}: {count} points ({share}) are noise",
                    name=name,
                    count=f"{count:,}",
                    share=percent(count / total),
                )
                if label < 0
                else Message(
                    "Class {name}: {count} points ({share}) are in cluster {n}",
                    name=name,
                    count=f"{count:,}",
                    share=percent(count / total),
                    n=label,
                )
            ),
        )
        for label, count in zip(columns, row, strict=False)
    )
    return f'<tr><th scope="row" title="{escape(name)}">{escape(name)}</th>{cells}</tr>'


def _cell(share: float, text: str, title: str) -> str:
    share = min(1.0, max(0.0, share))
    strong = " strong" if share > 0.6 else ""  # dark letters on light, light ones on dark
    strong += " deep" if share > 0.85 else ""
    return (
        f'<td class="shade{strong}" style="--p:{100 * share:.0f}%" title="{escape(title)}">'
        f"{escape(text)}</td>"
    )
