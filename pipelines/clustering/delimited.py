"""Tables as text: one reader, for the first rows and for all of them.

Rows are those of Python's :mod:`csv`: fields may stand in quotation marks, and a quotation mark
within is doubled. Cells stay as they are written. Memory does not grow with the file.
"""

from __future__ import annotations

import csv
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.clustering.numerals import MISSING
from pipelines.errors import BadRequest, Stopped

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.clustering.layout import Layout

CHUNK_CELLS = 500_000  # about half a second's reading
_LINE = frozenset("-+=: ")  # characters of a ruled line
_COUNT = re.compile(r"\(\d++ rows?\)")


class _Lines:
    """Lines of a text, with the knowledge whether they are at their end."""

    def __init__(self, lines: Iterable[str], spaced: bool) -> None:
        self._lines, self._spaced, self.ended = iter(lines), spaced, False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            line = next(self._lines)
        except StopIteration:
            self.ended = True
            raise
        return line.replace("\t", " ").strip(" \r\n") + "\n" if self._spaced else line


def read_rows(
    lines: Iterable[str], delimiter: str, first_line: int = 1, whole: bool = True
) -> Iterator[tuple[int, list[str]]]:
    """The rows of a text, each with the line that it ends in; blank ones are left out.

    Of tables that databases draw with vertical bars, ruled lines and the count of rows are left out
    too.

    Args:
        lines: with their ends.
        delimiter: one character; a space stands for any white space.
        first_line: number of the first of ``lines`` in its file.
        whole: whether the text ends where the lines do.

    Raises:
        BadRequest: a quotation mark is never closed, or a field is longer than 131,072 characters.
    """
    spaced = delimiter == " "
    source = _Lines(lines, spaced)
    reader = csv.reader(source, delimiter=delimiter, skipinitialspace=spaced)
    begun = first_line
    try:
        for row in reader:
            if source.ended and whole:
                raise BadRequest(
                    "A quotation mark in line {line} is never closed.", line=f"{begun:,}"
                )
            line = first_line + reader.line_num - 1
            begun = line + 1
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            if delimiter == "|":
                row = [cell.strip() for cell in row]
                if _LINE.issuperset("".join(row)) or (len(row) == 1 and _COUNT.fullmatch(row[0])):
                    continue
            yield line, row
    except csv.Error:
        raise BadRequest(
            "A field that begins in line {line} has more than {limit} characters. Is a quotation "
            "mark there never closed, or the delimiter another one?",
            line=f"{begun:,}",
            limit=f"{csv.field_size_limit():,}",
        ) from None


def chunks(
    path: Path,
    layout: Layout,
    names: Sequence[str],
    verbatim: bool = False,
    stop: threading.Event | None = None,
    widths: Counter[int] | None = None,
) -> Iterator[pd.DataFrame]:
    """The rows of the columns ``names`` as texts, at most about 500,000 cells at once.

    A row with fewer fields than there are columns has no values in the last ones.

    Args:
        verbatim: cells without a value stay as they are written; else they are None.
        widths: is told how many rows have how many fields.

    Raises:
        BadRequest: a line has too many fields, a quotation mark is never closed, or a byte is none
            of the encoding; the sentence says where.
        Stopped: ``stop`` was set.
    """
    import pandas as pd

    count = len(layout.names)
    places = [layout.names.index(name) for name in names]
    size = max(1, CHUNK_CELLS // count)
    try:
        with path.open(encoding=layout.encoding, newline="") as file:
            lines = islice(file, layout.skip, None)
            rows = read_rows(lines, layout.delimiter, layout.skip + 1)
            while block := list(islice(rows, size)):
                if stop is not None and stop.is_set():
                    raise Stopped
                table = [_fitting(row, count, line, layout) for line, row in block]
                if widths is not None:
                    widths.update(min(len(row), count) for _, row in block)
                columns = list(zip(*table, strict=True))
                yield pd.DataFrame(
                    {
                        name: pd.Series(_cells(columns[place], verbatim), dtype=object)
                        for name, place in zip(names, places, strict=True)
                    }
                )
    except UnicodeError as error:
        raise not_of(layout.encoding, error) from None


def _fitting(row: list[str], count: int, line: int, layout: Layout) -> list[str]:
    if len(row) == count:
        return row
    if len(row) > count:
        if any(cell.strip() for cell in row[count:]):
            raise too_many_fields(line, len(row), count, layout.delimiter)
        return row[:count]
    return row + [""] * (count - len(row))


def _cells(column: Sequence[str], verbatim: bool) -> list[str | None]:
    if verbatim:
        return list(column)
    return [None if cell in MISSING or cell.strip() in MISSING else cell for cell in column]


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


def not_of(encoding: str, error: UnicodeError) -> BadRequest:
    at = getattr(error, "start", None)
    byte = error.object[at] if isinstance(error, UnicodeDecodeError) else None
    if byte is None:
        return BadRequest(
            "The file is not in the encoding {encoding}. Choose another encoding.",
            encoding=encoding,
        )
    return BadRequest(
        "The file is not in the encoding {encoding}: it has the byte {byte} (hexadecimal) where "
        "that cannot be. Choose another encoding.",
        encoding=encoding,
        byte=f"{byte:02X}",
    )
