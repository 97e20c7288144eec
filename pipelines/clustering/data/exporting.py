"""What people take home: labels beside their own columns, centres, parameters.

A cell that a spreadsheet would run as a formula (CSV injection, CWE-1236) is defused by an
apostrophe before it, which spreadsheets show as text; plain numbers such as −3.5 stay numbers.
So is what would be a cell of its own where the file is split at semicolons, as Excel does in half
of Europe, at tabs, or at the ends of lines, for all of which quotation marks are no hindrance once
they do not begin a cell.
"""

from __future__ import annotations

import csv
import json
import math
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from pipelines.clustering.data.csv_dialect import unique
from pipelines.clustering.data.sample_data import Dataset
from pipelines.clustering.data.tables import Table, frames
from pipelines.clustering.wire import Array, FilePath, Labels, Rows
from pipelines.core.errors import BadRequest, Stopped
from pipelines.core.sizes import format_bytes

# Full-width and small signs too: Excel reads them as the common ones.
_SIGNS = frozenset("=+-@＝＋－＠﹦﹢﹣﹫")
_BREAKS = ";\t\v\f\r\n\x1c-\x1e\x85\u2028\u2029"
_ENDS = re.compile(f"([{_BREAKS}])")  # another cell may begin after it
_OR_COMMAS = re.compile(f"([,{_BREAKS}])")  # where commas do not part the cells, none is in quotes
_UNSEEN = ' "\u00a0\u3000\u202f\ufeff\u200b\u200c\u200d\u200e\u200f\u2060'  # or left out by some
_NUMBER = re.compile(
    r"[+-]?(?:"
    r"(?:\d{1,3}(?:[.,'’]\d{3})+(?:[.,]\d*)?|(?:\d++(?:[.,]\d*+)?+|[.,]\d++)(?:e[+-]?+\d++)?+) ?%?"
    r"|inf|infinity)",
    re.IGNORECASE,
)
_BLOCK = 50_000
MOST_WRITTEN = 4_000_000_000
"""Characters of a CSV file. A Parquet file of a few kilobytes may stand for more than any disk
holds: it has a text once, however often it is repeated."""
MOST_NUMBERS = 250_000
"""Of an array in a JSON file: 5 MB of text."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How columns and decimals are told apart."""

    delimiter: str = ","
    decimal: str = "."

    def numbers(self, cells: list[Any]) -> list[Any]:
        """The cells, with this decimal mark in numbers that have one."""
        if self.decimal == ".":
            return cells
        return [str(each).replace(".", self.decimal) if isinstance(each, float) else each
                for each in cells]  # fmt: skip


PLAIN = Dialect()


def dialect_of(source: Table | Dataset) -> Dialect:
    """What the spreadsheet reads from which a table comes; points have the plain one."""
    layout = source.layout if isinstance(source, Table) else None
    if layout is None or (layout.delimiter != ";" and layout.decimal != ","):
        return PLAIN
    return Dialect(";", layout.decimal)


def guard(cell: object, dialect: Dialect = PLAIN) -> str:
    """The cell as text that no spreadsheet takes for a formula, also one of another dialect."""
    text = str(cell)
    if _SIGNS.isdisjoint(text) or _NUMBER.fullmatch(text.strip()):
        return text
    first, *others = (_ENDS if dialect.delimiter == "," else _OR_COMMAS).split(text)
    # To those who do not split, the first part begins a whole that is no number.
    return "".join((_defuse(first, alone=not others), *map(_defuse, others)))


def _defuse(part: str, alone: bool = True) -> str:
    seen = part.lstrip(_UNSEEN)
    if seen[:1] in _SIGNS and not (alone and _NUMBER.fullmatch(seen.rstrip(_UNSEEN))):
        return f"{part[: len(part) - len(seen)]}'{seen}"
    return part


