"""A late start and what is kept of a picture, for every sampler and schedule; no model is needed.

With the true noise as its prediction, a solver must end at the picture from wherever it begins: the
result is fitted by the picture and the noise, and must be one times the one and none of the other.
"""

from __future__ import annotations

import pytest
import torch

from pipelines.diffusion.denoise import (
    Beginning,
    denoise,
    latents_below,
    signal_and_noise,
    timesteps_from,
)
from pipelines.diffusion.samplers import Samplers, make_scheduler, step_arguments

CONFIG = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "steps_offset": 1, "set_alpha_to_one": False,
}  # fmt: skip
SAMPLERS = Samplers()
SHAPE = (1, 4, 16, 16)
# They draw noise of their own, so that no prediction is the true one for all steps.
DETERMINISTIC = [each for each in SAMPLERS if not each.stochastic and each.max_steps is None
                 and each.name != "SA-Solver"]  # fmt: skip


def draw_noise(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


PICTURE, NOISE = draw_noise(1), draw_noise(2)


def begin(sampler, schedule: str, steps: int, prediction: str = "epsilon"):
    config = CONFIG | {"prediction_type": prediction}
    scheduler = make_scheduler(config, sampler, SAMPLERS.schedule(schedule), [7])
    scheduler.set_timesteps(steps)
    return scheduler, step_arguments(scheduler, sampler, [torch.Generator().manual_seed(5)])


def last_step(scheduler, arguments, beginning, predict):
    *_, step = denoise(predict, scheduler, NOISE, arguments, beginning)
    assert step.index == step.total
    return step.latents


def steps_of(sampler) -> int:
    return min(20, sampler.max_steps or 20)


def assert_the_picture_comes_back(sampler, schedules, starts) -> None:
    for schedule in schedules:
        for start in starts:
            scheduler, arguments = begin(sampler, schedule, 20)
            beginning = Beginning(PICTURE, start)
            left = last_step(scheduler, arguments, beginning, lambda sample, at: NOISE)
            both = torch.stack([PICTURE.flatten(), NOISE.flatten()], 1)
            signal, noise = torch.linalg.lstsq(both, left.flatten()[:, None]).solution.flatten()
            assert abs(signal - 1) < 0.01, (schedule, start)
            # Some end at their schedule's last noise: 0.029 with this one.
            assert abs(noise) < 0.04, (schedule, start)


@pytest.mark.parametrize("sampler", DETERMINISTIC, ids=lambda each: each.name)
def test_from_early_and_late_steps_on_the_picture_comes_back_without_noise(sampler):
    assert_the_picture_comes_back(sampler, sampler.schedules[:2], (5, 19))


@pytest.mark.deep
@pytest.mark.parametrize("sampler", DETERMINISTIC, ids=lambda each: each.name)
def test_from_every_step_on_the_picture_comes_back_without_noise(sampler):
    """Every schedule, and strengths from 0.05 to 0.95 in steps of 0.05."""
    assert_the_picture_comes_back(sampler, sampler.schedules, range(1, 20))


def assert_all_ends_at_the_picture(sampler, schedules, starts) -> None:
    """Whatever noise a sampler draws of its own, a model that always sees the picture leads to it.

    What is left is the noise of the last evaluation, which no step after it takes away.
    """
    for schedule in schedules:
        for start in starts:
            scheduler, arguments = begin(sampler, schedule, steps_of(sampler))
            seen = []

            def predict(sample, timestep, scheduler=scheduler, seen=seen):
                signal, noise = signal_and_noise(scheduler, timestep)
                seen.append(noise / signal)
                return (sample - signal * PICTURE) / noise

            left = last_step(scheduler, arguments, Beginning(PICTURE, start), predict)
            # Five deviations, of a thousand numbers.
            assert (left - PICTURE).abs().max() <= 5 * min(seen) + 0.01, (schedule, start)
            assert len(seen) >= steps_of(sampler) - start


@pytest.mark.parametrize("sampler", list(SAMPLERS), ids=lambda each: each.name)
def test_samplers_that_draw_noise_end_at_the_picture_too(sampler):
    steps = steps_of(sampler)
    assert_all_ends_at_the_picture(sampler, sampler.schedules[-1:], (0, steps - 2))


@pytest.mark.deep
@pytest.mark.parametrize("sampler", list(SAMPLERS), ids=lambda each: each.name)
def test_every_sampler_ends_at_the_picture_with_every_schedule_and_strength(sampler):
    steps = steps_of(sampler)
    assert_all_ends_at_the_picture(sampler, sampler.schedules, {*range(0, steps, 3), steps - 1})


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("sampler", list(SAMPLERS), ids=lambda each: each.name)
def test_what_is_kept_is_kept_by_every_sampler(sampler, prediction):
    scheduler, arguments = begin(sampler, sampler.schedules[0], steps_of(sampler), prediction)
    nonsense = draw_noise(9)
    change = torch.zeros(1, 1, 16, 16)
    change[..., 8:] = 1
    seen = []

    def predict(sample, timestep):
        seen.append(sample)
        return nonsense

    left = last_step(scheduler, arguments, Beginning(PICTURE, 2, change), predict)
    assert torch.equal(left[..., :8], PICTURE[..., :8])
    assert not torch.isclose(left[..., 8:], PICTURE[..., 8:], atol=0.01).all()
    # What the model sees there is the picture with less and less noise, not what it predicts.
    rest = (seen[-1] - PICTURE)[..., :8].abs().mean()
    assert rest < (seen[0] - PICTURE)[..., :8].abs().mean()


@pytest.mark.parametrize("sampler", list(SAMPLERS), ids=lambda each: each.name)
def test_where_all_may_change_nothing_is_kept_and_where_nothing_may_all_is(sampler):
    def paint_last_step(*change) -> torch.Tensor:
        beginning = Beginning(PICTURE, 1, *change)
        return last_step(
            *begin(sampler, sampler.schedules[-1], min(6, steps_of(sampler))),
            beginning,
            lambda sample, timestep: draw_noise(9),
        )

    free = paint_last_step()
    for gradual in (False, True):
        assert torch.equal(paint_last_step(torch.ones(1, 1, 16, 16), gradual), free)
        assert torch.equal(paint_last_step(torch.zeros(1, 1, 16, 16), gradual), PICTURE)


@pytest.mark.parametrize("name", ["Euler", "DPM++ 2M", "DDIM", "LMS"])
def test_what_stays_is_seen_through_the_first_noise_at_full_strength_too(name):
    def first_input(beginning: Beginning) -> tuple[torch.Tensor, torch.Tensor]:
        scheduler, arguments = begin(SAMPLERS.get(name), "Uniform", 10)
        seen = []
        predict = lambda sample, at: seen.append(sample) or NOISE  # noqa: E731
        last_step(scheduler, arguments, beginning, predict)
        signal, noise = signal_and_noise(scheduler, timesteps_from(scheduler, 0)[0])
        return seen[0], signal * PICTURE + noise * NOISE

    some = torch.zeros(1, 1, 16, 16)
    some[..., 8:] = 1
    seen, expected = first_input(Beginning(PICTURE, 0, some, below=PICTURE))
    torch.testing.assert_close(seen, expected, atol=1e-3, rtol=0)
    seen, expected = first_input(Beginning(PICTURE, 0, some))
    assert (seen - expected).abs().mean() > 0.02


def test_what_lies_below_a_mask_at_first():
    some, everything = torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)
    some[..., 8:] = 1
    for start in (0, 3):
        assert torch.equal(latents_below(PICTURE, some, NOISE, "original", start), PICTURE)
        nothing = latents_below(PICTURE, some, NOISE, "nothing", start)
        assert torch.equal(nothing, PICTURE * (1 - some))
    assert torch.equal(latents_below(PICTURE, some, NOISE, "noise", 3)[..., 8:], NOISE[..., 8:])
    # At full strength noise lies there already, and where all may change there is nothing else.
    assert torch.equal(latents_below(PICTURE, some, NOISE, "noise", 0), PICTURE * (1 - some))
    assert latents_below(PICTURE, everything, NOISE, "original", 0) is None
    assert torch.equal(latents_below(PICTURE, everything, NOISE, "original", 1), PICTURE)


