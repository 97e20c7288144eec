"""The model that ships with Atelier: it is there, it paints, and it paints the same every time."""

import json
import threading

import numpy as np
import pytest

from pipelines.cache import ModelCache
from pipelines.catalog import ASSETS, Catalog
from pipelines.diffusion.loading import load
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.text_to_image import run
from pipelines.events import Picture, Progress
from pipelines.toybox.vocabulary import HELD_OUT, TRAINED

STARTER = ASSETS / "starter"


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> ModelCache:
    home = tmp_path_factory.mktemp("home")
    catalog = Catalog(home)

    def loaded(name, device, notes):
        return load(catalog.get(name), device, notes, offline=True, home=home)

    return ModelCache(loaded, "cpu", 2**31)


def _paint(cache, **settings):
    request = TextToImageRequest(**{"prompt": "a red mug on a wooden floor", "steps": 8} | settings)
    events = list(run(request, cache, threading.Event()))
    pictures = [np.asarray(event.image, int) for event in events if isinstance(event, Picture)]
    return pictures, [event for event in events if isinstance(event, Progress)]


def test_it_paints_at_its_native_size_with_a_preview_at_every_step(cache):
    (picture,), progress = _paint(cache, seed=1)
    assert picture.shape == (128, 128, 3)
    assert picture.std() > 10, "not one grey"
    assert sum(event.preview is not None for event in progress) == 8


def test_a_seed_gives_the_same_picture_alone_and_in_a_batch_and_after_a_reload(cache):
    together, _ = _paint(cache, seed=5, batch_size=4)
    for offset in (0, 3):
        (alone,), _ = _paint(cache, seed=5 + offset)
        assert np.abs(alone - together[offset]).max() <= 1
    cache.clear()
    (again,), _ = _paint(cache, seed=5)
    assert np.abs(again - together[0]).max() <= 1


def test_the_fast_unet_paints_what_pytorch_paints(cache, monkeypatch):
    (fast,), _ = _paint(cache, seed=2, steps=20)
    with cache.lease("starter") as model:
        assert model.unet is not model.pipe.unet, "the CPU's fast path is on"
        monkeypatch.setattr(model, "_fast_unet", None)
        (plain,), _ = _paint(cache, seed=2, steps=20)
    psnr = -10 * np.log10(np.square(fast - plain).mean() / 255**2 + 1e-12)
    assert psnr >= 30


def test_words_decide_what_is_painted(cache):
    (night,), _ = _paint(cache, prompt="a red ball at night", seed=3)
    (snow,), _ = _paint(cache, prompt="a red ball in the snow", seed=3)
    assert snow.mean() > night.mean() + 40


def test_its_card_says_how_it_was_made():
    facts = json.loads((STARTER / "training.json").read_text())
    assert set(facts["kinds"]) <= set(TRAINED)
    assert not set(facts["kinds"]) & set(HELD_OUT)
    assert facts["base"]["samples"] > 0
    card = (STARTER / "README.md").read_text()
    assert f"{facts['base']['samples']:,}" in card, "the card speaks of other weights"
    assert "have not been measured" not in card


def test_it_stays_small():
    files = [path for path in STARTER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 100e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jsonl", ".md", ".txt"}
