"""The first noise over a picture, the colours of the result, and what lies behind a transparent
picture: A1111's definitions, by hand."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.exposure import match_histograms

from pipelines.core.errors import BadRequest, validate
from pipelines.core.events import Picture
from pipelines.core.pictures.inputs import keep_input, open_input
from pipelines.diffusion import text_to_image
from pipelines.diffusion.denoise import Beginning, denoise, signal_and_noise, timesteps_from
from pipelines.diffusion.from_picture.colours import match_colours
from pipelines.diffusion.from_picture.editing import resolve_picture
from pipelines.diffusion.from_picture.late_scheduler import LateScheduler
from pipelines.diffusion.from_picture.repainting import open_repainting
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.samplers import Samplers, make_scheduler, step_arguments
from tests.pipelines.diffusion.test_late_scheduler import Loop
from tests.pipelines.diffusion.test_late_start import CONFIG, NOISE, PICTURE

SIDE = 64


@pytest.mark.parametrize("name", ["Euler", "LMS", "DPM++ 2M", "UniPC", "DDIM", "PNDM", "LCM"])
@pytest.mark.parametrize("start", [0, 3])
def test_noise_is_multiplied_and_added_in_the_pictures_own_scale(name, start):
    """A1111: x + noise·σ, where the noise is multiplied, and further noise·extra on top of it.

    Of latents that are scaled to keep their variance, the picture's share counts for both.
    """
    sampler = Samplers().get(name)
    scheduler = make_scheduler(CONFIG, sampler, Samplers().schedule("Uniform"), [7])
    scheduler.set_timesteps(8)
    signal, noise = signal_and_noise(scheduler, timesteps_from(scheduler, start)[0])
    seen = []
    beginning = Beginning(PICTURE, start, below=PICTURE, noise_multiplier=0.5, extra_noise=0.25)
    arguments = step_arguments(scheduler, sampler, [torch.Generator().manual_seed(5)])
    predict = lambda sample, at: seen.append(sample) or NOISE  # noqa: E731
    next(denoise(predict, scheduler, NOISE, arguments, beginning))
    expected = signal * PICTURE + 0.5 * (noise + 0.25 * signal) * NOISE
    torch.testing.assert_close(seen[0], expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("kind", ["Flux", "PixArt"])
@pytest.mark.parametrize("start", [0, 4])
def test_pipelines_of_their_own_begin_with_the_same_noise(kind, start):
    loop, seen = Loop(kind, True), []
    drawn = loop.prepare_latents().clone()
    LateScheduler(loop, Beginning(PICTURE[..., :8, :8], start, None, noise_multiplier=0.5,
                                  extra_noise=0.2))  # fmt: skip

    def predict(scheduler, index, timestep, sample):
        if kind == "Flux":
            noise = float(scheduler.sigmas[index])
            seen.append((1 - noise, noise, sample))
        else:
            seen.append((*signal_and_noise(scheduler, timestep), sample))
        return sample

    loop.run(predict)
    signal, noise, sample = seen[0]
    below = signal * PICTURE[..., :8, :8] if start else 0
    noise = noise if start else 1.0  # what the pipeline itself begins with
    expected = below + 0.5 * (noise + 0.2 * signal) * drawn
    torch.testing.assert_close(sample, expected, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def photo(catalog) -> str:
    pixels = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    return keep_input(catalog.home, "ada", Image.fromarray(pixels))


def paint(cache, asked: dict, **settings) -> np.ndarray:
    fields = {"prompt": "a red mug", "model": "tiny-sd1", "steps": 2, "seed": 7, "width": SIDE,
              "height": SIDE, "sampler": "Euler"} | settings  # fmt: skip
    request = validate(TextToImageRequest, fields | {"from_picture": asked})
    events = list(text_to_image.run(request, cache, threading.Event()))
    (made,) = (each.image for each in events if isinstance(each, Picture))
    return np.asarray(made, int)


def test_without_noise_no_seed_matters_and_extra_noise_is_a_share_of_the_first(cache, photo):
    none = {"picture": photo, "strength": 0.5, "noise_multiplier": 0, "extra_noise": 0.5}
    assert np.array_equal(paint(cache, none), paint(cache, none, seed=8))
    usual = {"picture": photo, "strength": 0.5}
    more = paint(cache, usual | {"extra_noise": 0.5})
    assert not np.array_equal(more, paint(cache, usual))
    hires = {"scale": 1, "strength": 0.5}
    once = paint(cache, usual | {"strength": 0}, hires=hires)
    assert not np.array_equal(
        once, paint(cache, usual | {"strength": 0}, hires=hires | {"extra_noise": 0.5})
    )


# --- colours --------------------------------------------------------------------------------------


def flat(*colour: int, size=(8, 8)) -> Image.Image:
    return Image.new("RGB", size, colour)


def test_a_flat_result_takes_over_a_flat_pictures_colour_and_keeps_its_luminosity():
    # 0.3·200 + 0.59·100 + 0.11·100 = 130, and grey has no colour to add.
    assert match_colours(flat(200, 100, 100), flat(60, 60, 60)).getpixel((0, 0)) == (130, 130, 130)
    # Red has 76.5: 30 less than 106.5 is 106.5 - 76.5 = 30 for each, and what is above 255 goes
    # towards grey: 106.5 + (255 + 30 - 106.5)·(255 - 106.5)/(285 - 106.5) = 255.
    r, g, b = match_colours(flat(106, 107, 106), flat(255, 0, 0)).getpixel((0, 0))
    assert r == 255
    assert [g, b] == pytest.approx([106.5 + (30 - 106.5) * 148.5 / 178.5] * 2, abs=1.5)


def test_a_result_of_the_same_colours_in_other_places_stays_as_it_is():
    pixels = np.random.default_rng(3).integers(30, 220, (20, 20, 3), np.uint8)
    made = match_colours(Image.fromarray(pixels), Image.fromarray(pixels[::-1, ::-1]))
    assert abs(np.asarray(made, int) - pixels).max() <= 5, "up to the rounding of Lab"


def test_it_is_a1111s_definition_pixel_by_pixel():
    """skimage's histograms in OpenCV's Lab, and W3C's blend mode "luminosity" in plain Python."""
    rng = np.random.default_rng(2)
    painted = rng.integers(0, 256, (6, 7, 3), np.uint8)
    original = (rng.integers(0, 256, (9, 5, 3)) // 2).astype(np.uint8)
    labs = [cv2.cvtColor(each, cv2.COLOR_RGB2LAB) for each in (painted, original)]
    matched = match_histograms(*labs, channel_axis=2).astype(np.uint8)
    matched = cv2.cvtColor(matched, cv2.COLOR_LAB2RGB)

    def lum(colour):
        return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]

    def set_lum(colour, to):
        colour = [part + to - lum(colour) for part in colour]
        grey, least, most = lum(colour), min(colour), max(colour)
        if least < 0:
            colour = [grey + (part - grey) * grey / (grey - least) for part in colour]
        if most > 1:
            colour = [grey + (part - grey) * (1 - grey) / (most - grey) for part in colour]
        return [255 * part for part in colour]

    made = np.asarray(match_colours(Image.fromarray(painted), Image.fromarray(original)), int)
    for row in range(6):
        for column in range(7):
            own = [int(each) / 255 for each in painted[row, column]]
            colours = [int(each) / 255 for each in matched[row, column]]
            assert made[row, column] == pytest.approx(set_lum(colours, lum(own)), abs=0.51)


