"""What the columns of a table are, found chunk by chunk in memory that does not grow with it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipelines.clustering.data.numerals import (
    Marks,
    beside_number,
    form_of,
    in_latin,
    number_of,
    numbers_from,
)
from pipelines.core.messages import Message

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["number", "category", "text", "constant", "id", "empty"]
Named = Literal["yes", "no", "no header"]
PLAIN = Marks()

TRACKED = 1000  # distinct texts that are remembered
FEW = 100  # distinct numbers that are
_NUMBERS = 0.95  # share of readable cells from which a column is of numbers
_FEWEST = 20  # rows from which "all are different" says something
_ID_NAMES = ("id", "index", "idx", "key", "uuid", "guid", "row", "nr", "no", "no.", "编号", "序号")
_INDEX_NAMES = re.compile(
    r"unnamed: ?\d++|(?:__index_)?level_\d++(?:__)?|row[ _.]?names?|row|\.\.\.1", re.I
)
_FEWEST_BESIDE = 3  # numbers of a column whose first cell may be another thing
_FEWEST_COUNTED = 5  # rows from which 1, 2, 3 … below no header says something
_EXACT = 2**53  # whole numbers beyond are not all there in float64
_LOOKED_AT = 1000  # large numbers of a chunk that are looked at
FIRSTS = 3  # cells that are shown as they are written and as they are read


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: unique in its table.
        kind: number; category (texts that repeat); text (others, and dates); constant (one value);
            id (numbers that count the rows, or texts that are all different); empty.
        rows: cells in all.
        missing: cells without a value.
        infinite: cells with ±∞, which count as missing.
        unreadable: cells of a column of numbers that are none, which count as missing.
        example: one of the unreadable, or of the texts; "" if there is none.
        levels: different texts, None beyond 1,000; of a column of numbers the different numbers,
            None beyond 100.
        least, most: of the finite numbers; None if there are none.
        doubts: what a person should look at before they trust how it is read.
        firsts: the first values as they are written in a text, and as numbers.
    """

    name: str
    kind: Kind
    rows: int
    missing: int
    infinite: int
    unreadable: int
    example: str
    levels: int | None
    least: float | None
    most: float | None
    doubts: tuple[Message, ...] = ()
    firsts: tuple[tuple[str, float | None], ...] = ()


def numbers_of(series: pd.Series, marks: Marks = PLAIN) -> tuple[np.ndarray, np.ndarray]:
    """(n,) float64 with NaN for what is no number, and (n,) bool: missing, not merely unreadable.

    Infinities stay. Truth values and dates are no numbers. Texts are read by ``marks``.
    """
    import pandas as pd

    missing = series.isna().to_numpy()
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):  # each text is read once, however often it is there
        levels = numbers_of(pd.Series(dtype.categories), marks)[0]
        return np.append(levels, np.nan)[series.cat.codes.to_numpy()], missing
    if pd.api.types.is_bool_dtype(dtype) or getattr(dtype, "kind", "O") in "mMc":
        return np.full(len(series), np.nan), missing
    if pd.api.types.is_numeric_dtype(dtype):
        return series.to_numpy(dtype=np.float64, na_value=np.nan), missing
    numbers = np.full(len(series), np.nan)
    cells = series[~missing].tolist()
    if all(isinstance(cell, str) for cell in cells):
        numbers[~missing] = numbers_from(cells, marks) if cells else []
    else:
        numbers[~missing] = [_number(cell, marks) for cell in cells]
    return numbers, missing


def _number(cell: object, marks: Marks) -> float:
    if isinstance(cell, str):
        return number_of(cell, marks)
    if isinstance(cell, bool):
        return math.nan
    try:
        return float(cell)  # decimal numbers of Parquet
    except (TypeError, ValueError, OverflowError):
        return math.nan


