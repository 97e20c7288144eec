"""Variations of a seed: the mixture of two noises, and the pictures painted from it."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
import torch

from pipelines.core.errors import BadRequest, validate
from pipelines.core.events import Picture
from pipelines.diffusion import text_to_image
from pipelines.diffusion.latents.noise import slerp, starting_noise
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.resolving import alone, of_batch, resolve, seeds_of, with_seed
from pipelines.diffusion.samplers import Samplers
from pipelines.diffusion.seeds import MAX_SEED, Variation

SHAPE = (4, 8, 8)


def draw_noise(seed: int, shape=SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def noise_of(seed: int, variation: Variation | None = None, shape=SHAPE) -> torch.Tensor:
    return starting_noise(shape, [seed], [torch.Generator().manual_seed(seed)], variation)[0]


def test_the_mixture_is_a1111s_on_a_fixed_tensor():
    """Column by column with Python's own sines, as A1111's formula reads."""
    low, high, share = draw_noise(1), draw_noise(2), 0.3
    mixed = slerp(share, low, high)
    for channel in range(4):
        for place in range(8):
            a, b = low[channel, :, place].tolist(), high[channel, :, place].tolist()
            dot = sum(x * y for x, y in zip(a, b, strict=True))
            angle = math.acos(dot / (math.hypot(*a) * math.hypot(*b)))
            for row in range(8):
                by_hand = (
                    math.sin((1 - share) * angle) * a[row] + math.sin(share * angle) * b[row]
                ) / math.sin(angle)
                assert mixed[channel, row, place] == pytest.approx(by_hand, abs=1e-5)
    # Two columns at a right angle: a third of the way is cos 30° and sin 30°.
    x, y = torch.tensor([[[1.0], [0.0]]]), torch.tensor([[[0.0], [2.0]]])
    assert slerp(1 / 3, x, y).flatten().tolist() == pytest.approx([3**0.5 / 2, 1.0])


# cos and sin of 5°, 10° … 40°, from a table.
COSINES = [0.99619, 0.98481, 0.96593, 0.93969, 0.90631, 0.86603, 0.81915, 0.76604]
SINES = [0.08716, 0.17365, 0.25882, 0.34202, 0.42262, 0.5, 0.57358, 0.64279]


def test_a_third_of_the_way_is_a_third_of_each_columns_angle():
    """Columns of length 1 with 15°, 30° … 120° between them, in another plane for each channel."""
    low, high = torch.zeros(SHAPE), torch.zeros(SHAPE)
    for channel in range(4):
        for place in range(8):
            angle = math.radians(15 * (place + 1))
            low[channel, channel, place] = 1
            high[channel, channel, place] = math.cos(angle)
            high[channel, 7 - channel, place] = math.sin(angle)
    mixed = slerp(1 / 3, low, high)
    for channel in range(4):
        assert mixed[channel, channel].tolist() == pytest.approx(COSINES, abs=1e-5)
        assert mixed[channel, 7 - channel].tolist() == pytest.approx(SINES, abs=1e-5)
        rest = [row for row in range(8) if row not in (channel, 7 - channel)]
        assert not mixed[channel, rest].any()


def test_equal_seeds_are_mixed_to_themselves():
    noise = draw_noise(1)
    assert torch.allclose(slerp(0.7, noise, noise), noise, atol=1e-5)


def test_strength_0_is_the_seed_and_strength_1_the_other_one():
    assert torch.equal(
        noise_of(7, Variation(seed=9, strength=0, width=64, height=64)), draw_noise(7)
    )
    assert torch.equal(noise_of(7, Variation(seed=9, strength=1)), draw_noise(9))
    between = noise_of(7, Variation(seed=9, strength=0.2))
    assert (between - draw_noise(7)).norm() < (between - draw_noise(9)).norm()


def test_a_resized_seed_keeps_its_middle_where_a1111_has_it():
    wide = noise_of(7, Variation(width=64, height=64), (4, 8, 11))
    own, whole = draw_noise(7), draw_noise(7, (4, 8, 11))
    assert torch.equal(wide[:, :, 1:9], own)  # (11 - 8) // 2
    assert torch.equal(wide[:, :, [0, 9, 10]], whole[:, :, [0, 9, 10]])
    narrow = noise_of(7, Variation(width=88, height=64))  # (8 - 11) // 2 = -2: seven are taken
    assert torch.equal(narrow[:, :, :7], whole[:, :, 2:9])
    assert torch.equal(narrow[:, :, 7], own[:, :, 7])


def request_of(**settings) -> TextToImageRequest:
    base = {"prompt": "a red mug", "model": "tiny-sd1", "steps": 2, "seed": 7}
    return validate(TextToImageRequest, base | settings)


def paint(cache, **settings) -> list[Picture]:
    events = text_to_image.run(request_of(**settings), cache, threading.Event())
    return [event for event in events if isinstance(event, Picture)]


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(picture.image, int)


def test_pictures_of_a_variation_keep_the_seed_and_count_the_second_one(cache):
    variation = {"seed": MAX_SEED, "strength": 0.4}
    made = paint(cache, variation=variation, batch_size=2, batch_count=2, sampler="Euler a")
    named = [(each.request.seed, each.request.variation.seed) for each in made]
    assert named == [(7, MAX_SEED), (7, 0), (7, 1), (7, 2)]
    (again,) = paint(cache, **{**made[3].request.model_dump(), "model": "tiny-sd1"})
    assert abs(pixels(again) - pixels(made[3])).max() <= 2, "alone as in the batch"
    assert abs(pixels(made[2]) - pixels(made[3])).max() > 2


def test_strength_0_paints_the_same_picture_and_1_that_of_the_other_seed(cache):
    (plain,), (other,) = paint(cache), paint(cache, seed=9)
    (none,) = paint(cache, variation={"seed": 9, "strength": 0})
    (whole,) = paint(cache, variation={"seed": 9, "strength": 1})
    assert np.array_equal(pixels(none), pixels(plain))
    assert np.array_equal(pixels(whole), pixels(other))
    assert none.request.variation is None


def test_seeds_count_as_ever_where_nothing_is_mixed_in(catalog):
    entry = catalog.get("tiny-sd1")
    request = request_of(variation={"width": 64, "height": 64}, batch_size=2)
    settings = resolve(request, entry, Samplers())
    assert seeds_of(settings, 1) == [9, 10]
    assert alone(of_batch(settings, 1), 10, 1).variation == settings.variation


def test_a_second_seed_is_drawn_before_it_is_queued():
    queued = with_seed(request_of(variation={"strength": 0.1}))
    assert queued.variation.seed >= 0
    assert with_seed(queued) == queued


def test_what_cannot_be_varied_is_refused(catalog):
    with pytest.raises(BadRequest, match="a width of 64 and a height of"):
        request_of(variation={"width": 64})
    with pytest.raises(BadRequest, match=r"at most 1\.0"):
        request_of(variation={"strength": 1.5})
