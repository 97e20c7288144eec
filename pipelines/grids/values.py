"""The values of an axis as A1111's X/Y/Z plot writes them.

``1-5`` are whole numbers, ``1-5 (+2)`` every other one, ``1-10 [5]`` five that lie evenly; the same
with fractions, ``0-1 (+0.25)``. Several stand between commas; those that have commas themselves, in
quotes. Numbers are taken as people's keyboards write them: with wide commas and brackets, with
dashes, and between semicolons where a comma is the decimal mark, ``6,5; 7``.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
import unicodedata
from typing import TypeVar

from pipelines.core.errors import BadRequest

ValueT = TypeVar("ValueT", str, float)

MAX_VALUES = 100  # of one axis
_SHOWN = 60
_MARKS = str.maketrans({"、": ",", "–": "-", "—": "-", "−": "-", "\ufeff": None, "\u200b": None})
_AFTER_SIGN = re.compile(r"(?<=[+-])\s+")
_NUMBER = r"([+-]?\s*+(?:\d{1,12}(?:\.\d{0,6})?|\.\d{1,6}))"
_RANGE = re.compile(
    rf"\s*+{_NUMBER}\s*+-\s*+{_NUMBER}\s*+"
    rf"(?:\(\s*+{_NUMBER}\s*+\)|\[\s*+(\d{{1,9}})\s*+\])?\s*+"
)


def read_texts(text: str) -> list[str]:
    """The values of an axis as texts, each once.

    Raises:
        BadRequest: there are none, or too many; a quote is not closed.

    >>> read_texts('Euler, "a, b" ,Heun')
    ['Euler', 'a, b', 'Heun']
    """
    try:
        rows = list(csv.reader(io.StringIO(text), skipinitialspace=True, strict=False))
    except csv.Error as error:
        raise BadRequest(
            "The values {values} cannot be read. Write them with commas between them, and those "
            "that have commas in quotes.",
            values=text[:_SHOWN],
        ) from error
    values = [value.strip() for value in itertools.chain.from_iterable(rows)]
    return _count([value for value in values if value], text)


def read_numbers(text: str, whole: bool) -> list[float]:
    """The values of an axis of numbers, with ranges written out, each once.

    Args:
        whole: whether they are whole numbers.

    Raises:
        BadRequest: one is no number, or there are none, or too many.

    >>> read_numbers("1-5 (+2), 9", whole=True), read_numbers("0-1 [3]", whole=False)
    ([1, 3, 5, 9], [0.0, 0.5, 1.0])
    """
    numbers: list[float] = []
    plain = unicodedata.normalize("NFKC", text).translate(_MARKS)
    if ";" in plain:
        plain = plain.replace(",", ".").replace(";", ",")
    for value in read_texts(plain):
        if (match := _RANGE.fullmatch(value)) is not None:
            numbers += _range(match, value, whole)
        else:
            numbers.append(_number(value, value, whole))
    return _count(numbers, text)


def _range(match: re.Match[str], value: str, whole: bool) -> list[float]:
    start, end = (_number(match[group], value, whole) for group in (1, 2))
    if match[4] is not None:
        count = int(match[4])
        _check_count(count, value)
        if count == 1:
            return [start]
        evenly = [start + (end - start) * n / (count - 1) for n in range(count)] if count else []
        return [int(each) if whole else round(each, 9) for each in evenly]
    # A range that falls needs no sign before its step.
    step = _number(match[3], value, whole) if match[3] is not None else 1
    step = abs(step) if end >= start else -abs(step)
    if step == 0:
        raise BadRequest("{value} has a step of 0. Write another number into its brackets.",
                         value=value[:_SHOWN])  # fmt: skip
    count = int((end - start) / step + 1e-9) + 1
    _check_count(count, value)
    return [start + n * step if whole else round(start + n * step, 9) for n in range(count)]


def _number(text: str, value: str, whole: bool) -> float:
    text = _AFTER_SIGN.sub("", text.strip())
    try:
        number = float(text)
        if whole and not number.is_integer():
            raise ValueError
        if number - number != 0:  # infinite, or not a number
            raise ValueError
    except (ValueError, OverflowError):
        raise BadRequest(
            "{value} is no whole number. Write some, such as 1, 2, 5-10, 5-20 (+5) or 1-10 [4]."
            if whole
            else "{value} is no number. Write some, such as 1.5, 2, 0-1 (+0.25) or 1-3 [5].",
            value=value[:_SHOWN],
        ) from None
    return int(number) if whole else number


def _check_count(count: int, shown: str) -> None:
    if count > MAX_VALUES:
        raise BadRequest(
            "{values} are {count} values; an axis takes at most {limit}.",
            values=shown[:_SHOWN],
            count=count,
            limit=MAX_VALUES,
        )


def _count(values: list[ValueT], text: str) -> list[ValueT]:
    values = list(dict.fromkeys(values))
    if not values:
        raise BadRequest("An axis has no values. Write some, with commas between them.")
    _check_count(len(values), text)
    return values
