"""Tables that people bring in: CSV, TSV and other delimited text, Parquet, NPY.

The kind of file is read from its bytes, never from its name. A table is gone through in chunks,
once to see what its columns are and once more for the columns that are wanted: of the file itself
never more than about 500,000 cells are in memory.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipelines.clustering.data.binary_tables import (
    flat_names,
    npy_chunks,
    open_npy,
    open_parquet,
    parquet_chunks,
)
from pipelines.clustering.data.csv_dialect import CsvDialect, Guess, Reading, find_dialect, unique
from pipelines.clustering.data.delimited import chunks
from pipelines.clustering.data.numerals import form_of
from pipelines.clustering.data.profile import PLAIN, Column, Named, Tally
from pipelines.clustering.wire import FilePath
from pipelines.core.errors import BadRequest
from pipelines.core.messages import Message
from pipelines.core.sizes import format_bytes

if TYPE_CHECKING:
    import pandas as pd

MAX_BYTES = 300_000_000
MAX_ROWS = 1_000_000
PREVIEW_ROWS = 10
MAX_NOTES = 8

_MOST_CLASSES = 50  # of a column that is taken for the true labels by itself
_CLASS_NAME = re.compile(
    r"((true|ground)[ _.-]?)?(labels?|class(es)?|targets?|truth)"
    r"|(class|target)[ _.-]?(labels?|names?)|species|variety|y|(真实)?标签|类别|品种|真值",
    re.I,
)

Format = Literal["text", "parquet", "npy"]


@dataclass(frozen=True, slots=True)
class Table:
    """What is known of a table after one look.

    Attributes:
        path: where the server has it.
        format: text, parquet or npy.
        layout: of text, else None.
        rows: how many.
        columns: what each is.
        preview: the first ten rows, as texts.
        left_out: columns that are not read, because they hold lists, structures or bytes.
        guesses: how a text is read, each with its doubt.
        short_rows: rows of a text that end before its last columns begin.
        passed: lines above the table that are left out.
    """

    path: FilePath
    format: Format
    layout: CsvDialect | None
    rows: int
    columns: tuple[Column, ...]
    preview: tuple[tuple[str, ...], ...]
    left_out: tuple[str, ...] = ()
    guesses: tuple[Guess, ...] = ()
    short_rows: int = 0
    passed: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def suggest_columns(self) -> tuple[str, ...]:
        """The columns to begin with: numbers that are neither constant nor ids nor, by their names,
        true labels."""
        return tuple(each.name for each in self._numbers() if each not in self._classes())

    def suggest_truth(self) -> str | None:
        """The column that has the true labels, by its name and its few values; else None.

        Of several the last one, texts before numbers.
        """
        found = sorted(self._classes(), key=lambda each: each.kind == "category")
        return found[-1].name if found else None

    def _numbers(self) -> list[Column]:
        return [column for column in self.columns if column.kind == "number"]

    def _classes(self) -> list[Column]:
        found = [column for column in self.columns if self._is_class(column)]
        # Something is to be left to cluster on.
        return found if any(each not in found for each in self._numbers()) else []

    def _is_class(self, column: Column) -> bool:
        if column.kind not in ("number", "category") or column.levels is None:
            return False
        # Of a table of x and y, y is a place.
        if column.name.casefold() == "y" and "x" in map(str.casefold, self.names):
            return False
        few = 2 <= column.levels <= min(_MOST_CLASSES, max(2, self.rows // 5))
        return few and bool(_CLASS_NAME.fullmatch(column.name))

    def notes(self) -> tuple[Message, ...]:
        """What a person should see to before clustering; at most a handful."""
        numbers = self._numbers()
        notes = [_strange(column) for column in numbers if column.unreadable or column.infinite]
        if self.left_out:
            notes.insert(
                0,
                Message(
                    "{names} hold lists, structures or bytes and are not read.",
                    names=", ".join(repr(name[:60]) for name in self.left_out[:5]),
                ),
            )
        if self.short_rows:
            notes.insert(
                0,
                Message(
                    "{count} of {rows} rows have fewer fields than there are columns; what they "
                    "lack counts as missing.",
                    count=f"{self.short_rows:,}",
                    rows=f"{self.rows:,}",
                ),
            )
        if self.passed:
            notes.insert(
                0,
                Message(
                    "{count} lines above the table are left out, such as {line}.",
                    count=f"{len(self.passed):,}",
                    line=repr(self.passed[0][:60]),
                ),
            )
        if not numbers:
            template = (
                "No column is of numbers. Is the delimiter right, and the decimal mark?"
                if self.format == "text"
                else "No column is of numbers."
            )
            notes.append(Message(template))
        return tuple(notes[:MAX_NOTES])


def look(
    path: FilePath,
    reading: Reading | None = None,
    stop: threading.Event | None = None,
    max_bytes: int = MAX_BYTES,
    max_rows: int = MAX_ROWS,
) -> Table:
    """Goes through the whole file once. O(cells) time, bounded memory.

    Raises:
        BadRequest: too large, too many rows or columns, no rows, damaged, or not a table.
        Unavailable: Parquet, and pyarrow is not installed.
        Stopped: ``stop`` was set.
    """
    size = path.stat().st_size
    if size > max_bytes:
        raise BadRequest(
            "The file has {size}; at most {limit} are read. Keep fewer rows or columns, or send "
            "it as Parquet, which is smaller.",
            size=format_bytes(size),
            limit=format_bytes(max_bytes),
        )
    format = _format_of(path)
    reading = reading or Reading()
    layout, left_out, guesses, nameless, passed = None, (), (), frozenset(), ()
    if format == "text":
        found = find_dialect(path, reading, stop)
        layout, guesses, nameless = found.layout, found.guesses, found.nameless
        passed = found.passed
        names = layout.names
    elif format == "parquet":
        with open_parquet(path) as file:
            flat = flat_names(file)
            names = unique(flat)
            left_out = tuple(name for name in file.schema_arrow.names if name not in flat)
            if not names:
                raise BadRequest("The Parquet file has no column of numbers, texts or times.")
            _check_rows(file.metadata.num_rows, max_rows)
    else:
        array = open_npy(path)
        names = unique([""] * array.shape[1])
        _check_rows(len(array), max_rows)
    rows, preview = 0, ()
    widths: Counter[int] = Counter()
    tallies = [
        Tally(
            name,
            layout.marks if layout else PLAIN,
            said=reading.decimal is not None or reading.thousands is not None,
            named=_how_named(name, layout, nameless),
            is_first=place == 0,
        )
        for place, name in enumerate(names)
    ]
    for chunk in _chunks(path, format, layout, names, stop, widths=widths):
        if not rows:
            preview = tuple(
                tuple(map(_cell, row)) for row in chunk.head(PREVIEW_ROWS).itertuples(index=False)
            )
        rows += len(chunk)
        _check_rows(rows, max_rows)
        for tally in tallies:
            tally.add(chunk[tally.name])
    if not rows:
        raise BadRequest("The file has no rows. Send a table with at least one.")
    columns = tuple(tally.column() for tally in tallies)
    used = max((at + 1 for at, each in enumerate(columns) if each.kind != "empty"), default=0)
    short = sum(count for width, count in widths.items() if width < used)
    return Table(path, format, layout, rows, columns, preview, left_out, guesses, short, passed)


def _how_named(name: str, layout: CsvDialect | None, nameless: frozenset[str]) -> Named:
    if layout is not None and not layout.header:
        return "no header"
    return "no" if name in nameless else "yes"


def frames(
    table: Table,
    names: Sequence[str],
    verbatim: bool = False,
    stop: threading.Event | None = None,
) -> Iterator[pd.DataFrame]:
    """The table's rows in chunks, for a second time.

    Args:
        names: columns, of those that there are.
        verbatim: cells of a text file without a value stay as they are written; else they are
            None. All others are texts, as they are written.

    Raises: as :func:`look`.
    """
    return _chunks(table.path, table.format, table.layout, names, stop, verbatim)


def _chunks(
    path: Path,
    format: Format,
    layout: CsvDialect | None,
    names: Sequence[str],
    stop: threading.Event | None,
    verbatim: bool = False,
    widths: Counter[int] | None = None,
) -> Iterator[pd.DataFrame]:
    if layout is not None:
        return chunks(path, layout, names, verbatim, stop, widths)
    if format == "parquet":
        return parquet_chunks(path, names, stop)
    return npy_chunks(path, names, stop)


def _format_of(path: Path) -> Format:
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(b"\x93NUMPY"):
        return "npy"
    if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise BadRequest(
            "This is an Excel workbook or another archive. Save the sheet as CSV and send that."
        )
    if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        raise BadRequest("This file is compressed. Unpack it and send what is inside.")
    return "text"


def _check_rows(rows: int, limit: int) -> None:
    if rows > limit:
        raise BadRequest(
            "The table has more than {limit} rows; no more are read. Send a part of them, drawn "
            "at random.",
            limit=f"{limit:,}",
        )


def _strange(column: Column) -> Message:
    if column.infinite:
        return Message(
            "{count} of {rows} values in {name} are infinite; they count as missing.",
            count=f"{column.infinite:,}",
            rows=f"{column.rows:,}",
            name=repr(column.name[:60]),
        )
    if form_of(column.example) is not None:
        return Message(
            "{count} of {rows} values in {name} are written with other marks than most, such as "
            "{example}; they count as missing. Choose the decimal and the thousands mark.",
            count=f"{column.unreadable:,}",
            rows=f"{column.rows:,}",
            name=repr(column.name[:60]),
            example=repr(column.example),
        )
    return Message(
        "{count} of {rows} values in {name} are no numbers, such as {example}; they count as "
        "missing.",
        count=f"{column.unreadable:,}",
        rows=f"{column.rows:,}",
        name=repr(column.name[:60]),
        example=repr(column.example),
    )


def _cell(value: object) -> str:
    import pandas as pd

    return "" if pd.isna(value) else str(value)[:200]
