"""A second pass by a model of its own: tiny random Stable Diffusions, and one of another family."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image

from pipelines.core.cache import ModelCache
from pipelines.core.errors import BadRequest, NotFound, Stopped, validate
from pipelines.core.events import Picture, Progress
from pipelines.core.pictures.inputs import keep_input
from pipelines.diffusion import text_to_image
from pipelines.diffusion.loading import load
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.resolving import resolve
from pipelines.diffusion.samplers import Samplers
from pipelines.models.catalog import Catalog


@pytest.fixture(scope="module")
def home(tmp_path_factory, twin_folder):
    """``one`` and ``two``, whose U-Nets differ, and ``other``, a Stable Diffusion 3."""
    home = tmp_path_factory.mktemp("second")
    for name, family in (("one", "sd1"), ("two", "sd1"), ("other", "sd3")):
        shutil.copytree(twin_folder(family), home / "models" / name)
    unet = UNet2DConditionModel.from_pretrained(home / "models" / "two" / "unet")
    torch.manual_seed(3)
    with torch.no_grad():
        for weights in unet.parameters():
            weights.add_(torch.randn_like(weights), alpha=0.05)
    unet.save_pretrained(home / "models" / "two" / "unet")
    return home


@pytest.fixture(scope="module")
def cache(home) -> ModelCache:
    """There is room for one of the models at a time."""

    def load_by_name(name, device, notes):
        return load(Catalog(home).get(name), device, notes, offline=True, home=home)

    with ModelCache(load_by_name, "cpu", 2**30).lease("one") as model:
        room = model.nbytes * 3 // 2
    return ModelCache(load_by_name, "cpu", room, home=home)


def events_of(cache, stop=None, **settings) -> list:
    base = {"prompt": "a red mug", "model": "one", "steps": 2, "seed": 7, "width": 64,
            "height": 64, "sampler": "Euler"}  # fmt: skip
    request = validate(TextToImageRequest, base | settings)
    return list(text_to_image.run(request, cache, stop or threading.Event()))


def paint(cache, **settings) -> list[Picture]:
    return [each for each in events_of(cache, **settings) if isinstance(each, Picture)]


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(picture.image, int)


HIRES = {"scale": 1.5, "strength": 0.5, "steps": 3, "model": "two"}


def test_the_second_model_paints_on_what_the_first_has_painted(cache, home):
    (made,) = paint(cache, hires=HIRES)
    (first,) = paint(cache)
    larger = keep_input(home, "ada", first.image.resize((96, 96), Image.Resampling.LANCZOS))
    begun = {"picture": larger, "strength": 0.5, "all_steps": True}
    (by_hand,) = paint(cache, model="two", from_picture=begun, width=96, height=96, steps=3)
    assert np.array_equal(pixels(made), pixels(by_hand))
    (same,) = paint(cache, hires=HIRES | {"model": None})
    assert not np.array_equal(pixels(made), pixels(same))
    assert [entry.name for entry in cache.list_loaded()] == ["one"], "there is room for one"


def test_its_file_says_both_models_and_paints_it_again(cache):
    together = paint(cache, hires=HIRES, batch_size=2, batch_count=2)
    assert [each.request.seed for each in together] == [7, 8, 9, 10]
    third = together[2]
    (again,) = paint(cache, **third.request.model_dump())
    assert abs(pixels(again) - pixels(third)).max() <= 2
    with cache.lease("one") as one:
        assert third.parameters["Model hash"] == one.hash
    with cache.lease("two") as two:
        assert third.parameters["Hires checkpoint"] == f"two [{two.hash}]"
    assert third.request.hires.model == "two"


def test_a_model_of_another_family_has_a_sampler_and_a_guidance_of_its_own(cache, home):
    hires = HIRES | {"model": "other", "upscaler": "Latent"}
    (made,) = paint(cache, hires=hires, negative_prompt="fog")
    assert made.image.size == (96, 96)
    assert made.request.hires.guidance == Catalog(home).get("other").defaults.guidance
    assert (made.request.sampler, made.request.hires.sampler) == ("Euler", None)
    (again,) = paint(cache, **made.request.model_dump())
    assert np.array_equal(pixels(again), pixels(made))
    back = paint(cache, model="other", sampler=None, hires=HIRES)[0]
    assert back.request.hires.sampler == Catalog(home).get("one").defaults.sampler


def test_both_passes_are_one_progress_and_it_stops_between_them(cache):
    seen = [each for each in events_of(cache, hires=HIRES, batch_count=2)
            if isinstance(each, Progress) and each.preview is not None]  # fmt: skip
    steps = [each.step / each.total for each in seen]
    assert steps == sorted(steps)
    # Of both batches: 2 steps of 64 by 64 pixels, then 3 of 96 by 96.
    first = 2 * 64**2 / (2 * 64**2 + 3 * 96**2)
    shares = [
        *(first * n / 4 for n in range(1, 5)),
        *(first + (1 - first) * n / 6 for n in range(1, 7)),
    ]
    assert steps == pytest.approx(shares, abs=0.002)
    assert str(seen[4].words) == "Step 1 of 6"
    stop, painted = threading.Event(), []
    settings = {"prompt": "a red mug", "model": "one", "steps": 2, "seed": 7, "width": 64,
                "height": 64, "hires": HIRES}  # fmt: skip
    events = text_to_image.run(TextToImageRequest(**settings), cache, stop)
    for event in events:
        painted.append(event)
        if isinstance(event, Progress) and str(event.words) == "Step 2 of 2":
            stop.set()
            break
    with pytest.raises(Stopped):
        painted += events
    assert not [each for each in painted if isinstance(each, Picture)]


def test_what_cannot_be_done_is_said_before_anything_is_painted(home, cache):
    with pytest.raises(NotFound, match="There is no model called three"):
        paint(cache, hires=HIRES | {"model": "three"})
    catalog, samplers = Catalog(home), Samplers()
    asked = TextToImageRequest(prompt="", model="one", detail_fix={}, hires=HIRES)
    assert resolve(asked, catalog.get("one"), samplers, catalog.get("two")).hires.model == "two"
    with pytest.raises(BadRequest, match="Details cannot be fixed after a second pass by other"):
        resolve(asked, catalog.get("one"), samplers, catalog.get("other"))
    with pytest.raises(BadRequest, match="only edits pictures by words"):
        resolve(asked, catalog.get("one"), samplers, catalog.get("qwen-image-edit"))
    own = TextToImageRequest(prompt="", model="one", hires={"model": "ONE"})
    assert resolve(own, catalog.get("one"), samplers, catalog.get("one")).hires.model is None
