"""Fast decoders: who decodes, and that what they decode is what diffusers' own class does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny

from pipelines.core.cache import ModelCache
from pipelines.core.errors import Unavailable
from pipelines.core.events import Picture, Result
from pipelines.core.paths import HUB_FOLDER
from pipelines.diffusion.latents import decoders
from pipelines.diffusion.latents.coding import decode
from pipelines.diffusion.latents.decoders import choose_decoder, decoder_of, fast_decoder
from pipelines.diffusion.loading import load
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.text_to_image import run
from pipelines.models.catalog import Catalog
from tests.conftest import TINY

WIDTHS = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}


def write_tiny_decoder(home, channels: int = 4) -> AutoencoderTiny:
    """TAESD as it lies in a home folder after its download, but small and with random weights."""
    torch.manual_seed(5)
    vae = AutoencoderTiny(**WIDTHS, latent_channels=channels).eval()
    folder = home / HUB_FOLDER / "madebyollin--taesd"
    vae.save_pretrained(folder)
    return vae


@pytest.fixture
def home(tmp_path, twin_folder):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / TINY).symlink_to(twin_folder("sd1"), target_is_directory=True)
    return tmp_path


@pytest.fixture
def cache(home) -> Iterator[ModelCache]:
    catalog = Catalog(home)

    def load_by_name(name, device, notes):
        return load(catalog.get(name), device, notes, offline=True, home=home)

    cache = ModelCache(load_by_name, "cpu", 2**30, home=home, offline=True)
    yield cache
    cache.clear()


def _events(cache, **settings):
    fields = {"prompt": "a red mug", "model": TINY, "width": 64, "height": 64, "seed": 1}
    request = TextToImageRequest(**{**fields, "steps": 2, **settings})
    return list(run(request, cache, threading.Event()))


def _picture(events) -> Picture:
    return next(event for event in events if isinstance(event, Picture))


def _pixels(events) -> np.ndarray:
    return np.asarray(_picture(events).image, int)


def test_what_it_decodes_is_what_diffusers_decodes(home, cache):
    """Tiny autoencoders read the denoiser's own scale, and give −1 … 1."""
    vae, latents = write_tiny_decoder(home), torch.randn(1, 4, 8, 8)
    with cache.lease(TINY) as model, torch.inference_mode():
        decoded = decode(model, latents, fast_decoder(model))
        expected = (vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(decoded, expected)


def test_few_steps_on_a_processor_are_decoded_fast_where_the_decoder_is_here(home, cache):
    plain = _events(cache)
    assert _picture(plain).request.decoder == "auto"
    cache.clear()
    write_tiny_decoder(home)
    fast, full = _events(cache), _events(cache, decoder="full")
    assert _picture(fast).request.decoder == "fast", "the picture says so, to be painted again"
    assert np.array_equal(_pixels(full), _pixels(plain)), "nothing else has changed"
    assert np.abs(_pixels(fast) - _pixels(plain)).max() > 20
    more = _events(cache, steps=5)
    assert _picture(more).request.decoder == "auto"
    asked = _events(cache, steps=5, decoder="fast")
    assert _picture(asked).request.decoder == "fast"
    assert np.abs(_pixels(asked) - _pixels(more)).max() > 20


def test_on_a_gpu_only_what_is_asked_for_is_decoded_fast(home, cache):
    write_tiny_decoder(home)
    with cache.lease(TINY) as model:
        gpu = SimpleNamespace(**{**vars(model), "family": model.family, "device": "cuda"})
        gpu.pipe = model.pipe
        asked = TextToImageRequest(prompt="", steps=2)
        assert choose_decoder(gpu, asked) == "auto"


def test_a_decoder_that_is_asked_for_and_cannot_be_had_is_named(cache):
    with pytest.raises(Unavailable, match="TAESD is not on this machine"):
        _events(cache, decoder="fast")


def test_latents_of_other_channels_are_decoded_by_the_models_own(home, cache):
    write_tiny_decoder(home, channels=16)
    assert _picture(_events(cache)).request.decoder == "auto"


def test_a_family_without_a_decoder_says_that_it_was_left_out(home, twin_folder):
    assert decoder_of("z-image") is None
    name = "twin pixart"
    (home / "models" / name).symlink_to(twin_folder("pixart"), target_is_directory=True)
    catalog = Catalog(home)
    cache = ModelCache(
        lambda name, device, notes: load(catalog.get(name), device, notes, True, home),
        "cpu",
        2**30,
        home=home,
        offline=True,
    )
    events = _events(cache, model=name, decoder="fast")
    (result,) = [event for event in events if isinstance(event, Result)]
    assert "Decoder was left out" in str(result.data["notes"]) or any(
        note["values"].get("field") == "Decoder" for note in result.data["notes"]
    )


def test_a_few_step_model_without_its_decoder_says_what_would_help(home, cache, monkeypatch):
    with cache.lease(TINY) as model:
        few = model.entry.defaults.model_copy(update={"steps": 4})
        monkeypatch.setattr(model, "entry", model.entry.model_copy(update={"defaults": few}))
        (result,) = [event for event in _events(cache) if isinstance(event, Result)]
        assert [note["values"].get("decoder") for note in result.data["notes"]] == ["TAESD"]
        write_tiny_decoder(home)
        (result,) = [event for event in _events(cache) if isinstance(event, Result)]
        assert result.data["notes"] == []


def test_previews_are_fitted_by_it(home, cache, monkeypatch):
    write_tiny_decoder(home)
    with cache.lease(TINY) as model:
        monkeypatch.setattr(model.pipe.vae, "decode", lambda *_, **__: 1 / 0)
        assert _picture(_events(cache)).request.decoder == "fast"


def test_each_family_has_one_decoder_at_most():
    entries = decoders._entries(decoders.PRESETS)
    families = [family for entry in entries for family in entry.families]
    assert len(families) == len(set(families))
    assert isinstance(decoder_of("sd2"), decoders.DecoderEntry)
