"""The rows of tables as text: one reader, for the first rows and for all of them.

Rows are those of Python's :mod:`csv`: fields may stand in quotation marks, and a quotation mark
within is doubled. Cells stay as they are written. Memory does not grow with the file.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator

from pipelines.core.errors import BadRequest

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
