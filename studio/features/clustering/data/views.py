"""What goes in and out, as HTML: a table that was brought in, a palette, what an algorithm is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pipelines.clustering.algorithms.registry import find
from pipelines.clustering.data.encodings import TITLES
from pipelines.core.errors import UserError
from pipelines.core.messages import Message
from studio.features.clustering.charts.axes import number
from studio.page.views import notice, percent

if TYPE_CHECKING:
    from studio.features.clustering.data.own_data_sets import Known
    from studio.page.widgets import Visitor

_COLUMNS = 40  # of a table that are shown; the picker has all of them
_CELL = 60  # characters

_KINDS = {
    "number": "numbers",
    "category": "categories",
    "text": "texts",
    "constant": "one value",
    "id": "ids",
    "empty": "empty",
}
_DELIMITERS = {
    ",": "commas",
    ";": "semicolons",
    "\t": "tabs",
    "|": "vertical bars",
    " ": "spaces",
}
_WRITTEN = {
    "delimiter": _DELIMITERS,
    "decimal": {".": "point: 1.5", ",": "comma: 1,5"},
    "thousands": {
        "none": "none: 1250",
        ",": "comma: 1,250",
        ".": "point: 1.250",
        " ": "space: 1 250",
        "'": "apostrophe: 1'250",
    },
    "header": {True: "yes, names", False: "no, data"},
}


def written_guess(what: str, value: Any) -> str:
    """A value of :class:`pipelines.clustering.data.csv_dialect.Reading` in words, in English."""
    if what == "encoding":
        return TITLES.get(value, str(value).upper())
    return _WRITTEN[what].get(value, str(value))


def about(algorithm: str, visitor: Visitor) -> str:
    """What an algorithm of the registry does, assumes, costs, and when it fails.

    Raises:
        NotFound: there is none of that name.
    """
    say, chosen = visitor.say, find(algorithm)
    rows = "".join(
        f"<div><dt>{escape(say(title))}</dt><dd>{escape(say(text))}</dd></div>"
        for title, text in (
            ("Assumes", chosen.assumes),
            ("Cost", chosen.cost),
            ("Fails", chosen.fails),
        )
    )
    facts = [
        (chosen.makes_centres, "Makes centres"),
        (chosen.makes_noise, "Leaves noise out"),
        (chosen.makes_soft, "Soft membership"),
        (chosen.labels_new, "Labels new points"),
    ]
    tags = "".join(f"<span>{escape(say(words))}</span>" for holds, words in facts if holds)
    most = escape(say(Message("At most {count} points", count=f"{chosen.most:,}")))
    return (
        f'<div class="cluster-view about-algorithm" data-algorithm="{chosen.name}">'
        f"<p>{escape(say(chosen.description))}</p><dl>{rows}</dl>"
        f'<div class="traits">{tags}<span>{most}</span></div></div>'
    )


def foreseen(algorithm: str, known: Known, parameters: Mapping[str, Any], visitor: Visitor) -> str:
    """What clustering will take, where that is long or much, or why it will be refused; else "".

    Args:
        known: the data set.
        parameters: fields of the algorithm's; while they are not valid, nothing is said.
    """
    from pipelines.clustering.running import check_memory, in_advance, is_long

    chosen = find(algorithm)
    try:
        params = chosen.parameters.model_validate(parameters)
        chosen.check_count(known.points, params)
        estimate = chosen.estimate(known.points, len(known.columns), params)
        check_memory(estimate)
    except ValidationError:
        return ""
    except UserError as error:
        return notice(error.message, visitor)
    return notice(in_advance(estimate), visitor) if is_long(estimate) else ""


def palette(swatches: Sequence[Mapping[str, Any]], visitor: Visitor) -> str:
    """The colours of a picture; one that is clicked is copied.

    Args:
        swatches: each label (−1: of no cluster), hex, pixels, share.
    """
    strip = "".join(
        f'<i style="flex-grow:{each["share"]:.4f};background:{escape(each["hex"])}"></i>'
        for each in swatches
    )
    buttons = "".join(_swatch(each, visitor) for each in swatches)
    title = escape(visitor.say(Message("Palette of {count} colours", count=len(swatches))))
    copied = escape(visitor.say("Copied"))
    words = escape(visitor.say("Click a colour to copy it."))
    return (
        f'<div class="cluster-view palette" data-copied="{copied}"><h4>{title}</h4>'
        f'<div class="strip" aria-hidden="true">{strip}</div>'
        f'<div class="swatches">{buttons}</div><p class="summary">{words}</p></div>'
    )


def _swatch(each: Mapping[str, Any], visitor: Visitor) -> str:
    colour, share = escape(each["hex"]), percent(each["share"])
    about = visitor.say(
        Message("{colour}: {count} pixels, {share}", colour=each["hex"],
                count=f"{each['pixels']:,}", share=share)
    )  # fmt: skip
    # Its name in the plot, where clusters have colours that can be told apart.
    name = Message("Cluster {n}", n=each["label"]) if each["label"] >= 0 else "Noise"
    return (
        f'<button type="button" data-copy="{colour}" title="{escape(about)}">'
        f'<i style="background:{colour}"></i><code>{colour}</code><span>{share}</span>'
        f"<small>{escape(visitor.say(name))}</small>"
        "</button>"
    )


def table_preview(
    table: Mapping[str, Any],
    visitor: Visitor,
    chosen: Sequence[str] | None = None,
    truth: str | None = None,
) -> str:
    """The first rows of a table that was brought in, and what its columns are.

    Args:
        table: rows, columns (name, kind, missing, infinite, unreadable, levels, least, most,
            doubts, firsts), suggested, preview (rows of texts), layout (encoding, delimiter,
            decimal, thousands, header; or None), guesses, notes.
        chosen: the columns that are marked; None: those suggested.
        truth: the column with the true labels, or None.
    """
    say, columns = visitor.say, table["columns"]
    marked = set(table.get("suggested", ()) if chosen is None else chosen)
    shown = columns[:_COLUMNS]
    of = dict.fromkeys(marked, " chosen") | {truth: " truth"}
    tag = f'<span class="kind of-truth">{escape(say("true labels"))}</span>'
    heads = "".join(
        f'<th scope="col" class="column{of.get(each["name"], "")}">'
        f'<b title="{escape(each["name"])}">{escape(_cut(each["name"]))}</b>'
        f'<span class="kind {each["kind"]}">{escape(say(_KINDS[each["kind"]]))}</span>'
        f"{tag if each['name'] == truth else ''}"
        f"<small>{escape(_about_column(each, visitor))}</small>{_doubts(each)}</th>"
        for each in shown
    )
    body = "".join(
        f'<tr><th scope="row">{at}</th>'
        + "".join(
            f'<td class="{each["kind"]}{of.get(each["name"], "")}">{escape(_cut(cell))}</td>'
            for each, cell in zip(shown, row, strict=False)
        )
        + "</tr>"
        for at, row in enumerate(table["preview"], start=1)
    )
    facts = [
        Message("{rows} rows, {columns} columns", rows=f"{table['rows']:,}",
                columns=f"{len(columns):,}"),
        Message("{count} chosen", count=f"{sum(each['name'] in marked for each in columns):,}"),
    ]  # fmt: skip
    if (more := len(columns) - len(shown)) > 0:
        facts.append(Message("{count} columns are not shown", count=f"{more:,}"))
    said = " · ".join([say(fact) for fact in facts] + _layout(table.get("layout"), visitor))
    notes = "".join(
        f'<div class="hint">{escape(_note(note, visitor))}</div>'
        for note in (*_reading_doubts(table), *(table.get("notes") or ()))
    )
    return (
        f'<div class="cluster-view table-preview"><p class="summary">{escape(said)}</p>{notes}'
        f'<div class="scroll" tabindex="0"><table><thead><tr><td></td>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></div>"
    )


def _reading_doubts(table: Mapping[str, Any]) -> list[Any]:
    """The doubts of how a text is read."""
    return [each["doubt"] for each in table.get("guesses") or () if each["doubt"]]


def _doubts(column: Mapping[str, Any]) -> str:
    """What may be wrong with a column: the first values, as written and as read, and why."""
    if not (doubts := column.get("doubts")):
        return ""
    firsts = [
        (written, "–" if read is None else f"{read:.15g}")
        for written, read in column.get("firsts") or ()
    ]
    first = ""
    if any(written.strip() != read for written, read in firsts):
        words = ", ".join(f"{written} → {read}" for written, read in firsts)
        first = f"<code>{escape(words)}</code>"
    return f'<div class="doubt">{first}{escape(" ".join(doubts))}</div>'


def _note(note: Any, visitor: Visitor) -> str:
    return note if isinstance(note, str) else visitor.say(Message.from_json(note))


def _about_column(each: Mapping[str, Any], visitor: Visitor) -> str:
    say, parts = visitor.say, []
    if each["kind"] in ("number", "constant") and each.get("least") is not None:
        least, most = number(each["least"]), number(each["most"])
        parts.append(least if least == most else f"{least} … {most}")
    elif each.get("levels"):
        parts.append(say(Message("{count} different", count=f"{each['levels']:,}")))
    lacking = sum(each.get(name) or 0 for name in ("missing", "infinite", "unreadable"))
    if lacking:
        parts.append(say(Message("{count} missing", count=f"{lacking:,}")))
    return " · ".join(parts)


def _layout(layout: Mapping[str, Any] | None, visitor: Visitor) -> list[str]:
    """How the text was read, so that a wrong guess is seen."""
    if not layout:
        return []
    say, delimiter = visitor.say, layout["delimiter"]
    words = [
        layout["encoding"].upper().removesuffix("-SIG"),
        say(Message("separated by {delimiter}",
                    delimiter=say(_DELIMITERS.get(delimiter, delimiter)))),
    ]  # fmt: skip
    if layout.get("decimal") == ",":
        words.append(say("decimal comma"))
    if layout.get("thousands"):
        mark = written_guess("thousands", layout["thousands"])
        words.append(say(Message("thousands by {mark}", mark=say(mark))))
    if layout.get("header") is False:
        words.append(say("no row of names"))
    return words


def _cut(text: str) -> str:
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"
