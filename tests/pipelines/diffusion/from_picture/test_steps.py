"""How much there is to do, and what people are told of how far it is; worked out by hand."""

from __future__ import annotations

import pytest

from pipelines.diffusion.from_picture.steps import StepCount, work_of
from pipelines.diffusion.requests import TextToImageRequest

PICTURE = "0" * 32


def settings(strength: float | None = None, **fields) -> TextToImageRequest:
    begun = None if strength is None else {"picture": PICTURE, "strength": strength}
    whole = {"prompt": "", "steps": 20, "width": 64, "height": 128, "from_picture": begun}
    return TextToImageRequest(**{**whole, **fields})


def words(asked: TextToImageRequest, step: int, total: int, place=(0, 1), apart=1) -> str | None:
    said = StepCount(asked, place, apart, 500).progress(step, total).words
    return None if said is None else str(said)


def test_work_is_steps_that_are_run_times_pixels():
    assert work_of(settings()) == (20 * 64 * 128, 0)
    assert work_of(settings(0.6)) == (12 * 64 * 128, 0)
    assert work_of(settings(0)) == (0, 0)
    assert work_of(settings(0.6, steps=8)) == (8 * 64 * 128, 0), "few steps are all run"
    hires = {"scale": 2, "strength": 0.5}
    assert work_of(settings(hires=hires)) == (20 * 64 * 128, 20 * 128 * 256)
    assert work_of(settings(0, hires={**hires, "steps": 5})) == (0, 5 * 128 * 256)


def test_a_late_start_says_of_how_many_steps_and_how_strong():
    assert words(settings(0.6), 3, 12) == "Step 3 of 12 (of 20, strength 0.6)"
    # A sampler of two evaluations a step: the fifth is of the third step.
    assert words(settings(0.6), 5, 24) == "Step 3 of 12 (of 20, strength 0.6)"
    assert words(settings(0.6), 24, 24) == "Step 12 of 12 (of 20, strength 0.6)"
    said = "Step 15 of 36 (12 of 20 each, strength 0.6)"
    assert words(settings(0.6), 3, 12, place=(1, 3)) == said
    # Where the pictures of a batch are painted one after another.
    assert words(settings(0.6), 15, 36, apart=3) == said


@pytest.mark.parametrize("asked", [settings(), settings(1), settings(0.6, steps=8)])
def test_where_all_steps_are_run_they_are_said_as_they_are_counted(asked):
    assert words(asked, 3, 20) is None


def test_a_late_start_before_a_second_pass_is_said_as_both_are_counted():
    asked = settings(0.6, hires={"scale": 2, "steps": 10})
    assert words(asked, 3, 22) is None


def test_fixing_details_does_not_double_the_steps_that_are_said():
    count = StepCount(settings(detail_fix={}), (1, 3), 1, 500)
    seen = count.progress(4, 20)
    assert (seen.step, seen.total) == (44, 120)
    assert str(seen.words) == "Step 24 of 60"
    late = StepCount(settings(0.6, detail_fix={}), (0, 1), 1, 500).progress(4, 12)
    assert (late.step, late.total) == (4, 24)
    assert str(late.words) == "Step 4 of 12 (of 20, strength 0.6)"


def test_a_second_pass_counts_as_long_as_its_pixels_take():
    asked = settings(hires={"scale": 2, "steps": 10})  # four times the pixels, half of the steps
    count = StepCount(asked, (0, 1), 1, 500)
    shares = [count.progress(step, 30).share for step in (0, 10, 20, 25, 30)]
    assert shares == pytest.approx([0, 10 / 60, 20 / 60, 40 / 60, 1])
    second = StepCount(asked, (1, 2), 1, 500).progress(20, 30)
    assert second.share == pytest.approx(80 / 120)
    assert (second.step, second.total) == (50, 60)
    assert StepCount(settings(), (0, 1), 1, 500).progress(3, 20).work is None
