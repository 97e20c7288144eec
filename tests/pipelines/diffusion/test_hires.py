"""The second pass at a larger size, on a tiny random Stable Diffusion."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.core.errors import BadRequest, NotFound, Stopped, validate
from pipelines.core.events import Picture, Progress
from pipelines.core.messages import Message
from pipelines.core.pictures.inputs import keep_input
from pipelines.diffusion import text_to_image
from pipelines.diffusion.hires.requests import LATENT_MODES, Hires
from pipelines.diffusion.hires.second_pass import enlarged_latents
from pipelines.diffusion.requests import TextToImageRequest


def request_of(hires: dict, **settings) -> TextToImageRequest:
    base = {"prompt": "a red mug", "model": "tiny-sd1", "steps": 2, "seed": 7, "width": 64,
            "height": 64, "sampler": "Euler"}  # fmt: skip
    return validate(TextToImageRequest, base | settings | {"hires": hires})


def events_of(cache, hires: dict, **settings) -> list:
    return list(text_to_image.run(request_of(hires, **settings), cache, threading.Event()))


def paint(cache, hires: dict, **settings) -> list[np.ndarray]:
    events = events_of(cache, hires, **settings)
    return [np.asarray(each.image, int) for each in events if isinstance(each, Picture)]


@pytest.mark.parametrize(
    ("hires", "size"),
    [
        ({}, (128, 128)),
        ({"scale": 1.3}, (80, 80)),  # 83.2
        ({"width": 96}, (96, 96)),
        ({"width": 96, "height": 128}, (96, 128)),
    ],
)
def test_the_second_size_is_by_scale_or_as_given(hires, size):
    assert Hires(**hires).size_for(64, 64) == size
    assert Hires(width=192).size_for(64, 128) == (192, 384)


def test_both_passes_are_one_progress_with_previews(cache):
    events = events_of(cache, {"scale": 1.5, "steps": 3, "strength": 0.5}, steps=2)
    steps = [each for each in events if isinstance(each, Progress) and each.note is None]
    painted = [(each.step, each.total) for each in steps if each.preview is not None]
    assert painted == [(i, 5) for i in range(1, 6)], "all steps of the second pass are run"
    (picture,) = (each for each in events if isinstance(each, Picture))
    assert picture.image.size == (96, 96)
    assert (picture.request.width, picture.request.height) == (64, 64)


def test_one_of_a_batch_is_the_same_alone_and_other_first_steps_leave_its_noise(cache):
    hires = {"scale": 1.5, "strength": 0.8}
    together = paint(cache, hires, batch_size=3, sampler="DPM++ 2M SDE")
    (alone,) = paint(cache, hires, seed=8, sampler="DPM++ 2M SDE")
    assert abs(together[1] - alone).max() <= 2
    assert abs(together[1] - together[2]).max() > 2


def test_strength_1_is_text_to_image_of_the_same_seed_at_the_second_size(cache):
    """The noise is drawn anew from the seed: nothing of the first pass is left."""
    (twice,) = paint(cache, {"scale": 1.5, "strength": 1, "steps": 4}, steps=2)
    once = plain(cache, steps=4, width=96, height=96)
    assert np.array_equal(twice, np.asarray(once, int))


def plain(cache, **settings) -> Image.Image:
    """What is painted without a second pass."""
    request = request_of({}, **settings).model_copy(update={"hires": None})
    events = list(text_to_image.run(request, cache, threading.Event()))
    (picture,) = (each for each in events if isinstance(each, Picture))
    return picture.image


@pytest.mark.parametrize("upscaler", ["Lanczos", "Nearest"])
def test_by_pixels_it_is_image_to_image_of_the_enlarged_picture(cache, catalog, upscaler):
    (twice,) = paint(cache, {"upscaler": upscaler, "strength": 0.5, "steps": 3})
    method = Image.Resampling[upscaler.upper()]
    larger = plain(cache).resize((128, 128), method)
    begun = {"picture": keep_input(catalog.home, "ada", larger), "strength": 0.5,
             "all_steps": True}  # fmt: skip
    by_hand = plain(cache, from_picture=begun, width=128, height=128, steps=3)
    assert np.array_equal(twice, np.asarray(by_hand, int))


@pytest.mark.parametrize("upscaler", LATENT_MODES)
def test_by_latents_little_strength_changes_little(cache, upscaler):
    """More differs from less by more, whatever the mode."""
    made = [
        paint(cache, {"upscaler": upscaler, "strength": strength, "steps": 2, "scale": 1.5})[0]
        for strength in (0.01, 0.1, 1)
    ]
    assert abs(made[0] - made[1]).mean() < abs(made[0] - made[2]).mean()


def test_latents_are_interpolated_and_cut_about_their_middle():
    latents = torch.arange(16.0).reshape(1, 1, 4, 4)
    doubled = enlarged_latents(latents, (8, 8), "Latent (nearest)")
    assert torch.equal(doubled, latents.repeat_interleave(2, 2).repeat_interleave(2, 3))
    wide = enlarged_latents(latents, (4, 8), "Latent (nearest-exact)")
    assert torch.equal(wide, doubled[..., 2:6, :])


def test_a_latent_upscaler_of_little_strength_is_warned_of(cache):
    events = events_of(cache, {"upscaler": "Latent", "strength": 0.4, "scale": 1.5})
    (note,) = (Message.from_json(each) for each in events[-1].data["notes"])
    assert str(note).startswith("Latent leaves pictures blurred below a strength of 0.5")
    assert events_of(cache, {"upscaler": "Lanczos", "strength": 0.4})[-1].data["notes"] == []


def test_the_second_pass_has_settings_of_its_own(cache):
    hires = {"scale": 1.5, "strength": 1, "steps": 3}
    (same,) = paint(cache, hires)
    for change in ({"prompt": "fog"}, {"negative_prompt": "fog"}, {"guidance": 1.5},
                   {"sampler": "heun"}, {"schedule": "Exponential"}, {"steps": 4}):  # fmt: skip
        (other,) = paint(cache, hires | change)
        assert not np.array_equal(other, same), change


def test_it_stops_between_the_passes(cache):
    stop = threading.Event()
    events = text_to_image.run(request_of({"scale": 1.5}, steps=2), cache, stop)
    for event in events:
        if isinstance(event, Progress) and event.step == 2:
            stop.set()
            break
    with pytest.raises(Stopped):
        list(events)


def test_a_finished_picture_is_painted_on_at_a_larger_size(cache, catalog):
    """Strength 0 in the first pass: what "Make it larger" asks for."""
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8))
    begun = {"picture": keep_input(catalog.home, "ada", photo), "strength": 0}
    for upscaler in ("Lanczos", "Latent"):
        hires = {"scale": 1.5, "strength": 0.5, "upscaler": upscaler, "steps": 4}
        events = events_of(cache, hires, from_picture=begun)
        steps = [each for each in events if isinstance(each, Progress) and each.preview]
        assert [(each.step, each.total) for each in steps] == [(i, 4) for i in range(1, 5)]
        (made,) = (each.image for each in events if isinstance(each, Picture))
        assert made.size == (96, 96)


def test_what_no_second_pass_can_be_is_refused(cache, catalog):
    picture = keep_input(catalog.home, "ada", Image.new("RGB", (64, 64)))
    masked = {"picture": picture, "mask": picture}
    with pytest.raises(BadRequest, match="A mask, or new sides, and a second pass do not go"):
        paint(cache, {}, from_picture=masked)
    with pytest.raises(BadRequest, match="would have 4096×256 pixels; at most 2048"):
        paint(cache, {"scale": 4}, width=1024)
    with pytest.raises(NotFound, match="no upscaler called Larger"):
        paint(cache, {"upscaler": "Larger"})
