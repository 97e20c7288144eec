"""A table's column as true labels: what clusters are compared with, and never made from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pipelines.clustering.data.csv_dialect import unique
from pipelines.clustering.data.numerals import Marks
from pipelines.clustering.data.profile import PLAIN, Column, numbers_of
from pipelines.core.errors import BadRequest

if TYPE_CHECKING:
    import pandas as pd

MAX_CLASSES = 100
UNKNOWN = -1
_SHOWN = 200  # characters of a class's name


class TrueLabels:
    """Numbers the classes of one column, whose cells come chunk by chunk.

    A class is a text without the blanks around it, a truth value, or a number: "1", "01" and "1.0"
    are the same class in a column of numbers, and different ones in a column of texts. Missing and
    infinite values are of no class.

    Args:
        column: what is known of it.
        marks: of its numbers, where they are texts.
    """

    def __init__(self, column: Column, marks: Marks = PLAIN) -> None:
        self._name = column.name[:60]
        self._of_numbers = column.least is not None and column.kind in ("number", "constant", "id")
        self._marks = marks
        self._codes: dict[str, int] = {}

    def add(self, cells: pd.Series) -> np.ndarray:
        """(n,) int32: the class of each cell, numbered as they come; −1 is none. O(n).

        Raises:
            BadRequest: there are more than :data:`MAX_CLASSES` by now.
        """
        import pandas as pd

        places, different = pd.factorize(cells)
        codes = []
        for name in self._names(pd.Series(different)):
            codes.append(self._codes.setdefault(name, len(self._codes)) if name else UNKNOWN)
            if len(self._codes) > MAX_CLASSES:
                raise BadRequest(
                    "The column {name} has more than {limit} different values ({examples} …), too "
                    "many for true labels. Name a column of classes.",
                    name=repr(self._name),
                    limit=MAX_CLASSES,
                    examples=", ".join(repr(each[:20]) for each in list(self._codes)[:3]),
                )
        table = np.array([*codes, UNKNOWN], dtype=np.int32)
        return table[places]  # a missing one is −1, the last

    def settle(self, codes: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        """(n,) int32 classes 0 …, −1 for none, and their names: numbers by size, then texts by the
        alphabet. A class of no row is none.

        Args:
            codes: (n,) of :meth:`add`, of the rows that are kept.

        Raises:
            BadRequest: no row has a label.
        """
        present = set(np.unique(codes).tolist())
        names = sorted((name for name, code in self._codes.items() if code in present), key=_order)
        if not names:
            raise BadRequest(
                "No row of those that are clustered has a true label in {name}. Name another "
                "column, or none.",
                name=repr(self._name),
            )
        table = np.full(len(self._codes) + 1, UNKNOWN, dtype=np.int32)
        table[[self._codes[name] for name in names]] = np.arange(len(names))
        return table[codes], unique([name[:_SHOWN] for name in names])

    def _names(self, different: pd.Series) -> Iterator[str]:
        """The name of each of the different values; "" of none."""
        import pandas as pd

        if pd.api.types.is_bool_dtype(different.dtype):
            yield from map(str, different)
        elif pd.api.types.is_numeric_dtype(different.dtype):
            yield from map(_number, different)
        else:
            texts = [str(each).strip() for each in different]
            numbers = np.full(len(texts), np.nan)
            if self._of_numbers:
                numbers, _ = numbers_of(pd.Series(texts, dtype=object), self._marks)
            for text, number in zip(texts, numbers.tolist(), strict=True):
                yield text if math.isnan(number) else _number(number)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return ""
    return str(int(value)) if value == int(value) else repr(float(value))


def _order(name: str) -> tuple[bool, float, str]:
    try:
        value = float(name)
    except ValueError:
        value = math.nan
    return (False, value, name) if math.isfinite(value) else (True, 0.0, name)