def labels_csv(
    path: FilePath,
    source: Table | Dataset,
    labels: Labels,
    rows: Rows | None = None,
    further: dict[str, Array] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Writes every row of ``source`` as it was, and its cluster in a further column.

    UTF-8 with commas, or of a table with semicolons or decimal commas with semicolons: so the
    spreadsheet that has written it reads it. Where there are other than ASCII letters or texts, a
    byte order mark comes first, without which Excel takes another encoding.

    Args:
        path: is written anew, in blocks.
        source: a table, whose cells come as they are written in its file; or points.
        labels: (n,) clusters 0 …; −1 is noise.
        rows: (n,) rows of ``source`` that the labels are of; the others have an empty cell. None:
            all of them, in order.
        further: columns more, (n,) each: numbers, such as the probability of the cluster, or
            texts as objects, which are written as they are.

    Raises:
        BadRequest: the file would be too large; it is not whole then.
        Stopped: ``stop`` was set; the file is not whole then.
    """
    names = source.names if isinstance(source, Table) else source.columns
    total = source.rows if isinstance(source, Table) else len(source.X)
    added = {"cluster": _spread(np.asarray(labels), rows, total)}
    dialect = dialect_of(source)
    added |= {
        name: [
            guard(cell, dialect) if isinstance(cell, str) else cell
            for cell in dialect.numbers(_spread(np.asarray(each), rows, total))
        ]
        for name, each in (further or {}).items()
    }
    every = unique([*names, *added])  # no name of theirs is written over
    texts = isinstance(source, Table) and any(each.kind != "number" for each in source.columns)
    texts = texts or any(np.asarray(each).dtype == object for each in (further or {}).values())
    marked = texts or not "".join(every).isascii()
    with path.open("w", encoding="utf-8-sig" if marked else "utf-8", newline="") as file:
        _write(file, every, _join(source, added, stop), dialect)


def centres_csv(
    path: Path,
    columns: Sequence[str],
    centres: np.ndarray,
    sizes: Sequence[int],
    dialect: Dialect = PLAIN,
) -> None:
    """Writes a row for each centre: its cluster, how many points it has, and its (d,) place."""
    names = unique(["cluster", "points", *columns])
    marked = not "".join(names).isascii()
    rows = (
        [label, int(size), *dialect.numbers(centre.tolist())]
        for label, (size, centre) in enumerate(zip(sizes, centres, strict=True))
    )
    with path.open("w", encoding="utf-8-sig" if marked else "utf-8", newline="") as file:
        _write(file, names, rows, dialect)


def numbers_csv(path: Path, data: Dataset, stop: threading.Event | None = None) -> None:
    """Writes the points, each number exactly, below one line with the columns' names.

    Raises:
        Stopped: ``stop`` was set; the file is not whole then.
    """
    names = unique([" ".join(name.split()) for name in data.columns])
    with path.open("w", encoding="utf-8", newline="") as file:
        _write(file, names, _join(data, {}, stop))


def texts_csv(path: Path, columns: dict[str, Sequence[Any]]) -> None:
    """Writes columns of equal length under their names."""
    with path.open("w", encoding="utf-8", newline="") as file:
        _write(file, columns, zip(*columns.values(), strict=True))


def with_arrays(model: dict[str, Any], arrays: dict[str, tuple[np.ndarray, str]]) -> dict[str, Any]:
    """``model`` and arrays as lists; of those that are too large, ``left_out`` says what they are.

    Covariances of 50 components in 1,000 columns would be a gigabyte of text, and as lists of
    Python's numbers five times that in memory.

    Args:
        arrays: by name, with the file of the same result that has the whole of it.
    """
    left_out = list(model.get("left_out", ()))
    told: dict[str, Any] = {}
    for name, (array, file) in arrays.items():
        if array.size <= MOST_NUMBERS:
            told[name] = array.tolist()
        else:
            left_out.append(
                {
                    "name": name,
                    "shape": list(array.shape),
                    "why": f"{array.size} numbers; at most {MOST_NUMBERS} are written here",
                    "file": file,
                }
            )
    return model | told | ({"left_out": left_out} if left_out else {})


def parameters_json(parameters: dict[str, Any]) -> str:
    """Parameters as JSON, each on a line of its own: arrays become lists, NaN and ±∞ null.

    Raises:
        TypeError: a value that JSON has no word for.
    """
    lines = (
        f"  {json.dumps(name, ensure_ascii=False)}: "
        + json.dumps(value, ensure_ascii=False, allow_nan=False)
        for name, value in _plain(parameters).items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _write(
    file: TextIO,
    names: Iterable[str],
    rows: Iterable[Sequence[Any]],
    dialect: Dialect = PLAIN,
) -> None:
    writer = csv.writer(_Limited(file), delimiter=dialect.delimiter)
    writer.writerow([guard(name, dialect) for name in names])
    writer.writerows(rows)


class _Limited:
    """A file that takes :data:`MOST_WRITTEN` characters."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.left = file, MOST_WRITTEN

    def write(self, text: str) -> None:
        self.left -= len(text)
        if self.left < 0:
            raise BadRequest(
                "The table would take more than {limit} as CSV; no more is written. Leave out the "
                "column with the longest texts, and cluster again.",
                limit=format_bytes(MOST_WRITTEN),
            )
        self.file.write(text)


def _spread(values: np.ndarray, rows: np.ndarray | None, total: int) -> list[Any]:
    """``values`` at their ``rows`` of ``total``, "" elsewhere."""
    if rows is None:
        rows = np.arange(total)
    if len(values) != len(rows):
        raise ValueError(f"{len(values)} labels for {len(rows)} rows")
    spread = np.full(total, "", dtype=object)
    spread[rows] = values.tolist()
    return spread.tolist()


def _join(
    source: Table | Dataset, added: dict[str, list[Any]], stop: threading.Event | None
) -> Iterator[tuple[Any, ...]]:
    end = 0
    for columns in _columns(source, stop):
        start, end = end, end + len(columns[0])
        yield from zip(*columns, *(each[start:end] for each in added.values()), strict=True)


def _columns(source: Table | Dataset, stop: threading.Event | None) -> Iterator[list[list[Any]]]:
    """The source's columns, block by block."""
    if isinstance(source, Table):
        dialect = dialect_of(source)
        for chunk in frames(source, source.names, verbatim=True, stop=stop):
            yield [_cells(chunk[name], dialect) for name in source.names]
        return
    for start in range(0, len(source.X), _BLOCK):
        if stop is not None and stop.is_set():
            raise Stopped
        yield source.X[start : start + _BLOCK].T.tolist()


def _cells(series: Any, dialect: Dialect) -> list[Any]:
    cells = series.astype(object).where(series.notna(), "").tolist()
    if series.dtype.kind in "iuf":
        return cells
    # Each text once: a long one of a small file may stand in every row.
    safe = {cell: guard(cell, dialect) for cell in cells if isinstance(cell, str)}
    return [safe[cell] if isinstance(cell, str) else cell for cell in cells]
