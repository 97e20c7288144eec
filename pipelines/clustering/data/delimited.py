"""Tables as text, read in chunks by what is known of their layout."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.clustering.data.csv_dialect import CsvDialect
from pipelines.clustering.data.csv_rows import not_of, read_rows, too_many_fields
from pipelines.clustering.data.numerals import MISSING
from pipelines.core.errors import Stopped

if TYPE_CHECKING:
    import pandas as pd

CHUNK_CELLS = 500_000  # about half a second's reading


def chunks(
    path: Path,
    layout: CsvDialect,
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
        with path.open(encoding=layout.encoding, errors=layout.errors, newline="") as file:
            lines = islice(file, layout.skip, None)
            rows = read_rows(lines, layout.delimiter, layout.skip + 1)
            while block := list(islice(rows, size)):
                if stop is not None and stop.is_set():
                    raise Stopped
                table = [_fit_width(row, count, line, layout) for line, row in block]
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


def _fit_width(row: list[str], count: int, line: int, layout: CsvDialect) -> list[str]:
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
