"""Every family, as its tiny twin, through the engine that paints the real ones."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.core.cache import ModelCache
from pipelines.core.errors import Stopped, UserError
from pipelines.core.events import Picture, Progress
from pipelines.core.pictures.inputs import keep_input
from pipelines.diffusion import diffusers_pipeline, loading, text_to_image
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.diffusion.loading import load
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.resolving import resolve
from pipelines.diffusion.samplers import Samplers
from pipelines.models.catalog import Catalog
from tests.twins import PAINTING_TWINS as TWINS

# Atelier's own loop, two of diffusers' pipelines, one with negative prompts and one without.
FEW = ("sd1", "sd3", "flux")


def few_quickly(families, *further) -> list:
    """Cases of all families, most of them in the deep suite only."""
    return [
        pytest.param(family, *further, marks=() if family in FEW else pytest.mark.deep)
        for family in families
    ]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("families")


@pytest.fixture(scope="module")
def twins(home) -> ModelCache:
    """The twins that have been asked for, loaded once."""

    def load_twin(name, device, notes):
        return load(Catalog(home).get(name), device, notes, offline=True, home=home)

    return ModelCache(load_twin, device="cpu", budget_bytes=2**30)


@pytest.fixture(scope="module")
def run_twin(twin_folder, home, twins):
    """``run_twin(family, stop_at=…, **settings)``: the events of a run on the family's twin."""

    def run(family, stop_at=None, **settings):
        name = f"twin {family}"
        folder = home / "models" / name
        if not folder.exists():
            shutil.copytree(twin_folder(family), folder)
        request = TextToImageRequest(
            **{"prompt": "a red mug", "model": name, "width": 64, "height": 64, "steps": 2}
            | settings
        )
        stop = threading.Event()
        for event in text_to_image.run(request, twins, stop):
            if isinstance(event, Progress) and event.note is None and event.step == stop_at:
                stop.set()
            yield event

    return run


@pytest.mark.parametrize("family", TWINS)
def test_a_picture_is_the_same_alone_and_in_a_batch_and_every_step_shows(run_twin, family):
    events = list(run_twin(family, seed=3, batch_size=2))
    pictures = [event for event in events if isinstance(event, Picture)]
    steps = [event for event in events if isinstance(event, Progress) and event.note is None]
    assert [picture.image.size for picture in pictures] == [(64, 64)] * 2
    assert steps[-1].step == steps[-1].total >= 2
    assert all(step.preview is not None for step in steps)
    second = pictures[1].request.model_dump(exclude_none=True)
    (alone,) = [event for event in run_twin(family, **second) if isinstance(event, Picture)]
    difference = np.abs(np.asarray(alone.image, int) - np.asarray(pictures[1].image, int))
    assert difference.max() <= 1


@pytest.mark.parametrize("family", few_quickly(TWINS))
@pytest.mark.parametrize("part", ["denoiser", "decoder"])
def test_numbers_that_overflow_are_an_error_and_not_a_black_picture(
    run_twin, twins, monkeypatch, family, part
):
    list(run_twin(family, steps=1))
    with twins.lease(f"twin {family}") as model:
        broken = model.unet if part == "denoiser" else model.pipe.vae.decoder
        *_, weights = broken.parameters()
        monkeypatch.setattr(weights, "data", torch.full_like(weights.data, torch.nan))
        with pytest.raises(UserError, match=r"numbers overflowed with .* 3 steps") as error:
            list(run_twin(family, steps=3))
    assert "None" not in str(error.value)


def test_a_preview_of_a_part_shows_the_whole_picture(run_twin, home):
    photo = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 128, 3), np.uint8))
    mask = Image.new("RGB", photo.size)
    mask.paste("white", (10, 20, 30, 40))
    asked = FromPicture(picture=keep_input(home, "ada", photo), mask=keep_input(home, "ada", mask),
                        area="masked", mask_blur=0, strength=0.5)  # fmt: skip
    events = list(run_twin("sd3", from_picture=asked))
    shown = [each.preview for each in events if isinstance(each, Progress) and each.preview]
    assert {(each.size, each.getpixel((100, 50))) for each in shown} == {
        (photo.size, photo.getpixel((100, 50)))
    }


@pytest.mark.parametrize("family", few_quickly(TWINS))
def test_stopping_takes_effect_within_one_step(run_twin, family):
    reported = []

    def follow():
        for event in run_twin(family, stop_at=1, steps=9):
            if isinstance(event, Progress) and event.note is None:
                reported.append(event.step)

    with pytest.raises(Stopped):
        follow()
    assert reported == [1]


@pytest.mark.parametrize(
    ("family", "guidance"),
    [*few_quickly(TWINS, 20), *few_quickly(TWINS, 0.5)],
)
def test_a_negative_prompt_changes_the_picture_or_it_is_said_that_it_does_not(
    run_twin, family, guidance
):
    plain, foggy = (
        list(run_twin(family, guidance=guidance, seed=3, negative_prompt=negative))
        for negative in ("", "zzz qqq fog")
    )
    one, other = (
        next(np.asarray(event.image) for event in events if isinstance(event, Picture))
        for events in (plain, foggy)
    )
    assert plain[-1].data["notes"] == []
    assert bool(foggy[-1].data["notes"]) == np.array_equal(one, other)


# One for each kind of autoencoder, after one of those whose denoising loop is Atelier's own.
@pytest.mark.parametrize("family", ["sd1", "sd3", "flux2", "sana", "qwenimage"])
def test_large_pictures_are_decoded_in_tiles_and_small_ones_at_once(
    family, twin_folder, tmp_path, monkeypatch
):
    shutil.copytree(twin_folder(family), tmp_path / "models" / "twin")
    model = load(Catalog(tmp_path).get("twin"), "cpu", lambda *note: None, True, tmp_path)
    monkeypatch.setattr(loading, "_UNTILED_PIXELS", 128 * 128)
    vae, decoded = model.pipe.vae, []
    decode = vae.decode

    def record(latents, **options):
        decoded.append((latents.shape[-1] * model.factor, vae.use_tiling))
        return decode(latents, **options)

    monkeypatch.setattr(vae, "decode", record)
    asked = TextToImageRequest(prompt="a red mug", model="twin", steps=1, height=128)
    for width in (192, 64):
        settings = resolve(asked.model_copy(update={"width": width}), model.entry, Samplers())
        list(text_to_image.paint(model, settings, threading.Event()))
        assert decoded[-1] == (width, width == 192)
    assert decoded[0][1] is False  # the preview's


def test_flux_2s_patches_are_unpacked_as_its_own_pipeline_does(twin_folder, tmp_path):
    shutil.copytree(twin_folder("flux2"), tmp_path / "models" / "twin")
    pipe = load(Catalog(tmp_path).get("twin"), "cpu", lambda *note: None, True, tmp_path).pipe
    statistics = pipe.vae.bn  # a fresh one has mean 0 and deviation 1, which hides their use
    torch.nn.init.uniform_(statistics.running_mean)
    torch.nn.init.uniform_(statistics.running_var, 0.5, 2)
    packed = []

    def keep(_pipe, _index, _timestep, tensors):
        packed.append(tensors["latents"])
        return tensors

    settings = TextToImageRequest(prompt="a red mug", width=96, height=64, steps=2)
    expected = pipe(
        prompt=settings.prompt,
        width=96,
        height=64,
        num_inference_steps=2,
        output_type="latent",
        callback_on_step_end=keep,
    ).images
    torch.testing.assert_close(diffusers_pipeline.unpack(pipe, packed[-1], settings), expected)
