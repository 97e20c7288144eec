"""The loss, the weights of its samples and the learning rate, worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pipelines.dreambooth.data.latent_dataset import generator_for
from pipelines.dreambooth.loss import Noising, dreambooth_loss, offset_noise, spread_timesteps
from pipelines.dreambooth.optimizers import rate_factor

ALPHAS = torch.tensor([0.9, 0.5, 0.1, 0.0])  # ā: SNR 9, 1, 1/9, 0
ALL = torch.arange(4)


def test_the_prior_preservation_loss_of_a_photo_and_a_class_picture():
    # ‖…‖² is the mean over a picture: (1 + 4 + 0 + 9)/4 = 3.5 and (4 + 0 + 0 + 0)/4 = 1.
    prediction = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]], [[[0.0, 1.0], [1.0, 1.0]]]])
    target = torch.tensor([[[[0.0, 4.0], [3.0, 1.0]]], [[[2.0, 1.0], [1.0, 1.0]]]])
    loss = dreambooth_loss(prediction, target, torch.ones(2), instances=1, prior_weight=0.3)
    assert loss.instance.item() == 3.5
    assert loss.prior.item() == 1.0
    assert loss.total.item() == pytest.approx(3.5 + 0.3 * 1.0)
    weighed = dreambooth_loss(prediction, target, torch.tensor([0.5, 2.0]), 1, 0.3)
    assert weighed.total.item() == pytest.approx(0.5 * 3.5 + 0.3 * 2.0 * 1.0)


def test_without_class_pictures_the_loss_is_that_of_the_photos():
    loss = dreambooth_loss(torch.ones(2, 1, 1, 1), torch.zeros(2, 1, 1, 1), torch.ones(2), 2, 1.0)
    assert loss.prior is None
    assert loss.total.item() == loss.instance.item() == 1.0


@pytest.mark.parametrize(
    ("prediction", "weights"),
    [
        ("epsilon", [5 / 9, 1, 1, 1]),  # min(SNR, 5)/SNR
        ("v_prediction", [5 / 10, 1 / 2, (1 / 9) / (10 / 9), 0]),  # min(SNR, 5)/(SNR + 1)
        ("sample", [5, 1, 1 / 9, 0]),
    ],
)
def test_min_snr_weights(prediction: str, weights: list[float]):
    noising = Noising(ALPHAS, prediction)
    assert noising.weights(ALL, 5.0).tolist() == pytest.approx(weights)
    assert noising.weights(ALL, 0.0).tolist() == [1, 1, 1, 1]


def test_snr_is_that_of_diffusers():
    from diffusers import DDPMScheduler
    from diffusers.training_utils import compute_snr

    scheduler = DDPMScheduler(beta_schedule="scaled_linear")
    t = torch.arange(1000)
    mine = Noising(scheduler.alphas_cumprod, "epsilon").snr(t)
    torch.testing.assert_close(mine, compute_snr(scheduler, t), rtol=1e-4, atol=0)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_noise_and_targets_are_those_of_diffusers(prediction: str):
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(prediction_type=prediction)
    noising = Noising(scheduler.alphas_cumprod, prediction)
    x0, noise = torch.randn(5, 4, 3, 3), torch.randn(5, 4, 3, 3)
    t = torch.tensor([0, 1, 400, 998, 999])
    torch.testing.assert_close(noising.add_noise(x0, noise, t), scheduler.add_noise(x0, noise, t))
    wanted = {
        "epsilon": noise,
        "v_prediction": scheduler.get_velocity(x0, noise, t),
        "sample": x0,
    }[prediction]
    torch.testing.assert_close(noising.target(x0, noise, t), wanted)


def test_a_prediction_that_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="'flow' is not known"):
        Noising(ALPHAS, "flow")


def test_timesteps_lie_one_in_each_stretch_and_all_come():
    for count in (1, 2, 7):
        t = spread_timesteps(count, 1000, generator_for(3, count))
        assert sorted((t * count // 1000).tolist()) == list(range(count))
    drawn = torch.cat([spread_timesteps(4, 10, generator_for(i)) for i in range(2000)])
    counts = torch.bincount(drawn, minlength=10)
    assert counts.min() > 650
    assert counts.max() < 950


def test_offset_noise_shifts_each_channel_by_a_constant():
    shape = torch.Size((3, 4, 8, 8))
    plain = offset_noise(shape, 0.0, generator_for(1))
    shifted = offset_noise(shape, 0.5, generator_for(1))
    shift = shifted - plain
    assert torch.allclose(shift, shift[:, :, :1, :1].expand(shape), atol=1e-6)
    assert 0.3 < shift[:, :, 0, 0].std() < 0.8


def test_warm_up_and_cosine_by_hand():
    # 4 steps of warm-up, then 8 of half a cosine: p = 0, 1/8, … 7/8.
    rates = [rate_factor(step, 12, 4, "cosine") for step in range(12)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[6] == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))  # 0.8536
    assert rates[8] == pytest.approx(0.5)
    assert rates[11] == pytest.approx(0.03806, abs=1e-5)


def test_the_other_schedules_by_hand():
    half = [rate_factor(6, 12, 0, name) for name in ("constant", "linear", "polynomial")]
    assert half == [1.0, 0.5, 0.25]
    assert rate_factor(0, 1, 0, "linear") == 1.0
    restarts = [rate_factor(step, 12, 0, "cosine_with_restarts") for step in range(12)]
    assert [restarts[i] for i in (0, 4, 8)] == pytest.approx([1, 1, 1])
    assert restarts[2] == pytest.approx(0.5)
