"""How a table is laid out as text: encoding, delimiter, marks of numbers, header.

What a person does not say is found by looking, and each such guess is told with its doubt, so that
a wrong one is seen and can be changed.
"""

from __future__ import annotations

import io
import itertools
import re
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.clustering.data.csv_rows import not_of, read_rows, too_many_fields
from pipelines.clustering.data.encodings import SAMPLE_BYTES, Encoding, FoundEncoding, find_encoding
from pipelines.clustering.data.numerals import Evidence, Marks, find_marks, form_of, number_of
from pipelines.core.engine import StrictModel
from pipelines.core.errors import BadRequest
from pipelines.core.messages import Message

MAX_COLUMNS = 1000

_SAMPLE_ROWS = 200
_UNSEEN = " \t\r\n\ufeff\u200b\u2060"  # beside names, from programs and web pages
_PREAMBLE = 30  # lines above a table
_YEARS = range(1800, 2201)
_NEAR = 0.2  # scores of delimiters this near leave a doubt

Delimiter = Literal[",", ";", "\t", "|", " "]
# White space is also within texts, and so is a comma: others are rather meant.
_PREFERRED = {",": 0.0, ";": 0.06, "\t": 0.08, "|": 0.04, " ": -0.5}
Said = str | bool  # the value of a field of a reading
DELIMITERS: tuple[Delimiter, ...] = (",", ";", "\t", "|", " ")


class Reading(StrictModel):
    """How a text file is read; what is left empty is found by looking at the file."""

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
    thousands: Annotated[
        Literal["none", ",", ".", " ", "'"] | None,
        Field(
            title="Thousands mark",
            description="Between groups of digits, as in 1,250 or 1.250; none: digits are not "
            "grouped. Empty: found from the file.",
        ),
    ] = None
    header: Annotated[
        bool | None,
        Field(title="First row has names", description="Empty: found from the file."),
    ] = None

    @model_validator(mode="after")
    def _two_marks(self) -> Reading:
        if self.decimal is not None and self.decimal == self.thousands:
            raise BadRequest(
                "{mark} cannot be both the decimal mark and the thousands mark. Choose another one "
                "for either.",
                mark=repr(self.decimal),
            )
        return self


@dataclass(frozen=True, slots=True)
class CsvDialect:
    """How a text file is laid out.

    Attributes:
        encoding: Python's name.
        delimiter: one character; a space stands for any white space.
        decimal: "." or ",".
        thousands: between groups of digits, else None.
        skip: lines before the first row, the header among them.
        header: whether there is one.
        names: of the columns, each once.
        errors: what is done with bytes that are none of the encoding: ``strict`` or ``replace``.
    """

    encoding: str
    delimiter: str
    decimal: str
    thousands: str | None
    skip: int
    header: bool
    names: tuple[str, ...]
    errors: str = "strict"

    @property
    def marks(self) -> Marks:
        return Marks(self.decimal, self.thousands)


