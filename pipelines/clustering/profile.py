"""What the columns of a table are, found chunk by chunk in memory that does not grow with it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["number", "category", "text", "constant", "id", "empty"]

TRACKED = 1000  # distinct texts that are remembered
FEW = 100  # distinct numbers that are
_NUMBERS = 0.95  # share of readable cells from which a column is of numbers
_FEWEST = 20  # rows from which "all are different" says something
_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
_ID_NAME = re.compile(r"(.*[ _])?(id|index|idx|key|uuid|guid|row|nr|no\.?|编号|序号)", re.I)


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


def numbers_of(
    series: pd.Series, decimal: str = ".", thousands: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) float64 with NaN for what is no number, and (n,) bool: missing, not merely unreadable.

    Infinities stay. Truth values and dates are no numbers.
    """
    import pandas as pd

    missing = series.isna().to_numpy()
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):  # each text is read once, however often it is there
        levels = numbers_of(pd.Series(dtype.categories), decimal, thousands)[0]
        return np.append(levels, np.nan)[series.cat.codes.to_numpy()], missing
    if pd.api.types.is_bool_dtype(dtype) or getattr(dtype, "kind", "O") in "mMc":
        return np.full(len(series), np.nan), missing
    if pd.api.types.is_numeric_dtype(dtype):
        return series.to_numpy(dtype=np.float64, na_value=np.nan), missing
    cells = [_plain(cell, decimal, thousands) for cell in series.astype(object)]
    cells = pd.Series(cells, dtype=object).where(~missing, None)
    numbers = pd.to_numeric(cells, errors="coerce")
    return numbers.to_numpy(dtype=np.float64, na_value=np.nan), missing


def _plain(cell: object, decimal: str, thousands: str | None) -> object:
    """A cell as ``pandas.to_numeric`` reads it; it takes truth values for numbers, we do not."""
    if isinstance(cell, str):
        if thousands and _GROUPED.fullmatch(cell.strip()):
            return cell.replace(thousands, "")
        return cell.replace(",", ".") if decimal == "," else cell
    return str(cell) if isinstance(cell, bool) else cell


@dataclass(slots=True)
class Tally:
    """Counts of one column, to which chunks are added."""

    name: str
    decimal: str = "."
    thousands: str | None = None
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

    def add(self, series: pd.Series) -> None:
        """Counts a chunk's cells. O(cells)."""
        numbers, missing = numbers_of(series, self.decimal, self.thousands)
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
        strange = ~readable & ~missing
        if strange.any():
            self.unreadable += int(strange.sum())
            self._read(series[strange])

    def _count(self, numbers: np.ndarray, complete: bool) -> None:
        self.whole = self.whole and complete and bool((numbers == np.rint(numbers)).all())
        before = numbers[:1] - 1 if self.last is None else [self.last]
        self.counting = (
            self.counting and self.whole and bool((np.diff(numbers, prepend=before) == 1).all())
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
        )

    def _kind(self) -> Kind:
        present = self.rows - self.missing - self.infinite
        if not present:
            return "empty"
        readable = present - self.unreadable
        if readable >= _NUMBERS * present:
            if self.least == self.most and not self.unreadable:
                return "constant"
            by_name = bool(_ID_NAME.fullmatch(self.name)) and self.whole and self.all_different
            counts = self.counting and self.rows >= _FEWEST and not self.missing
            return "id" if counts or (by_name and self.rows > 1) else "number"
        if not self.overflown and len(self.texts) == 1 and self.unreadable == present:
            return "constant"
        if self.all_different and self.rows >= _FEWEST and not self.spaced:
            return "id"
        repeat = len(self.texts) < present and len(self.texts) <= max(_FEWEST, present / 2)
        return "category" if repeat and not self.overflown else "text"
