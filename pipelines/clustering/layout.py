"""How a table is laid out as text: encoding, delimiter, decimal mark, header; found by looking."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.errors import BadRequest, Stopped

MAX_COLUMNS = 1000

_SAMPLE_BYTES = 1 << 20
_SAMPLE_ROWS = 200
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")
_WITH_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_WITH_DOT = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")

Encoding = Literal["utf-8", "utf-16", "gb18030", "big5", "shift_jis", "cp1252", "cp1251"]
Delimiter = Literal[",", ";", "\t", "|", " "]


class Reading(BaseModel):
    """How a text file is read; what is left empty is found by looking at the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoding: Annotated[
        Encoding | None, Field(title="Encoding", description="Empty: found from the file.")
    ] = None
    delimiter: Annotated[
        Delimiter | None,
        Field(title="Delimiter", description="What stands between columns. Empty: found."),
    ] = None
    decimal: Annotated[
        Literal[".", ","] | None,
        Field(title="Decimal mark", description="1.5 or 1,5. Empty: found from the file."),
    ] = None
    header: Annotated[
        bool | None,
        Field(title="First row has names", description="Empty: found from the file."),
    ] = None


@dataclass(frozen=True, slots=True)
class Layout:
    """How a text file is laid out.

    Attributes:
        encoding: Python's name.
        delimiter: one character; a space stands for any white space.
        decimal: "." or ",".
        thousands: "," where numbers are grouped by it, else None.
        skip: lines before the first row, the header among them.
        header: whether there is one.
        names: of the columns, each once.
    """

    encoding: str
    delimiter: str
    decimal: str
    thousands: str | None
    skip: int
    header: bool
    names: tuple[str, ...]


def layout_of(path: Path, reading: Reading, stop: threading.Event | None = None) -> Layout:
    """Looks at the whole file's bytes for its encoding, and at 200 rows for the rest.

    Raises:
        BadRequest: not text, empty, too many columns, or no delimiter in it.
    """
    encoding = reading.encoding or _encoding_of(path, stop)
    if encoding == "utf-8":
        encoding = "utf-8-sig"  # the same, less the mark that may stand before it
    rows, skip, delimiter = _sampled(_start_of(path, encoding), reading.delimiter)
    head, body = rows[0], rows[1:]
    decimal, thousands = _marks_of(rows, delimiter, reading.decimal)
    header = _has_header(head, body) if reading.header is None else reading.header
    if header and not body:
        raise BadRequest(
            "The file has a row of names ({names}) and no rows below it.",
            names=_short(", ".join(head)),
        )
    names = _names(head, body, skip, delimiter) if header else [""] * max(map(len, rows))
    if len(names) > MAX_COLUMNS:
        raise too_many_columns(len(names))
    return Layout(encoding, delimiter, decimal, thousands, skip + header, header, unique(names))


def _names(head: list[str], body: list[list[str]], skip: int, delimiter: str) -> list[str]:
    """A name for each column, "" for those that the header does not name.

    Never fewer than the first rows have: what a row has beyond them, pandas would leave out.
    """
    usual = Counter(map(len, body)).most_common(1)[0][0]
    if usual == len(head) + 1 and body[0][-1].strip():
        head = ["row", *head]  # as R writes: the names of rows have no name of their own
    named = max(len(head), usual)
    for line, row in enumerate(body, skip + 2):
        if any(cell.strip() for cell in row[named:]):
            raise too_many_fields(line, len(row), named, delimiter)
    return head + [""] * (max(map(len, body)) - len(head))


def too_many_fields(line: int, saw: int, expected: int, delimiter: str) -> BadRequest:
    return BadRequest(
        "Line {line} has {saw} fields, where the table has {expected} columns (separated by "
        "{delimiter}). Put quotation marks around texts that hold the delimiter, or choose "
        "another one.",
        line=f"{line:,}",
        saw=saw,
        expected=expected,
        delimiter=repr(delimiter),
    )