@dataclass(frozen=True, slots=True)
class Guess:
    """One thing about a file's layout.

    Attributes:
        what: a field of :class:`Reading`.
        value: of that field, as it is taken.
        chosen: whether a person has said so.
        doubt: why it may be another one, or None.
        others: values that are likely too.
    """

    what: str
    value: Said
    chosen: bool
    doubt: Message | None = None
    others: tuple[Said, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """A layout and how sure it is.

    Attributes:
        layout: by which the file is read.
        guesses: a :class:`Guess` for each field of :class:`Reading`.
        nameless: columns that have no name of their own.
        passed: lines above the table that are left out.
    """

    layout: CsvDialect
    guesses: tuple[Guess, ...]
    nameless: frozenset[str]
    passed: tuple[str, ...]


def find_dialect(path: Path, reading: Reading, stop: threading.Event | None = None) -> Found:
    """Looks at the whole file's bytes for its encoding, and at 200 rows for the rest.

    Raises:
        BadRequest: not text, empty, too many columns, or no delimiter in it.
    """
    encoding = FoundEncoding(reading.encoding or "")
    if reading.encoding is None:
        encoding = find_encoding(path, stop)
    name = encoding.name
    if name == "utf-8":
        name = "utf-8-sig"  # the same, less the mark that may stand before it
    sample = _sample(_start_of(path, name, encoding.errors), reading.delimiter)
    rows = [row for _, row in sample.rows]
    head, body = rows[0], rows[1:]
    marks = _marks_of(rows, sample.delimiter, reading)
    header, doubt = _has_header(head, body)
    above = None if header or reading.header is False else sample.above
    if above is not None:
        header, doubt = True, _header_doubt(True, above)
    if reading.header is not None:
        header, doubt = reading.header, None
    if header and not body and above is None:
        raise BadRequest(
            "The file has a row of names ({names}) and no rows below it.",
            names=_short(", ".join(head)),
        )
    names = None
    if header:
        named = (above, sample.rows) if above is not None else (head, sample.rows[1:])
        names = _names(*named, sample.delimiter)
    names = names or [""] * max(map(len, rows))
    if len(names) > MAX_COLUMNS:
        raise too_many_columns(len(names))
    layout = CsvDialect(
        name,
        sample.delimiter,
        marks.decimal,
        marks.thousands,
        # A name may hold line ends.
        sample.rows[0][0] if header and above is None else sample.skip,
        header,
        unique(names),
        encoding.errors,
    )
    given = reading.model_dump()
    guesses = (
        Guess("encoding", _plain_name(name), bool(reading.encoding), encoding.doubt,
              encoding.others),
        Guess("delimiter", sample.delimiter, sample.said, sample.doubt, sample.others),
        Guess("decimal", marks.decimal, given["decimal"] is not None),
        Guess("thousands", marks.thousands or "none", given["thousands"] is not None),
        Guess("header", header, given["header"] is not None, doubt, (not header,) if doubt else ()),
    )  # fmt: skip
    nameless = {own for own, name in zip(layout.names, names, strict=True) if not name.strip()}
    passed = sample.passed[:-1] if above is not None else sample.passed
    return Found(layout, guesses, frozenset(nameless), passed)


def _plain_name(encoding: str) -> str:
    return {"utf-8-sig": "utf-8", "utf-16-le": "utf-16", "utf-16-be": "utf-16"}.get(
        encoding, encoding
    )


def _names(head: list[str], body: Sequence[tuple[int, list[str]]], delimiter: str) -> list[str]:
    """A name for each column, "" for those that the header does not name.

    Never fewer than the first rows have: nothing of them is left out.
    """
    usual = Counter(len(row) for _, row in body).most_common(1)[0][0]
    if usual == len(head) + 1 and body[0][1][-1].strip():
        head = ["row", *head]  # as R writes: the names of rows have no name of their own
    named = max(len(head), usual)
    for line, row in body:
        if any(cell.strip() for cell in row[named:]):
            raise too_many_fields(line, len(row), named, delimiter)
    return head + [""] * (max(len(row) for _, row in body) - len(head))


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
        name = name.strip(_UNSEEN) or f"column {number}"
        again = (name if copy == 1 else f"{name} ({copy})" for copy in itertools.count(1))
        found[next(each for each in again if each not in found)] = None
    return tuple(found)


def _start_of(path: Path, encoding: str, errors: str) -> tuple[str, bool]:
    """The first rows as text, of a longer file up to the end of a line; and whether that is all."""
    try:
        with path.open(encoding=encoding, errors=errors, newline="") as file:
            text = file.read(SAMPLE_BYTES)
            whole = not file.read(1)
    except UnicodeError as error:
        raise not_of(encoding, error) from None
    if not text.strip():
        raise BadRequest("The file is empty. Send a table with at least one row.")
    if whole:
        return text, True
    end = max(text.rfind("\n"), text.rfind("\r"))
    if end < 0:
        raise BadRequest(
            "The first line is longer than {limit} characters; this is no table with at most "
            "{columns} columns.",
            limit=f"{SAMPLE_BYTES:,}",
            columns=f"{MAX_COLUMNS:,}",
        )
    return text[: end + 1], False


@dataclass(frozen=True, slots=True)
class _Sample:
    """The first rows: (line that each ends in, cells), and how they are parted."""

    rows: list[tuple[int, list[str]]]
    skip: int
    delimiter: str
    said: bool  # by a person, or by the file itself
    doubt: Message | None
    others: tuple[str, ...]
    above: list[str] | None  # names in a line that begins with #
    passed: tuple[str, ...]  # lines above the table


def _sample(start: tuple[str, bool], delimiter: str | None) -> _Sample:
    text, whole = start
    skip = 0
    lines = io.StringIO(text, newline="").readlines()  # not splitlines: it knows other line ends
    _refuse_others(lines)
    while skip < len(lines) - 1 and (not lines[skip].strip() or lines[skip].startswith("#")):
        skip += 1
    passed = [line.strip() for line in lines[:skip] if line.strip()]
    told = re.fullmatch(r"(?i:sep)=([,;|\t])", lines[skip].strip(" \r\n"))  # Excel's own way
    if told:
        skip += 1
        delimiter = delimiter or told[1]
    lines = lines[skip:]
    scores = {each: _score(lines, each, skip, whole) for each in DELIMITERS}
    best = max(scores, key=scores.__getitem__)  # of equals the first
    found = delimiter or (best if scores[best] > 0 else _absent(lines))
    preamble = _preamble(lines, found)
    passed += [line.strip() for line in lines[:preamble] if line.strip()]
    skip, lines = skip + preamble, lines[preamble:]
    rows = list(itertools.islice(read_rows(lines, found, skip + 1, whole), _SAMPLE_ROWS))
    if not rows:
        raise BadRequest("The file is empty. Send a table with at least one row.")
    single = max(len(row) for _, row in rows) == 1
    whole_number = _whole_number(lines)
    if delimiter and single and best not in (found, " ") and scores[best] > 0 and not whole_number:
        raise BadRequest(
            "There is no {delimiter} between the columns of this file; they seem to be separated "
            "by {found}. Choose that, or leave the delimiter empty.",
            delimiter=repr(delimiter),
            found=repr(best),
        )
    others = ()
    if delimiter is None:
        others = tuple(
            each
            for each, score in scores.items()
            if each != found and 0 < scores[found] - _NEAR < score
        )
    doubt = Message(
        "The columns are separated by {found}, or by {other}. Look whether they are right.",
        found=repr(found),
        other=", ".join(map(repr, others)),
    )
    if whole_number and form_of(lines[0]) and found in (",", " ") and delimiter is None:
        others = others or (";",)
        doubt = Message(
            "A line such as {line} may be one number rather than several columns. If it is one, "
            "choose another delimiter.",
            line=repr(whole_number),
        )
    above = _names_in_comment(passed[-1], found, rows) if passed and not preamble else None
    return _Sample(
        rows,
        skip,
        found,
        delimiter is not None,
        doubt if others else None,
        others,
        above,
        tuple(passed),
    )


def _preamble(lines: Sequence[str], delimiter: str) -> int:
    """How many lines above a table the delimiter does not part, such as the title of a report; at
    most 30. Of a table of two columns an empty line has to follow them: one name may be fewer than
    the rows have fields."""
    if delimiter == " ":
        return 0
    parts = [line.count(delimiter) for line in lines[:_SAMPLE_ROWS] if line.strip()]
    usual, count = Counter(parts).most_common(1)[0] if parts else (0, 0)
    if usual < 1 or 2 * count < len(parts):
        return 0
    at = next((at for at, line in enumerate(lines) if delimiter in line), 0)
    if usual == 1 and (not at or lines[at - 1].strip()):
        return 0
    if at > _PREAMBLE or lines[at].count(delimiter) < usual - 1:
        return 0
    # A name in quotation marks may hold line ends.
    return 0 if any('"' in line for line in lines[:at]) else at


def _names_in_comment(
    comment: str, delimiter: str, rows: Sequence[tuple[int, list[str]]]
) -> list[str] | None:
    """The names in a line such as ``# x, y``, as NumPy writes them, or ``#,name`` as a table of
    numbered things has them; None where they are not those of the rows."""
    text = comment if comment[1:2] == delimiter else comment[1:]
    try:
        cells = [cell.strip() for _, row in read_rows([text], delimiter) for cell in row]
    except BadRequest:
        return None
    usual = Counter(len(row) for _, row in rows).most_common(1)[0][0]
    if not 2 <= len(cells) == usual or any(form_of(cell) is not None for cell in cells):
        return None
    return cells


def _refuse_others(lines: Sequence[str]) -> None:
    """Raises BadRequest for texts that other things than tables begin with."""
    first = next((line.strip() for line in lines if line.strip()), "")[:2000].lower()
    kinds = {
        "JSON": first.startswith(("{", "[")) and first[1:].lstrip()[:1] in ("", '"', "{", "[", "}"),
        "ARFF": any(line.lower().startswith("@relation") for line in lines[:100]),
        "XML": first.startswith("<?xml"),
        "HTML": first.startswith(("<!doctype html", "<html", "<table", "<meta", "<head")),
        "SQL": first.startswith(
            ("insert into ", "create table ", "-- mysql dump", "-- postgresql database", "pgdmp",
             "pragma foreign_keys", "begin transaction;", "drop table ")
        ) or any(line.lower().startswith("insert into ") for line in lines[:100]),
    }  # fmt: skip
    for kind, holds in kinds.items():
        if holds:
            raise BadRequest(
                "This file is {kind}, not a table of rows and columns. Export the table as CSV and "
                "send that.",
                kind=kind,
            )


def _score(lines: Sequence[str], delimiter: str, skip: int, whole: bool) -> float:
    """How well a delimiter parts the rows: equal widths, cells that are numbers; 0 where there is
    but one column."""
    try:
        read = read_rows(lines, delimiter, skip + 1, whole)
        rows = [row for _, row in itertools.islice(read, _SAMPLE_ROWS)]
    except BadRequest:
        return 0.0
    width, count = Counter(map(len, rows)).most_common(1)[0] if rows else (0, 0)
    if width < 2 or (len(rows[0]) == 1 and width == 2 and not _has_row_names(lines, rows)):
        return 0.0
    cells = [cell for row in rows for cell in row if cell.strip()]
    numbers = sum(form_of(cell) is not None for cell in cells) / max(1, len(cells))
    # The header goes with the rows, but where those have a name that it does not name.
    score = count / len(rows) + numbers - 0.3 * (len(rows[0]) not in (width, width - 1, width + 1))
    if len(rows[0]) == 1:
        score -= 0.3
    return max(0.0, score + _PREFERRED[delimiter])


def _has_row_names(lines: Sequence[str], rows: Sequence[list[str]]) -> bool:
    """Whether rows of two cells below a header of one are a name and a number, as R writes them,
    rather than one number such as ``1,5`` or ``$1,250.00``."""
    body = [line.strip() for line in lines[1 : len(rows)] if line.strip()]
    quoted = sum(line.startswith('"') for line in body)
    named = sum(row[0][:1].isalpha() for row in rows[1:])
    return not _whole_number(lines) and 2 * max(quoted, named) > len(body)


def _whole_number(lines: Sequence[str]) -> str:
    """The first line of those that are each one number as a whole, such as ``1,5``, where nearly
    all below the first are; else ""."""
    found = [line.strip() for line in lines[1:_SAMPLE_ROWS] if line.strip()]
    numbers = [line for line in found if any(mark in line for mark in ", ") and form_of(line)]
    return numbers[0][:40] if numbers and len(numbers) > 0.9 * len(found) else ""


def _absent(lines: Sequence[str]) -> Delimiter:
    """A delimiter that is in no line, for a table of one column."""
    sample = lines[:_SAMPLE_ROWS]
    if any('"' in line for line in sample):  # it is rather that one is never closed
        return ","
    return next(
        (each for each in (",", "\t", ";", "|") if not any(each in line for line in sample)), ","
    )


def _marks_of(rows: list[list[str]], delimiter: str, reading: Reading) -> Marks:
    body = rows[1:] or rows  # a year among the names is no number
    found = Evidence.of(cell for row in body for cell in row)
    return find_marks(found, reading.decimal, reading.thousands, delimiter == ";")


def _has_header(head: list[str], body: list[list[str]]) -> tuple[bool, Message | None]:
    """Whether the first row names the columns, and what speaks against being sure."""
    cells = [cell.strip() for cell in head]
    if not any(cells):
        return False, None
    if body and Counter(map(len, body)).most_common(1)[0][0] == len(head) + 1:
        body = [row[1:] for row in body]  # the names of rows have no name of their own
    below = [[row[at].strip() for row in body if len(row) > at] for at in range(len(cells))]
    numeric = [form_of(cell) is not None for cell in cells]
    if not any(numeric):
        for name, column in zip(cells, below, strict=True):
            if name and any(form_of(cell) is not None for cell in column):
                return True, None
            if name and name in column:
                return False, _header_doubt(False, cells)
        sure = len(set(cells)) == len(cells)
        return sure, _header_doubt(sure, cells)
    if _is_sequence(cells, below, numeric):
        return True, _header_doubt(True, cells)
    texts = [
        name
        for name, is_number, column in zip(cells, numeric, below, strict=True)
        if name and not is_number and any(form_of(cell) is not None for cell in column)
    ]
    # A word above numbers, beside numbers above numbers: it may be a missing value.
    years = [cell for cell, own in zip(cells, numeric, strict=True) if own and _is_year(cell)]
    ordered = _are_ordered(cells, below, numeric)
    if ordered == "evenly" and not all(numeric):
        return True, _header_doubt(True, cells)
    doubted = texts or len(years) == sum(numeric) or ordered
    return False, _header_doubt(False, cells) if doubted else None


def _are_ordered(
    cells: list[str], below: list[list[str]], numeric: list[bool]
) -> Literal["evenly", "rising", ""]:
    """Whether the numbers of the first row rise or fall, as wavelengths or depths in a row of names
    do, and those of most rows below do not likewise; "evenly" of four or more in equal steps."""
    first = _steps([cell for cell, own in zip(cells, numeric, strict=True) if own])
    under = [column for column, own in zip(below, numeric, strict=True) if own]
    rows = [_steps(row) for row in itertools.islice(zip(*under, strict=False), 20)]
    if len(first) < 2 or not rows or not _are_alike(first):
        return ""
    if len(first) > 2 and _are_equal(first) and not any(map(_are_equal, rows)):
        return "evenly"
    alike = sum(_are_alike(row) and (row[0] > 0) == (first[0] > 0) for row in rows)
    return "rising" if 2 * alike <= len(rows) else ""


def _steps(row: Sequence[str]) -> list[float]:
    """From each number of a row to the next; none where not all are plain numbers."""
    values = [number_of(cell, Marks()) for cell in row]
    return [b - a for a, b in itertools.pairwise(values)] if all(v == v for v in values) else []


def _are_alike(steps: list[float]) -> bool:
    return bool(steps) and (min(steps) > 0 or max(steps) < 0)


def _are_equal(steps: list[float]) -> bool:
    return bool(steps) and steps[0] != 0 and max(steps) - min(steps) <= 1e-6 * abs(steps[0])


def _is_year(cell: str) -> bool:
    return cell.isascii() and cell.isdecimal() and len(cell) == 4 and int(cell) in _YEARS


def _is_sequence(cells: list[str], below: list[list[str]], numeric: list[bool]) -> bool:
    """Whether the numbers of the first row number the columns, or are years, and those below do
    not go on in the same way."""
    numbers = [cell for cell, is_number in zip(cells, numeric, strict=True) if is_number]
    if not all(cell.isascii() and cell.isdecimal() and len(cell) <= 4 for cell in numbers):
        return False
    values = list(map(int, numbers))
    steps = {after - before for before, after in itertools.pairwise(values)}
    years = all(value in _YEARS for value in values)
    under = [column for column, own in zip(below, numeric, strict=True) if own]
    if len(values) == 1:
        likely = years and not all(numeric)
    elif years:  # each or every tenth, of censuses or elections, or the latest first
        likely = min(steps) > 0 or max(steps) < 0
    else:  # as pandas numbers columns; above measures, not above numbers of their kind
        measures = any(cell and not cell.isdecimal() for column in under for cell in column)
        likely = steps == {1} and values[0] in (0, 1) and measures
    if not likely:
        return False
    rows = list(itertools.islice(zip(*under, strict=False), 20))
    alike = sum(_goes_on(row, steps, years) for row in rows)
    return 2 * alike <= len(rows)


def _goes_on(row: Sequence[str], steps: set[int], years: bool) -> bool:
    """Whether a row below is of the same kind as the numbers of the first one."""
    if not all(cell.isascii() and cell.isdecimal() and len(cell) <= 4 for cell in row):
        return False
    values = list(map(int, row))
    if years:
        return all(value in _YEARS for value in values)
    return len(values) > 1 and {b - a for a, b in itertools.pairwise(values)} == steps


def _header_doubt(header: bool, cells: list[str]) -> Message:
    template = (
        "The first row ({cells}) is taken for the names of the columns. Say so if it is data."
        if header
        else "The first row ({cells}) is taken for data. Say so if it has the columns' names."
    )
    return Message(template, cells=_short(", ".join(cells)))


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
