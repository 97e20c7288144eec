"""Models made for inpainting, on tiny random ones; diffusers' own pipelines are the oracle."""

from __future__ import annotations

import json
import shutil
import threading

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image

from pipelines.core.errors import BadRequest
from pipelines.core.events import Picture
from pipelines.core.pictures.inputs import keep_input
from pipelines.diffusion import text_to_image
from pipelines.diffusion.loading import load
from pipelines.diffusion.openvino.unet import worth_it
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.resolving import resolve
from pipelines.diffusion.samplers import Samplers
from pipelines.dreambooth import preflight
from pipelines.dreambooth.requests import TrainingRequest
from pipelines.models.catalog import Catalog
from tests.original_layout import save_single_file
from tests.twins import sd1, sdxl

BOX = (16, 24, 48, 56)
ORACLES = {"sd1": diffusers.StableDiffusionInpaintPipeline,
           "sdxl": diffusers.StableDiffusionXLInpaintPipeline}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """``models(family)``: a folder as such models are published, loaded once."""
    home, loaded = tmp_path_factory.mktemp("inpainting"), {}

    def model(family):
        if family not in loaded:
            torch.manual_seed(5)
            folder = home / "models" / f"tiny {family}"
            pipe = {"sd1": sd1, "sdxl": sdxl}[family](in_channels=9, out_channels=4)
            pipe.save_pretrained(folder)
            index = folder / "model_index.json"
            written = json.loads(index.read_text()) | {"_class_name": ORACLES[family].__name__}
            index.write_text(json.dumps(written))
            entry = Catalog(home).get(f"tiny {family}")
            loaded[family] = load(entry, "cpu", lambda *note: None, offline=True, home=home)
        return loaded[family]

    return model


def picture_of(seed: int = 1) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8))


def mask_of(box=BOX) -> Image.Image:
    mask = Image.new("RGB", (64, 64))
    mask.paste("white", box)
    return mask


def paint(model, mask: Image.Image | None = None, **settings) -> list[np.ndarray]:
    asked = {"picture": keep_input(model.home, "ada", picture_of()), "strength": 1, "mask_blur": 0}
    if mask is not None:
        asked["mask"] = keep_input(model.home, "ada", mask)
    asked |= settings.pop("asked", {})
    if settings.pop("words_alone", False):
        asked = None
    fields = {"prompt": "a red mug", "model": model.entry.name, "width": 64, "height": 64,
              "steps": 3, "seed": 5, "guidance": 3.0, "sampler": "Euler",
              "schedule": "Uniform"} | settings  # fmt: skip
    request = resolve(TextToImageRequest(**fields, from_picture=asked), model.entry, Samplers())
    events = text_to_image.paint(model, request, threading.Event())
    return [np.asarray(each.image, int) for each in events if isinstance(each, Picture)]


def record_inputs(model, monkeypatch) -> list[torch.Tensor]:
    """What its UNet is called with from now on."""
    seen, forward = [], model.pipe.unet.forward
    monkeypatch.setattr(
        model.pipe.unet, "forward", lambda x, *a, **k: seen.append(x.clone()) or forward(x, *a, **k)
    )
    return seen


def by_diffusers(model, family: str, mask: Image.Image) -> Image.Image:
    parts = {name: part for name, part in model.pipe.components.items() if name != "scheduler"}
    euler = diffusers.EulerDiscreteScheduler.from_config(
        model.pipe.scheduler.config, timestep_spacing="linspace"
    )
    options = {"requires_safety_checker": False} if family == "sd1" else {}
    pipe = ORACLES[family](scheduler=euler, **parts, **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        "a red mug", image=picture_of(), mask_image=mask, strength=1.0, guidance_scale=3.0,
        width=64, height=64, num_inference_steps=3, generator=torch.Generator().manual_seed(5),
    ).images[0]  # fmt: skip