def test_a_gradual_change_comes_the_later_the_smaller_it_is():
    change = torch.linspace(0, 1, 16).expand(1, 1, 16, 16)
    changed = []
    scheduler, arguments = begin(SAMPLERS.get("Euler"), "Uniform", 10)
    beginning = Beginning(PICTURE, 0, change, gradual=True)
    for step in denoise(lambda s, t: draw_noise(9), scheduler, NOISE, arguments, beginning):
        new = ~torch.isclose(step.denoised, PICTURE, atol=1e-2).all(dim=(0, 1, 2))
        changed.append(int(new.sum()))
    assert changed == sorted(changed)
    assert changed[0] == 1, "the column that changes wholly"
    assert changed[-1] == 15, "all but the one that is to stay"
    assert torch.equal(step.latents[..., 0], PICTURE[..., 0])


def test_without_a_picture_all_is_as_it_was():
    """The scheduler's own loop, as diffusers' pipelines write it."""
    for name in ("Euler", "LMS", "PNDM", "Heun"):
        sampler = SAMPLERS.get(name)
        scheduler, arguments = begin(sampler, "Uniform", 6)
        ours = last_step(scheduler, arguments, None, lambda sample, at: sample * 0.1)
        scheduler, arguments = begin(sampler, "Uniform", 6)
        theirs = NOISE * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            sample = scheduler.scale_model_input(theirs, timestep)
            theirs = scheduler.step(sample * 0.1, timestep, theirs, **arguments).prev_sample
        assert torch.equal(ours, theirs), name


def test_evaluations_are_those_of_the_steps_that_are_left():
    counts = {}
    for name in ("Euler", "Heun", "PNDM"):
        scheduler, _ = begin(SAMPLERS.get(name), "Uniform", 10)
        counts[name] = [len(timesteps_from(scheduler, start)) for start in (0, 4, 9)]
    assert counts == {"Euler": [10, 6, 1], "Heun": [19, 11, 1], "PNDM": [11, 7, 1]}
