"""Numbers as people and programs of many countries write them: ``1,234.5``, ``1.234,5``,
``1 234,5``, ``1'234.50``, ``12,34,567``, ``١٢٣٫٥``, ``１２３．５``.

``1.250`` alone may be one and a quarter or twelve hundred and fifty. So it is first looked at what
all the numbers say of their marks, and then each is read strictly by these marks: what does not
follow them is no number, rather than another one. All expressions are linear in the text.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Decimal = Literal[".", ","]
Thousands = Literal[",", ".", " ", "'"]

MISSING = frozenset(
    (
        *("", "?", "-", "–", "—", ".", "\\N", "NA", "N/A", "n/a", "<NA>", "#NA", "#N/A"),
        *("NaN", "nan", "NAN", "-nan", "-NaN", "NULL", "Null", "null", "None", "#N/A N/A"),
        *("1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN", "NaT", "(null)"),
        *("--", "---", "––", "..", "...", "…", ":", "n.a.", "N.A.", "n.d.", "n. a."),
        *("#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NAME?", "#NULL!", "#NV", "#WERT!", "#BEZUG!"),
    )
)
"""Cells without a value, as pandas, R, SQL, SAS, statistical offices and spreadsheets write them,
failed formulas among them."""

# Possessive: a long run of digits is gone through once.
# The exponent of Fortran, D, with its sign only: "12D5" may be a name.
_NUMBER = re.compile(
    r"([+\-−–]?+)([0-9.,'\u2019 \u00a0\u2009\u202f]++)"
    r"((?:(?:[eE][+\-−–]?+|[dD][+\-−–])[0-9]++)?+)"
)
_FOR_FLOAT = str.maketrans("−–dD", "--ee")
_NOT_PLAIN = re.compile(r"[^0-9.eE+\-\n]")
_INFINITE = {"inf": math.inf, "infinity": math.inf, "∞": math.inf}
_BLANKS = {"\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u2019": "'"}
_SAME = str.maketrans(_BLANKS)
_MARKS = ".,' "
# Marks and signs of other scripts, each of one meaning only.
_SCRIPTS = {"٫": ".", "٬": ",", "．": ".", "，": ",", "＋": "+", "－": "-", "\u200e": "",
            "\u200f": "", "\u061c": ""}  # fmt: skip
_BESIDE = frozenset("%‰°()<>~≈≤≥±+-−＋－（）％ \u00a0\u202f")
_CODE = re.compile(r"[(\-−]?+(?:[A-Z]{3}|Rs\.?|[Kk]r\.?|[A-Z]{1,2}\$|zł|Fr\.?)\s?+[\-−]?+")
_UNIT = re.compile(r"[^\W\d_]{1,4}[²³.]?+\)?+")
# Units that stand at their number without a blank; of others, such as m in "3m", it may be a name.
_CLOSE_UNIT = re.compile(
    r"(?:[kcmµun]?m[²³]?|[kmµ]?g|[mµn]s|[cmµ]?l|mL|[kMGT]i?B|[kMG]?Hz|[kM]?W|[kM]?Wh|mAh|[mk]?V|"
    r"hPa|kPa|°[CF]|px|pt|dpi|fps|km/h|mph|min|lbs?|oz|ft|kcal|bn|mn|[kKM]|[万亿億萬元円원千百])"
)
_MOST_BESIDE = 6  # characters beside a number


@dataclass(frozen=True, slots=True)
class Marks:
    """How numbers are written.

    Attributes:
        decimal: between whole part and fraction.
        thousands: between groups of digits; None: digits are not grouped.
    """

    decimal: Decimal = "."
    thousands: Thousands | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """What one number says of its marks.

    Attributes:
        decimal: its decimal mark, if it surely is one.
        thousands: the mark between its groups, if it surely is one.
        either: a mark that may be the one or the other, as in ``1.250``.
        long: whether four digits or more stand together, as where groups are not used.
    """

    decimal: str | None = None
    thousands: str | None = None
    either: str | None = None
    long: bool = False


def form_of(cell: str) -> Form | None:
    """What a cell says of its marks; None if it is no number by any. O(length)."""
    match = _NUMBER.fullmatch(in_latin(cell).strip())
    if match is None:
        return None
    body = match[2].translate(_SAME).strip()
    marks = [each for each in body if each in _MARKS]
    if len(marks) == len(body):
        return None
    if not marks:
        return Form(long=len(body) > 3)
    different = set(marks)
    if len(different) > 2:
        return None
    last = marks[-1]
    if len(different) == 1:
        if len(marks) > 1 or last in "' ":
            return Form(thousands=last) if _is_grouped(body, last) else None
        whole, fraction = body.split(last)
        if "٬" in cell:
            return Form(thousands=last)
        sure = "٫" in cell
        if not sure and len(fraction) == 3 and 1 <= len(whole) <= 3 and whole[0] != "0":
            return Form(either=last)
        return Form(decimal=last, long=len(whole) > 3)
    (group,) = different - {last}
    whole, _, _ = body.rpartition(last)
    if last in "' " or last in whole or not _is_grouped(whole, group):
        return None
    return Form(decimal=last, thousands=group)


def _is_sign(text: str) -> bool:
    return all(each in _BESIDE or unicodedata.category(each) == "Sc" for each in text)


def in_latin(cell: str) -> str:
    """The cell with digits, marks and signs of other scripts as those of Latin."""
    if cell.isascii():
        return cell
    return "".join(
        str(unicodedata.decimal(each)) if each.isdecimal() else _SCRIPTS.get(each, each)
        for each in cell
    )


def beside_number(cell: str) -> str | None:
    """What stands beside the one number in a cell: a currency, a unit, a per cent sign, brackets.

    None where there is no number or nothing beside it, or where it may be another thing, such as a
    name or a date. O(length).

    >>> beside_number("($1,234.50)"), beside_number("12 kg"), beside_number("A4")
    ('($ )', 'kg', None)
    """
    text = in_latin(cell).strip()
    places = [at for at, each in enumerate(text) if each.isdecimal()]
    if not places:
        return None
    first, last = places[0], places[-1] + 1
    if first and text[first - 1] in ".,":
        first -= 1
    before, number, after = text[:first], text[first:last], text[last:]
    if (before in ("+", "-", "−", "–") and not after) or not (before or after):
        return None
    if len(before) > _MOST_BESIDE or len(after) > _MOST_BESIDE or form_of(number) is None:
        return None
    if not (_is_sign(before) or _CODE.fullmatch(before)):
        return None
    unit = after.strip() if after[0:1].isspace() else ""
    if not (
        _is_sign(after) or _UNIT.fullmatch(unit) or (not before and _CLOSE_UNIT.fullmatch(after))
    ):
        return None
    return " ".join(each.strip() for each in (before, after) if each.strip())


def _is_grouped(digits: str, mark: str) -> bool:
    """Whether groups are of three, or as in India of two before the last three."""
    first, *groups = digits.split(mark)
    if not groups or not 1 <= len(first) <= 3 or first[0] == "0" or len(groups[-1]) != 3:
        return False
    return all(len(each) == 3 for each in groups) or (
        mark == "," and len(first) <= 2 and all(len(each) == 2 for each in groups[:-1])
    )


@dataclass(frozen=True, slots=True)
class Evidence:
    """What many numbers say of their marks: how many say each.

    Attributes:
        decimal, thousands, either: by mark.
        long: numbers whose four digits or more stand together.
    """

    decimal: Counter[str]
    thousands: Counter[str]
    either: Counter[str]
    long: int

    @staticmethod
    def of(cells: Iterable[str]) -> Evidence:
        decimal, thousands, either, long = Counter(), Counter(), Counter(), 0
        for cell in cells:
            if (form := form_of(cell)) is None:
                continue
            decimal[form.decimal] += form.decimal is not None
            thousands[form.thousands] += form.thousands is not None
            either[form.either] += form.either is not None
            long += form.long
        return Evidence(decimal, thousands, either, long)


def find_marks(
    found: Evidence,
    decimal: Decimal | None = None,
    thousands: Thousands | Literal["none"] | None = None,
    semicolons: bool = False,
) -> Marks:
    """The marks by which most numbers can be read.

    Args:
        decimal, thousands: as a person says.
        semicolons: whether they separate the columns, as spreadsheets write where the comma is the
            decimal mark.
    """
    if decimal is None:
        decimal = _decimal(found, thousands, semicolons)
    if thousands is not None:
        return Marks(decimal, None if thousands == "none" else thousands)
    other = "," if decimal == "." else "."
    counts = {mark: found.thousands[mark] for mark in (other, " ", "'")}
    counts[other] += found.either[other]
    best = max(counts, key=counts.__getitem__)
    return Marks(decimal, best if counts[best] else None)


def _decimal(found: Evidence, thousands: str | None, semicolons: bool) -> Decimal:
    if thousands in (".", ","):
        return "," if thousands == "." else "."
    comma = found.decimal[","] + found.thousands["."]
    dot = found.decimal["."] + found.thousands[","]
    if comma or dot:
        return "," if comma > dot or (comma == dot and semicolons) else "."
    if found.either[","] and (semicolons or (found.long and not found.either["."])):
        return ","
    return "."


def number_of(cell: str, marks: Marks) -> float:
    """A cell as a number, NaN where it is none by these marks. O(length)."""
    cell = in_latin(cell)
    match = _NUMBER.fullmatch(cell.strip())
    if match is None:
        word = cell.strip().lower()
        sign = -1.0 if word[:1] in ("-", "−", "–") else 1.0
        return sign * _INFINITE.get(word.lstrip("+-−–"), math.nan)
    sign, body, exponent = match.groups()
    whole, _, fraction = body.translate(_SAME).strip().partition(marks.decimal)
    if marks.thousands and marks.thousands in whole:
        if not _is_grouped(whole, marks.thousands):
            return math.nan
        whole = whole.replace(marks.thousands, "")
    if not (whole or fraction) or not (whole + fraction).isdecimal():
        return math.nan
    return float(f"{sign}{whole}.{fraction}{exponent}".translate(_FOR_FLOAT))


def numbers_from(cells: Sequence[str], marks: Marks) -> np.ndarray:
    """(n,) float64 of (n,) cells; NaN for what is no number, and what is :data:`MISSING`.

    Where no cell has anything but digits and the decimal mark, they are converted all at once.
    """
    joined = "\n".join(cells)
    other = "," if marks.decimal == "." else "."
    lines = joined.count("\n") == len(cells) - 1  # none within a cell
    if lines and other not in joined and not _NOT_PLAIN.search(joined := joined.replace(",", ".")):
        try:
            return np.array(list(map(float, joined.split("\n"))), dtype=np.float64)
        except ValueError:  # missing ones, signs amid digits
            pass
    return np.array([_quickly(cell, marks) for cell in cells], dtype=np.float64)


def _quickly(cell: str, marks: Marks) -> float:
    """:func:`number_of`, of most cells in a third of the time."""
    other = "," if marks.decimal == "." else "."
    if cell.isascii() and "_" not in cell and other not in cell:
        try:
            return float(cell.replace(",", "."))
        except ValueError:
            pass
    return number_of(cell, marks)