@pytest.mark.parametrize("family", ["sd1", pytest.param("sdxl", marks=pytest.mark.deep)])
def test_the_unet_is_shown_what_diffusers_shows_it(models, monkeypatch, family):
    model = models(family)
    assert model.entry.inpaints
    monkeypatch.setattr(
        DiagonalGaussianDistribution, "sample", lambda self, *_: self.mode()
    )  # theirs draws
    seen = record_inputs(model, monkeypatch)
    paint(model, mask_of())
    ours = seen[0]
    seen.clear()
    by_diffusers(model, family, mask_of())
    torch.testing.assert_close(ours, seen[0], atol=2e-3, rtol=1e-3)
    assert ours[0, 4].mean() == 0.25, "a quarter of the latents is painted"
    # Where all is painted, nothing of the picture is kept, and the pictures are the same.
    everything = mask_of((0, 0, 64, 64))
    theirs = np.asarray(by_diffusers(model, family, everything), int)
    assert abs(paint(model, everything)[0] - theirs).max() <= 1


def test_without_a_mask_all_is_hidden_with_or_without_a_picture(models, monkeypatch):
    model = models("sd1")
    seen = record_inputs(model, monkeypatch)
    (alone,) = paint(model, words_alone=True)
    (begun,) = paint(model)
    assert np.array_equal(alone, begun)
    (hidden,) = paint(model, mask_of((0, 0, 64, 64)))
    assert np.array_equal(alone, hidden)
    assert (seen[0][:, 4] == 1).all()


def test_the_rest_stays_and_one_of_a_batch_is_the_same_alone(models):
    model = models("sd1")
    both = paint(model, mask_of(), batch_size=2, guidance=1.0)
    (second,) = paint(model, mask_of(), seed=6, guidance=1.0)
    assert abs(both[1] - second).max() <= 1
    kept = np.asarray(mask_of())[..., 0] == 0
    assert np.array_equal(both[0][kept], np.asarray(picture_of(), int)[kept])
    assert not np.array_equal(both[0], both[1])


def test_the_weight_says_how_far_the_picture_is_hidden_below_the_mask(models, monkeypatch):
    model = models("sd1")
    seen = record_inputs(model, monkeypatch)
    shown = {}
    for weight in (0.0, 0.5, 1.0):
        seen.clear()
        paint(model, mask_of(), asked={"mask_weight": weight})
        shown[weight] = seen[0][0, 5:]
    plain = {**shown}
    assert not torch.equal(plain[0.0], plain[1.0])
    assert not torch.equal(plain[0.5], plain[1.0])
    seen.clear()
    paint(model, mask_of((0, 0, 8, 8)), asked={"mask_weight": 0.0})
    assert torch.equal(seen[0][0, 5:], plain[0.0]), "nothing is hidden, whatever the mask"


def test_a_single_file_of_one_paints_as_its_folder(models, tmp_path):
    model = models("sd1")
    shutil.copytree(model.entry.source.folder, tmp_path / "configs" / "sd1")
    config = tmp_path / "configs" / "sd1" / "unet" / "config.json"
    plain = json.loads(config.read_text()) | {"in_channels": 4}  # the shipped one is of the others
    config.write_text(json.dumps(plain))
    (tmp_path / "models").mkdir()
    save_single_file(model.pipe, tmp_path / "models" / "single.safetensors")
    entry = Catalog(tmp_path, configs=tmp_path / "configs").get("single")
    assert entry.inpaints
    single = load(entry, "cpu", lambda *note: None, True, tmp_path, configs=tmp_path / "configs")
    (one,), (other,) = paint(model, mask_of()), paint(single, mask_of())
    assert abs(one - other).max() <= 1


def test_such_models_stay_with_torch_and_are_not_taught(models):
    model = models("sd1")
    assert not worth_it(model.pipe.unet, "cpu")
    request = TrainingRequest(
        subject="0" * 32, training="1" * 32, model=model.entry.name, name="Mine",
        identifier="sks", class_word="mug",
    )  # fmt: skip
    with pytest.raises(BadRequest, match="cannot be taught"):
        preflight.check(request, model.entry, 10, "cpu")


def test_other_models_do_not_speak_of_the_weight(catalog):
    asked = {"picture": "0" * 32, "mask": "1" * 32, "mask_weight": 0.3}
    request = TextToImageRequest(prompt="a", model="tiny-sd1", from_picture=asked)
    settings = resolve(request, catalog.get("tiny-sd1"), Samplers())
    assert settings.from_picture.mask_weight == 1
