"""Axes of the charts: where a value lies, round ticks, and numbers as they are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_STEPS = (1, 2, 2.5, 5, 10)
_EQUAL = 1e-9  # of their size, below which values differ by rounding alone
_LABELLED = 12  # of a count's values, at most; a phone has room for no more


@dataclass(frozen=True, slots=True)
class Axis:
    """What one side of a chart shows.

    Attributes:
        low, high: its ends, low < high.
        ticks: values that are named, ascending.
        names: how.
        title: of what.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    names: tuple[str, ...]
    title: str = ""

    def share(self, value: float) -> float:
        """Where a value lies: 0 at the low end, 1 at the high one, never beyond."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


def axis(values: Iterable[float | None], title: str = "", zero: bool = False) -> Axis:
    """An axis with four to six round ticks, which holds all finite values and ends on ticks.

    Args:
        zero: whether 0 must be on it.
    """
    finite = [value for value in values if value is not None and math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if zero:
        low, high = min(0.0, low), max(0.0, high)
    if not high - low > _EQUAL * max(abs(low), abs(high)):
        margin = abs(low) / 2 or 0.5
        low, high = (low, high + 2 * margin) if zero else (low - margin, high + margin)
    step = _step(low, high)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(number * step for number in range(first, last + 1))
    most = max(abs(ticks[0]), abs(ticks[-1]))
    names = tuple(tick_name(tick, step, most) for tick in ticks)
    return Axis(ticks[0], ticks[-1], ticks, names, title)


def counts(values: Sequence[int], title: str = "") -> Axis:
    """An axis of whole numbers, each named where there is room, with room beside the ends."""
    low, high = min(values), max(values)
    step = max(1, math.ceil((high - low + 1) / _LABELLED))
    step = next((each for each in (1, 2, 5, 10, 20, 50, 100) if each >= step), step)
    ticks = tuple(tick for tick in range(low, high + 1) if step == 1 or tick % step == 0)
    margin = max(0.4, 0.03 * (high - low))
    return Axis(low - margin, high + margin, ticks, tuple(map(str, ticks)), title)


def _step(low: float, high: float) -> float:
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return next(each * power for each in _STEPS if each * power >= rough * 0.999)


def tick_name(value: float, step: float, most: float) -> str:
    """A tick with as many decimals as its step needs; ``most`` of the axis decides on a unit."""
    if abs(value) < step / 1e6:
        return "0"
    if step < 1e-4 or most >= 1e15:
        return format_signed(f"{value:.2g}")
    for unit, size, least in (("T", 1e12, 1e12), ("G", 1e9, 1e9), ("M", 1e6, 1e6), ("k", 1e3, 1e4)):
        if most >= least:
            return format_signed(f"{value / size:.{_decimals(step / size)}f}{unit}")
    return format_signed(f"{value:.{_decimals(step)}f}")


def _decimals(step: float) -> int:
    """2.5 needs one more than 2 and 5 do."""
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    return min(6, places + (round(step * 10**places, 6) % 1 != 0))


def number(value: float | None) -> str:
    """A number of four digits for people: ``1,234``, ``0.1235``, ``1.2e−09``, or a dash."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value and not 1e-4 <= abs(value) < 1e12:
        return format_signed(f"{value:.3g}")
    if abs(value) >= 1000:
        return format_signed(f"{value:,.0f}")
    return format_signed(f"{value:.4g}")


def format_signed(text: str) -> str:
    """With a minus sign as long as a plus."""
    return text.replace("-", "−")