@dataclass(slots=True)
class Tally:
    """Counts of one column, to which chunks are added."""

    name: str
    marks: Marks = PLAIN
    said: bool = False  # by a person, which marks there are
    named: Named = "yes"
    is_first: bool = False
    rows: int = 0
    missing: int = 0
    infinite: int = 0
    unreadable: int = 0
    least: float = np.inf
    most: float = -np.inf
    counting: bool = True
    last: float | None = None
    whole: bool = True
    all_different: bool = True
    spaced: bool = False
    overflown: bool = False
    texts: set[str] = field(default_factory=set)
    many: bool = False
    numbers: set[float] = field(default_factory=set)
    example: str = ""
    rising: bool = True
    begins: float | None = None
    begins_strange: bool = False
    certain: bool = False
    either: str = ""
    padded: str = ""
    rounded: str = ""
    firsts: list[tuple[str, float | None]] = field(default_factory=list)

    def add(self, series: pd.Series) -> None:
        """Counts a chunk's cells. O(cells)."""
        numbers, missing = numbers_of(series, self.marks)
        readable = ~np.isnan(numbers)
        if self.rows == 0:
            self.all_different = bool(series.is_unique)
        self.rows += len(series)
        self.missing += int(missing.sum())
        finite = numbers[np.isfinite(numbers)]
        self.infinite += int(readable.sum()) - len(finite)
        if len(finite):
            self.least = min(self.least, float(finite.min()))
            self.most = max(self.most, float(finite.max()))
            self._count(numbers, len(finite) == len(series))
            self._track(finite)
        self._doubt(series, numbers, missing)
        strange = ~readable & ~missing
        if strange.any():
            self.begins_strange = self.begins_strange or (
                self.rows == len(series) and bool(strange[0])
            )
            self.unreadable += int(strange.sum())
            self._read(series[strange])

    def _count(self, numbers: np.ndarray, complete: bool) -> None:
        self.whole = self.whole and complete and bool((numbers == np.rint(numbers)).all())
        before = numbers[:1] - 1 if self.last is None else [self.last]
        self.counting = (
            self.counting and self.whole and bool((np.diff(numbers, prepend=before) == 1).all())
        )
        if self.begins is None:
            self.begins = float(numbers[0])
        self.rising = (
            self.rising and self.whole and bool((np.diff(numbers, prepend=before) > 0).all())
        )
        self.last = float(numbers[-1])

    def _track(self, finite: np.ndarray) -> None:
        # The first ones tell of most columns that there are many.
        self.many = self.many or len(np.unique(finite[:TRACKED])) > FEW
        if not self.many:
            self.numbers.update(np.unique(finite).tolist())
            self.many = len(self.numbers) > FEW
        if self.many:
            self.numbers.clear()

    def _doubt(self, series: pd.Series, numbers: np.ndarray, missing: np.ndarray) -> None:
        """Looks for what may be read in another way."""
        import pandas as pd

        large = np.flatnonzero(np.isfinite(numbers) & (np.abs(numbers) >= _EXACT))[:_LOOKED_AT]
        if large.size and not self.rounded:
            cells = series.iloc[large].tolist()
            inexact = (
                str(cell)[:40]
                for cell, number in zip(cells, numbers[large].tolist(), strict=True)
                if _is_rounded(cell, number)
            )
            self.rounded = next(inexact, "")
        if series.dtype != object or isinstance(series.dtype, pd.CategoricalDtype):
            return
        cells = [cell for cell in series[~missing].tolist() if isinstance(cell, str)]
        if len(self.firsts) < FIRSTS:
            read = numbers[~missing][:FIRSTS].tolist()
            self.firsts += [
                (cell[:40], number if math.isfinite(number) else None)
                for cell, number in zip(cells, read, strict=False)
            ]
            del self.firsts[FIRSTS:]
        if not self.padded:
            padded = (
                cell for cell in cells if cell[:1] == "0" and len(cell) > 1 and cell.isdecimal()
            )
            self.padded = next(padded, "")[:40]
        for cell in cells if not self.certain else ():
            if (form := form_of(cell)) is None:
                continue
            if form.decimal or form.thousands:
                self.certain = True
                break
            self.either = self.either or ((form.either or "") and cell.strip()[:40])

    def _read(self, strange: pd.Series) -> None:
        different = [str(each) for each in strange.unique()]
        self.example = self.example or different[0][:60]
        self.spaced = self.spaced or any(" " in text.strip() for text in different[:TRACKED])
        if not self.overflown:
            self.texts.update(text[:200] for text in different[: TRACKED + 1])
            self.overflown = len(self.texts) > TRACKED
            if self.overflown:
                self.texts.clear()

    def column(self) -> Column:
        """What the cells so far make of the column."""
        has_numbers = self.least <= self.most
        kind = self._kind()
        levels = None
        if kind == "number" and not self.many:
            levels = len(self.numbers)
        elif kind not in ("number", "empty") and self.texts:
            levels = len(self.texts)
        return Column(
            name=self.name,
            kind=kind,
            rows=self.rows,
            missing=self.missing,
            infinite=self.infinite,
            unreadable=self.unreadable if kind == "number" else 0,
            example=self.example,
            levels=levels,
            least=self.least if has_numbers else None,
            most=self.most if has_numbers else None,
            doubts=self._doubts(kind),
            firsts=tuple(self.firsts),
        )

    def _doubts(self, kind: Kind) -> tuple[Message, ...]:
        if kind == "empty":
            return ()
        if kind in ("category", "text") or self.least > self.most:
            if beside := beside_number(self.example):
                return (
                    Message(
                        "{example} has {signs} beside its number, so the column is not read as "
                        "numbers. If it is a measure, leave only the number in each cell, with - "
                        "before it where it is negative.",
                        example=repr(self.example),
                        signs=repr(beside),
                    ),
                )
            if form_of(self.example) is None:
                return self._doubt_mixture()
            return (
                Message(
                    "{example} is no number by the marks of this file. Choose the decimal and the "
                    "thousands mark if it is one.",
                    example=repr(self.example),
                ),
            )
        doubts = []
        if self.either and not self.certain and not self.said:
            doubts.append(_two_ways(self.either, self.marks))
        if self.padded:
            doubts.append(
                Message(
                    "Numbers begin with 0, such as {example}. If they are codes, take the column "
                    "for categories.",
                    example=repr(self.padded),
                )
            )
        if self.rounded:
            doubts.append(
                Message(
                    "Numbers with more than 15 digits, such as {example}, are rounded. If they are "
                    "codes, take the column for categories.",
                    example=self.rounded,
                )
            )
        if kind == "id":
            template = (
                "It has no name and another whole number in each row, as an index does: it is not "
                "among the suggested columns. Choose it if it is a measure."
                if self._is_index() and not self._is_counting()
                else "It numbers the rows: it is not among the suggested columns. Choose it if it "
                "is a measure."
            )
            doubts.append(Message(template))
        return tuple(doubts)

    def _doubt_mixture(self) -> tuple[Message, ...]:
        """That most of a column of texts are numbers."""
        present = self.rows - self.missing - self.infinite
        readable = present - self.unreadable
        if self.least > self.most or 2 * readable < present:
            return ()
        return (
            Message(
                "{count} of {rows} values are numbers and others, such as {example}, are not, so "
                "the column is not read as numbers. If it is a measure, leave these cells empty.",
                count=f"{readable:,}",
                rows=f"{present:,}",
                example=repr(self.example),
            ),
        )

    def _has_unit(self) -> bool:
        """Whether all but the first cell are numbers: it may be a unit below the name."""
        return self.begins_strange and self.unreadable == 1

    def _is_counting(self) -> bool:
        return self.counting and self.rows >= _FEWEST and not self.missing

    def _is_index(self) -> bool:
        """Whether it is the first column and numbers rows as the index of a data frame does, also
        where these were shuffled."""
        if not (self.is_first and self.whole and self.rows > 1 and self.least >= 0):
            return False
        if not (self.rising or self.all_different):
            return False
        if self.missing or self.infinite or self.unreadable:
            return False
        if self.named == "no header":
            return (
                self.rising
                and self.counting
                and self.begins in (0, 1)
                and self.rows >= _FEWEST_COUNTED
            )
        return self.named == "no" or bool(_INDEX_NAMES.fullmatch(self.name))

    def _kind(self) -> Kind:
        present = self.rows - self.missing - self.infinite
        if not present:
            return "empty"
        readable = present - self.unreadable
        if readable >= _NUMBERS * present or (self._has_unit() and readable >= _FEWEST_BESIDE):
            if self.least == self.most and not self.unreadable:
                return "constant"
            by_name = _is_id_name(self.name) and self.whole and self.all_different
            is_id = self._is_counting() or self._is_index() or (by_name and self.rows > 1)
            return "id" if is_id else "number"
        if not self.overflown and len(self.texts) == 1 and self.unreadable == present:
            return "constant"
        if self.all_different and self.rows >= _FEWEST and not self.spaced:
            return "id"
        repeat = len(self.texts) < present and len(self.texts) <= max(_FEWEST, present / 2)
        return "category" if repeat and not self.overflown else "text"


