"""Times are told from what was measured, or not at all."""

from __future__ import annotations

import pytest

from studio.core.jobs.waiting import RECENT, seconds_to_turn, updated_pace, usual_seconds


def pace_of(*seen: tuple[int, int, float]):
    """The pace after these (step, total, time)."""
    pace = None
    for step, total, now in seen:
        pace = updated_pace(pace, step, total, now)
    return pace


def test_the_pace_is_that_of_the_steps_after_the_first():
    # The first step came after 20 s of loading; each of the next ones took 2 s.
    pace = pace_of((0, 10, 0.0), (1, 10, 20.0), (2, 10, 22.0), (3, 10, 24.0))
    assert pace.seconds_left(now=24.0) == 7 * 2
    assert pace.seconds_left(now=25.5) == 7 * 2 - 1.5


def test_a_pace_is_measured_for_a_second_before_it_is_told():
    """Single steps of a few milliseconds differ tenfold."""
    pace = pace_of((1, 99, 0.0), (2, 99, 0.5))
    assert pace.seconds_left(now=0.5) is None
    assert updated_pace(pace, 5, 99, 1.0).seconds_left(now=1.0) == 94 / 4


def test_a_step_that_takes_longer_than_the_others_is_no_progress():
    pace = pace_of((1, 10, 0.0), (2, 10, 2.0))
    assert pace.seconds_left(now=500.0) == 7 * 2


def test_no_time_is_left_after_the_last_step():
    pace = pace_of((1, 2, 0.0), (2, 2, 3.0))
    assert pace.seconds_left(now=4.0) == 0


@pytest.mark.parametrize("seen", [(), ((0, 10, 1.0),), ((1, 10, 1.0),), ((1, 9, 1.0), (1, 9, 4.0))])
def test_one_step_tells_no_pace(seen):
    pace = pace_of(*seen)
    assert pace is None or pace.seconds_left(now=9.0) is None


@pytest.mark.parametrize("begun", [(1, 10, 50.0), (9, 20, 50.0)])
def test_another_count_has_a_pace_of_its_own(begun):
    """Such as the steps after the parts of a model have been counted."""
    pace = pace_of((5, 10, 0.0), (6, 10, 1.0), begun)
    assert pace.seconds_left(now=60.0) is None


def test_a_kind_usually_takes_the_median_of_its_newest_jobs():
    newest = [("paint", 10.0 + i % 3) for i in range(RECENT)]
    long_ago = [("paint", 1000.0)] * 50
    slow_once = [("compare", 30.0), ("compare", 500.0), ("compare", 20.0)]
    assert usual_seconds([*newest, *long_ago, *slow_once]) == {"paint": 11.0, "compare": 30.0}
    assert usual_seconds([]) == {}


@pytest.mark.parametrize(
    ("left", "ahead", "seconds"),
    [
        (0.0, [], 0.0),
        (12.0, [30.0, 8.0], 50.0),
        (None, [30.0], None),
        (12.0, [30.0, None], None),
    ],
)
def test_one_waits_for_all_that_comes_before_or_cannot_tell(left, ahead, seconds):
    assert seconds_to_turn(left, ahead) == seconds
