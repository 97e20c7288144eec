"""Pictures that are changed by families whose denoising loop is diffusers' own.

Without a model: a true prediction must lead back to the picture. With each family's tiny twin: what
begins late, or is kept, is that family's own arrangement of the picture's latents.
"""

from __future__ import annotations

import shutil
import threading

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from pipelines.core.errors import BadRequest, NotFound
from pipelines.core.events import Picture, Progress
from pipelines.core.pictures.inputs import keep_input
from pipelines.diffusion import diffusers_pipeline, text_to_image
from pipelines.diffusion.denoise import Beginning, prediction_type, signal_and_noise
from pipelines.diffusion.from_picture.late_scheduler import LateScheduler
from pipelines.diffusion.hires.second_pass import enlarged_latents
from pipelines.diffusion.latents.coding import decode, encode_picture
from pipelines.diffusion.loading import load
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.resolving import resolve
from pipelines.diffusion.samplers import Samplers
from pipelines.models.catalog import Catalog, Defaults
from tests.twins import PAINTING_TWINS

SHAPE = (1, 4, 8, 8)
# Patches with statistics, an autoencoder of videos; every other one in the deep suite only.
FEW = ("sd3", "flux2", "qwenimage")
FAMILIES = [
    pytest.param(family, marks=() if family in FEW else pytest.mark.deep)
    for family in PAINTING_TWINS
    if family not in ("sd1", "sd2", "sdxl")
]
# Their twins' latents are small against even the noise of the last of 500 steps.
SMALL = {"pixart": 0.7, "hunyuan": 0.5, "auraflow": 0.3}
STOCHASTIC = {"hunyuan"}  # DDPM
SCHEDULERS = {
    "Flux": (diffusers.FlowMatchEulerDiscreteScheduler, {}),
    "SD 3": (diffusers.FlowMatchEulerDiscreteScheduler, {"shift": 3.0}),
    "Karras": (diffusers.FlowMatchEulerDiscreteScheduler, {"use_karras_sigmas": True}),
    "Heun": (diffusers.FlowMatchHeunDiscreteScheduler, {}),
    "Sana": (
        diffusers.DPMSolverMultistepScheduler,
        {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0},
    ),
    "PixArt": (diffusers.DPMSolverMultistepScheduler, {}),
    "Hunyuan": (diffusers.DDPMScheduler, {"prediction_type": "v_prediction", "clip_sample": False}),
}