def _is_id_name(name: str) -> bool:
    lower = name.lower()
    return lower in _ID_NAMES or lower.endswith(
        tuple(f"{mark}{word}" for word in _ID_NAMES for mark in " _")
    )


def _is_rounded(cell: object, number: float) -> bool:
    """Whether a large number is not exactly what its cell has."""
    if isinstance(cell, str):
        digits = "".join(each for each in cell if each.isdecimal())
        if len(digits) > 400 or "e" in cell.lower():  # nobody takes 1e300 for exact
            return False
        return int(digits or 0) != int(abs(number)) and cell.strip().lstrip("+-−").isdecimal()
    return isinstance(cell, int) and int(number) != cell


def _two_ways(cell: str, marks: Marks) -> Message:
    """That a number such as ``1.250`` may be another one."""
    mark = next(each for each in in_latin(cell) if each in ".,")
    fraction = mark == marks.decimal
    template = (
        "{written} is read as {value}; if {mark} parts thousands, it is {other}."
        if fraction
        else "{written} is read as {value}; if {mark} is the decimal mark, it is {other}."
    )
    swapped = Marks("," if mark == "." else ".", mark) if fraction else Marks(mark)
    return Message(
        template,
        written=repr(cell),
        value=f"{number_of(cell, marks):.15g}",
        mark=repr(mark),
        other=f"{number_of(cell, swapped):.15g}",
    )