def too_many_columns(count: int) -> BadRequest:
    return BadRequest(
        "The file has {count} columns; at most {limit} are read. "
        "Keep those that matter, or reduce them (by PCA, say) before you bring them in.",
        count=f"{count:,}",
        limit=f"{MAX_COLUMNS:,}",
    )


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Names as they are, or numbered where they are empty or stand there already."""
    found: dict[str, None] = {}
    for number, name in enumerate(names, 1):
        name = name.strip() or f"column {number}"
        again = (name if copy == 1 else f"{name} ({copy})" for copy in itertools.count(1))
        found[next(each for each in again if each not in found)] = None
    return tuple(found)


def _encoding_of(path: Path, stop: threading.Event | None) -> str:
    with path.open("rb") as file:
        start = file.read(_SAMPLE_BYTES)
    for mark, name in _BOMS:
        if start.startswith(mark):
            return name
    even, odd = (start[side:4096:2].count(0) for side in (0, 1))
    # Of line ends, digits and Latin letters in UTF-16 every other byte is 0.
    most, least = max(even, odd), min(even, odd)
    if most > 20 * least and most > 0.03 * min(2048, len(start) / 2):
        return "utf-16-be" if even > odd else "utf-16-le"
    if even + odd or 0 in start:
        raise BadRequest(
            "This file is neither text nor Parquet nor NPY. Save the table as CSV and send that."
        )
    if _is_utf8(path, stop):
        return "utf-8"
    # In Chinese text the bytes above 0x7F come in pairs; accented letters mostly stand alone.
    runs = [len(run) for run in re.findall(rb"[\x81-\xfe]+", start)]
    paired = sum(length for length in runs if length % 2 == 0)
    return "gb18030" if paired > 0.9 * sum(runs) else "cp1252"


def _is_utf8(path: Path, stop: threading.Event | None) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                if stop is not None and stop.is_set():
                    raise Stopped
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _start_of(path: Path, encoding: str) -> str:
    """The first rows as text; of a longer file up to the end of a line."""
    try:
        with path.open(encoding=encoding, newline="") as file:
            text = file.read(_SAMPLE_BYTES)
            whole = not file.read(1)
    except UnicodeError as error:
        raise not_of(encoding, error) from None
    if not text.strip():
        raise BadRequest("The file is empty. Send a table with at least one row.")
    if whole:
        return text
    end = max(text.rfind("\n"), text.rfind("\r"))
    if end < 0:
        raise BadRequest(
            "The first line is longer than {limit} characters; this is no table with at most "
            "{columns} columns.",
            limit=f"{_SAMPLE_BYTES:,}",
            columns=f"{MAX_COLUMNS:,}",
        )
    return text[: end + 1]


def _sampled(text: str, delimiter: str | None) -> tuple[list[list[str]], int, str]:
    """The first rows, how many lines come before them, and the delimiter."""
    skip = 0
    lines = _lines(text)
    while skip < len(lines) - 1 and (not lines[skip].strip() or lines[skip].startswith("#")):
        skip += 1
    told = re.fullmatch(r"sep=([,;|\t])\s*", lines[skip])  # Excel's own way of saying it
    if told:
        skip += 1
        delimiter = delimiter or told[1]
    text = "".join(lines[skip:])
    found = delimiter or _delimiter_of(text)
    rows = _rows(text, found)
    if not rows:
        raise BadRequest("The file is empty. Send a table with at least one row.")
    better = _delimiter_of(text) if delimiter and max(map(len, rows)) == 1 else found
    if better not in (found, " ") and len(_rows(text, better)[0]) > 1:
        raise BadRequest(
            "There is no {delimiter} between the columns of this file; they seem to be "
            "separated by {found}. Choose that, or leave the delimiter empty.",
            delimiter=repr(delimiter),
            found=repr(better),
        )
    return rows, skip, found


def _lines(text: str) -> list[str]:
    """Not ``splitlines``, which also ends lines at form feeds and the like."""
    return io.StringIO(text, newline="").readlines()


def _rows(text: str, delimiter: str) -> list[list[str]]:
    words = (line.split() for line in _lines(text))
    rows = words if delimiter == " " else _parsed(text, delimiter)
    return list(itertools.islice((row for row in rows if row), _SAMPLE_ROWS))


def _parsed(text: str, delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        yield from reader
    except csv.Error:  # a field beyond csv's own limit: the rest says nothing about the layout
        return


def _delimiter_of(text: str) -> str:
    """The one that gives rows of equal width whose cells are numbers; "," if there is but one
    column."""
    best, best_score = ",", 0.0
    for delimiter in (",", ";", "\t", "|", " "):
        rows = _rows(text, delimiter)
        width, count = Counter(map(len, rows)).most_common(1)[0] if rows else (0, 0)
        if width < 2:
            continue
        cells = [cell.strip() for row in rows for cell in row if cell.strip()]
        numbers = sum(_NUMBER.fullmatch(cell) is not None for cell in cells) / max(1, len(cells))
        # White space is also within texts: it must do better than the others, with numbers.
        score = count / len(rows) + numbers - (0.5 if delimiter == " " else 0)
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _marks_of(rows: list[list[str]], delimiter: str, decimal: str | None) -> tuple[str, str | None]:
    """Decimal mark and mark of thousands."""
    cells = [cell.strip() for row in rows for cell in row]
    commas = [cell for cell in cells if _WITH_COMMA.fullmatch(cell) or _THOUSANDS.fullmatch(cell)]
    dots = sum(_WITH_DOT.fullmatch(cell) is not None for cell in cells)
    grouped = delimiter == "," and bool(commas) and all(map(_THOUSANDS.fullmatch, commas))
    if decimal is None:
        decimal = "," if len(commas) > dots and not grouped else "."
    return decimal, "," if grouped and decimal == "." else None


def _has_header(head: list[str], body: list[list[str]]) -> bool:
    """Whether the first row names the columns: none of its cells is a number, and below it there
    are numbers, or other texts."""
    cells = [cell.strip() for cell in head]
    if any(_NUMBER.fullmatch(cell) for cell in cells) or not any(cells):
        return False
    for column, name in enumerate(cells):
        below = [row[column].strip() for row in body if len(row) > column]
        if any(_NUMBER.fullmatch(cell) for cell in below):
            return True
        if name in below:
            return False
    return len(set(cells)) == len(cells)


def not_of(encoding: str, error: UnicodeError) -> BadRequest:
    return BadRequest(
        "The file is not in the encoding {encoding} ({reason}). Choose another encoding.",
        encoding=encoding,
        reason=getattr(error, "reason", "") or str(error),
    )


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