def draw_noise(seed: int, shape=SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


PICTURE = draw_noise(1)


class Loop:
    """A pipeline of which there is only the loop; ``latents_first``: Flux's order, else SD 3's."""

    def __init__(self, kind: str, latents_first: bool) -> None:
        made, options = SCHEDULERS[kind]
        self.scheduler, self.latents_first = made(**options), latents_first

    def prepare_latents(self) -> torch.Tensor:
        return draw_noise(2)

    def run(self, predict, steps: int = 10) -> torch.Tensor:
        latents = self.prepare_latents() if self.latents_first else None
        self.scheduler.set_timesteps(steps)
        latents = self.prepare_latents() if latents is None else latents
        for index, timestep in enumerate(self.scheduler.timesteps):
            prediction = predict(self.scheduler, index, timestep, latents)
            latents = self.scheduler.step(prediction, timestep, latents, return_dict=False)[0]
        return latents


def true_prediction(scheduler, index, timestep, sample):
    """What leads straight to the picture: the noise in ``sample``, as the scheduler wants it."""
    if prediction_type(scheduler) == "flow_prediction":
        noise = float(scheduler.sigmas[index])
        return (sample - PICTURE) / noise
    signal, noise = signal_and_noise(scheduler, timestep)
    epsilon = (sample - signal * PICTURE) / noise
    v = signal * epsilon - noise * PICTURE
    return v if scheduler.config.prediction_type == "v_prediction" else epsilon


@pytest.mark.parametrize("latents_first", [True, False])
@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_late_start_sees_the_picture_with_just_that_steps_noise(kind, latents_first):
    for start in (1, 5, 9):
        loop, seen = Loop(kind, latents_first), []
        LateScheduler(loop, Beginning(PICTURE, start))

        def predict(scheduler, index, timestep, sample, seen=seen):
            signal, noise = (
                (1 - float(scheduler.sigmas[index]), float(scheduler.sigmas[index]))
                if prediction_type(scheduler) == "flow_prediction"
                else signal_and_noise(scheduler, timestep)
            )
            seen.append((sample - signal * PICTURE - noise * draw_noise(2)).abs().max())
            return true_prediction(scheduler, index, timestep, sample)

        left = loop.run(predict)
        evaluations = (10 - start) * loop.scheduler.order - (loop.scheduler.order - 1)
        assert len(seen) == evaluations
        assert seen[0] < 1e-5
        # DDPM and this DPM++ end at the noise of their last step.
        assert (left - PICTURE).abs().max() < (0.1 if kind in ("PixArt", "Hunyuan") else 1e-4)


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_what_is_kept_is_the_pictures_whatever_the_model_predicts(kind):
    change = torch.zeros(1, 1, 8, 8)
    change[..., 4:] = 1
    for start, content in ((0, "original"), (4, "noise")):
        loop = Loop(kind, True)
        late = LateScheduler(loop, Beginning(PICTURE, start, change), content)
        left = loop.run(lambda *_: draw_noise(9))
        assert torch.equal(left[..., :4], PICTURE[..., :4])
        assert (left[..., 4:] - PICTURE[..., 4:]).abs().mean() > 0.1
        torch.testing.assert_close(late.denoised[..., :4], PICTURE[..., :4], atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def twins(twin_folder, tmp_path_factory):
    """``twins(family)``: its twin, loaded once."""
    home, loaded = tmp_path_factory.mktemp("late"), {}

    def twin(family):
        if family not in loaded:
            shutil.copytree(twin_folder(family), home / "models" / f"twin {family}")
            entry = Catalog(home).get(f"twin {family}")
            loaded[family] = load(entry, "cpu", lambda *note: None, offline=True, home=home)
            if (statistics := getattr(loaded[family].pipe.vae, "bn", None)) is not None:
                # Flux 2's; fresh ones have mean 0 and deviation 1, which hides their use.
                torch.nn.init.uniform_(statistics.running_mean)
                torch.nn.init.uniform_(statistics.running_var, 0.5, 2)
        return loaded[family]

    return twin


def picture_in(home) -> tuple[Image.Image, str]:
    across = np.linspace(0, 255, 64, dtype=np.uint8)
    pixels = np.stack([*np.meshgrid(across, across), np.full((64, 64), 90, np.uint8)], axis=-1)
    picture = Image.fromarray(pixels)
    return picture, keep_input(home, "ada", picture)


def events_on(model, asked: dict | None, **settings) -> list:
    fields = {"prompt": "a red mug", "model": model.entry.name, "width": 64, "height": 64,
              "steps": 3, "seed": 5, "guidance": 1.0}  # fmt: skip
    request = TextToImageRequest(**fields | settings | {"from_picture": asked})
    settings = resolve(request, model.entry, Samplers())
    return list(text_to_image.paint(model, settings, threading.Event()))


def paint_picture(model, asked: dict | None, **settings) -> np.ndarray:
    events = events_on(model, asked, **settings)
    return np.asarray(next(each.image for each in events if isinstance(each, Picture)), int)


@pytest.mark.parametrize("family", FAMILIES)
def test_strength_goes_from_the_picture_to_text_to_image(family, twins):
    model = twins(family)
    picture, id = picture_in(model.home)
    coded = (decode(model, encode_picture(model, picture))[0] * 255).movedim(0, -1).numpy()
    plain = paint_picture(model, None)
    assert np.array_equal(paint_picture(model, {"picture": id, "strength": 1}), plain)
    little = paint_picture(model, {"picture": id, "strength": 0.002, "all_steps": True}, steps=1)
    far = np.abs(plain - coded).mean()
    assert np.abs(little - coded).mean() < SMALL.get(family, 0.1) * far
    assert far > 2
    assert np.array_equal(paint_picture(model, {"picture": id, "strength": 0}), np.asarray(picture))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_kept_is_the_familys_own_arrangement_of_the_picture(family, twins):
    model = twins(family)
    picture, _ = picture_in(model.home)
    latents = encode_picture(model, picture)
    coded = (decode(model, latents)[0] * 255).movedim(0, -1).numpy()
    request = TextToImageRequest(prompt="a mug", model=model.entry.name, width=64, height=64,
                                 steps=2, seed=5, from_picture={"picture": "0" * 32})  # fmt: skip
    settings = resolve(request, model.entry, Samplers())
    nothing = torch.zeros(1, 1, *latents.shape[-2:])
    made = []

    def paint():
        beginning = Beginning(latents, 0, nothing)
        made.append((yield from diffusers_pipeline._one(model, settings, 5, beginning)))

    previews = [preview for _, preview in paint()]
    assert np.abs(np.asarray(made[0][0], int) - coded).max() <= 1
    assert [preview.size for preview in previews] == [(64, 64)] * 2


@pytest.mark.parametrize("family", FAMILIES)
def test_where_the_mask_is_0_every_pixel_is_the_pictures(family, twins):
    model = twins(family)
    picture, id = picture_in(model.home)
    mask = Image.new("RGB", picture.size)
    ImageDraw.Draw(mask).rectangle((20, 16, 40, 47), fill="white")
    asked = {"picture": id, "strength": 0.7, "mask": keep_input(model.home, "ada", mask),
             "mask_blur": 2, "masked_content": "noise", "area": "masked"}  # fmt: skip
    events = events_on(model, asked, batch_size=2)
    for made in (each.image for each in events if isinstance(each, Picture)):
        changed = (np.asarray(made, int) != np.asarray(picture)).any(axis=-1)
        assert changed[24:40, 26:35].mean() > 0.5
        changed[16 - 5 : 48 + 5, 20 - 5 : 41 + 5] = False
        assert not changed.any()
    steps = [each for each in events if isinstance(each, Progress) and each.note is None]
    assert (steps[-1].step, steps[-1].total) == (6, 6)  # 2 pictures, all of 3 steps each
    assert steps[-1].preview is not None


def test_the_steps_that_were_run_are_said(twins):
    model = twins("sd3")
    _, id = picture_in(model.home)
    asked = {"picture": id, "strength": 0.3}
    request = TextToImageRequest(prompt="a mug", model=model.entry.name, width=64, height=64,
                                 steps=10, from_picture=asked)  # fmt: skip
    settings = resolve(request, model.entry, Samplers())
    (note,) = text_to_image.notes_on(model, request, settings)
    assert note.values == {"run": 3, "steps": 10, "strength": 0.3}


# --- variations and second passes -----------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_variation_goes_from_the_one_seed_to_the_other(family, twins):
    model = twins(family)
    one, other = paint_picture(model, None), paint_picture(model, None, seed=9)
    whole = paint_picture(model, None, variation={"seed": 9, "strength": 1})
    # Where each step draws noise of its own, that stays the first seed's, as in A1111.
    assert np.array_equal(whole, other) == (family not in STOCHASTIC)
    assert not np.array_equal(whole, one)
    resized = {"seed": 9, "strength": 0, "width": 64, "height": 64}  # of its own size
    assert np.array_equal(paint_picture(model, None, variation=resized), one)
    wider = {"seed": 9, "strength": 0, "width": 128, "height": 64}
    assert not np.array_equal(paint_picture(model, None, variation=wider), one)
    events = events_on(model, None, variation={"seed": 8, "strength": 0.3}, batch_size=2)
    first, second = (each for each in events if isinstance(each, Picture))
    assert [each.request.variation.seed for each in (first, second)] == [8, 9]
    alone = paint_picture(model, None, variation={"seed": 9, "strength": 0.3})
    assert np.array_equal(np.asarray(second.image), alone)
    assert np.abs(alone - one).mean() > 0
    assert not np.array_equal(alone, other)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_second_pass_is_the_family_s_own_late_start_from_the_enlarged_picture(family, twins):
    model = twins(family)
    hires = {"scale": 2, "strength": 0.5, "steps": 2}
    events = events_on(model, None, hires=hires)
    (twice,) = (each for each in events if isinstance(each, Picture))
    assert (twice.image.size, twice.request.width) == ((128, 128), 64)
    steps = [each for each in events if isinstance(each, Progress) and each.preview]
    assert (steps[-1].step, steps[-1].total) == (5, 5)
    once = Image.fromarray(paint_picture(model, None).astype(np.uint8))
    larger = keep_input(model.home, "ada", once.resize((128, 128), Image.Resampling.LANCZOS))
    asked = {"picture": larger, "strength": 0.5, "all_steps": True}
    by_hand = paint_picture(model, asked, width=128, height=128, steps=2)
    assert np.array_equal(np.asarray(twice.image), by_hand)
    whole = paint_picture(model, None, hires=hires | {"strength": 1})
    assert np.array_equal(whole, paint_picture(model, None, width=128, height=128, steps=2))


@pytest.mark.parametrize("family", FAMILIES)
def test_latents_are_enlarged_in_the_family_s_own_arrangement(family, twins):
    model = twins(family)
    request = TextToImageRequest(prompt="a mug", model=model.entry.name, width=64, height=64,
                                 steps=2, seed=5)  # fmt: skip
    made = []

    def paint():
        settings = resolve(request, model.entry, Samplers())
        made.extend((yield from diffusers_pipeline._one(model, settings, 5)))

    assert len([*paint()]) >= 2
    coded = (decode(model, made[1])[0] * 255).movedim(0, -1).numpy()
    assert np.abs(np.asarray(made[0], int) - coded).max() <= 1.5
    larger = enlarged_latents(made[1], (2 * made[1].shape[-2], 2 * made[1].shape[-1]),
                              "Latent (nearest)")  # fmt: skip
    seen = (decode(model, larger)[0] * 255).movedim(0, -1).numpy()
    hires = {"upscaler": "Latent (nearest)", "strength": 0.01, "steps": 1}
    little = paint_picture(model, None, prompt="a mug", steps=2, hires=hires)
    much = paint_picture(model, None, prompt="a mug", steps=2, hires=hires | {"strength": 1})
    assert little.shape == (128, 128, 3)
    assert np.abs(little - seen).mean() < 0.7 * np.abs(much - seen).mean()


def test_what_no_second_pass_can_be_is_refused_before_it_is_queued(twins):
    entry, samplers = twins("sd3").entry, Samplers()

    def settings(entry, **hires):
        request = TextToImageRequest(prompt="a mug", model=entry.name, hires=hires,
                                     width=64, height=64)  # fmt: skip
        return resolve(request, entry, samplers).hires

    hires = settings(entry, scale=1.3)
    assert (hires.width, hires.height) == (96, 96)  # 83.2 is no whole number of patches
    assert settings(entry, scale=2).width is None
    own = entry.model_copy(update={"defaults": Defaults(steps=2, guidance=1)})
    with pytest.raises(BadRequest, match="keeps its own scheduler and schedule; leave Karras out"):
        settings(own, schedule="Karras")
    with pytest.raises(NotFound, match="Eular"):
        settings(own, sampler="Eular")
    edits = entry.model_copy(update={"family": "qwenedit"})
    assert edits.edits_only
    begun = {"picture": "0" * 32}
    request = TextToImageRequest(prompt="x", model="e", hires={}, from_picture=begun)
    with pytest.raises(BadRequest, match="only edits pictures by words, so there is no second"):
        resolve(request, edits.model_copy(update={"references": 1}), samplers)
