"""Axes of the charts: round ticks, and numbers of any size."""

from __future__ import annotations

import math

import numpy as np
import pytest

from studio.features.clustering.charts.axes import axis, counts, number


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([0.0, 100.0], ("0", "20", "40", "60", "80", "100")),
        ([0.0, 0.9], ("0", "0.2", "0.4", "0.6", "0.8", "1.0")),
        ([0.0, 1_000_000.0], ("0", "0.2M", "0.4M", "0.6M", "0.8M", "1.0M")),
        ([-0.2, 1.0], ("−0.25", "0", "0.25", "0.50", "0.75", "1.00")),
        ([3.0, 3.0], ("1", "2", "3", "4", "5")),
        ([], ("0", "0.2", "0.4", "0.6", "0.8", "1.0")),
    ],
)
def test_ticks_are_round(values, names):
    assert axis(values).names == names


@pytest.mark.parametrize("low", [-1e300, -7.3e-9, 0.0, 0.1, 123.4, 9e15])
@pytest.mark.parametrize("span", [1e-12, 0.37, 41.0, 1e6, 1e300])
def test_every_axis_holds_its_values_and_has_few_short_names(low, span):
    found = axis([low, low + span, None, math.nan, math.inf])
    slack = 1e-8 * (found.high - found.low)
    assert found.low - slack <= low < found.high
    assert found.high + slack >= low + span
    assert 2 <= len(found.ticks) <= 8
    assert max(map(len, found.names)) <= 9
    assert all(a < b for a, b in zip(found.ticks, found.ticks[1:], strict=False))


def test_whole_numbers_are_not_named_more_often_than_there_is_room():
    assert counts([1, 2, 3]).names == ("1", "2", "3")
    many = counts(range(1, 51))
    assert many.names == ("5", "10", "15", "20", "25", "30", "35", "40", "45", "50")
    assert many.low < 1 < 50 < many.high


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (math.nan, "–"), (math.inf, "∞"), (0, "0"), (1234.5, "1,234"), (-0.12345,
     "−0.1235"), (1e-9, "1e−09"), (1e15, "1e+15")],
)  # fmt: skip
def test_numbers_are_short(value, text):
    assert number(value) == text


@pytest.mark.parametrize("value", [123.456, -5.5, 1e16, 3e150, 1e-300])
def test_an_axis_of_values_that_only_rounding_parts_has_ticks_of_its_own(value):
    """As BIC is for all kinds of covariance where there is one column."""
    drawn = axis([value, np.nextafter(value, np.inf)])
    assert drawn.low < value < drawn.high
    assert len(set(drawn.ticks)) == len(drawn.ticks) < 20
    assert 0 < drawn.share(value) < 1