def test_a_changed_picture_has_the_colours_of_the_one_before(cache, catalog):
    green = keep_input(catalog.home, "ada", flat(40, 160, 60, size=(SIDE, SIDE)))
    asked = {"picture": green, "strength": 1}

    def tint(change: dict, **settings) -> np.ndarray:
        made = paint(cache, asked | change, **settings)
        return (made[..., 1] - made[..., 0]).mean()

    assert tint({"colour_correction": True}) > 60 > tint({})
    hires = {"scale": 1.5, "strength": 1}
    assert tint({"colour_correction": True}, hires=hires) > 60, "after the last pass, too"
    mask = Image.new("RGB", (SIDE, SIDE))
    mask.paste("white", (16, 16, 48, 48))
    masked = {"mask": keep_input(catalog.home, "ada", mask), "colour_correction": True}
    made = paint(cache, asked | masked)
    assert (made[:4] == (40, 160, 60)).all(), "what stays is not touched by it"
    assert (made[24:40, 24:40, 1] - made[24:40, 24:40, 0]).mean() > 60


# --- transparency ---------------------------------------------------------------------------------


def test_a_transparent_picture_lies_on_the_colour_that_is_asked_for(tmp_path):
    """128 of 255 opaque: 0.502·colour + 0.498·background."""
    white = Image.new("RGB", (2, 1))
    white.putpixel((0, 0), (255 * 127 // 255 + 5, 127 + 100, 127 + 10))
    white.putpixel((1, 0), (9, 8, 7))
    alpha = Image.new("L", (2, 1), 255)
    alpha.putpixel((0, 0), 128)
    id = keep_input(tmp_path, "ada", white, alpha)
    assert open_input(tmp_path, id).tobytes() == white.tobytes(), "white, unless asked otherwise"
    seen = open_input(tmp_path, id, "#00ff80")
    # 127·(255 - 0)/255 = 127 less of red, 127·(255 - 128)/255 = 63 less of blue.
    assert seen.getpixel((0, 0)) == (5, 227, 137 - 63)
    assert seen.getpixel((1, 0)) == (9, 8, 7)
    assert keep_input(tmp_path, "ada", white) != id, "an opaque one is another picture"
    asked = FromPicture(picture=id, background="#00FF80", fit="stretch")
    assert open_repainting(asked, (2, 1), tmp_path).base.getpixel((0, 0)) == (5, 227, 74)
    opaque = keep_input(tmp_path, "ada", white)
    assert open_input(tmp_path, opaque, "#00ff80").tobytes() == white.tobytes()


@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [
        ("noise_multiplier", 1.6, "1.5"),
        ("noise_multiplier", -0.1, "0"),
        ("extra_noise", 1.1, "1"),
        ("background", "green", "cannot be green: write it as #rrggbb"),
        ("background", "#12345", "cannot be #12345"),
    ],
)
def test_beyond_the_bounds_it_is_refused_with_the_limit(field, value, limit):
    with pytest.raises(BadRequest, match=limit):
        validate(FromPicture, {"picture": "0" * 32, field: value})


def test_what_edits_by_words_is_given_no_noise_of_the_pictures(catalog):
    entry = catalog.get("flux2-klein")
    asked = FromPicture(picture="0" * 32, edit=True, noise_multiplier=0.5, extra_noise=0.5,
                        colour_correction=True)  # fmt: skip
    settled = resolve_picture(asked, entry)
    assert (settled.noise_multiplier, settled.extra_noise) == (1, 0)
    assert settled.colour_correction
