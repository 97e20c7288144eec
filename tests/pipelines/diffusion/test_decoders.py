"""Fast decoders: who decodes, and that what they decode is what diffusers' own class does."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from weakref import WeakKeyDictionary

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny

from pipelines.core.errors import Unavailable
from pipelines.core.events import Picture, Result
from pipelines.core.paths import HUB_FOLDER
from pipelines.diffusion.latents import decoders, preview
from pipelines.diffusion.latents.coding import decode
from pipelines.diffusion.latents.decoders import choose_decoder, decoder_of, fast_decoder
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.text_to_image import notes_on, run
from tests.conftest import TINY

WIDTHS = {"encoder_block_out_channels": (4,) * 4, "decoder_block_out_channels": (4,) * 4}
BLOCKS = {"num_encoder_blocks": (1,) * 4, "num_decoder_blocks": (1,) * 4}


@pytest.fixture(autouse=True)
def nothing_is_loaded(monkeypatch):
    """The tests share a model, and each has a decoder of its own."""
    monkeypatch.setattr(decoders, "_loaded", WeakKeyDictionary())
    monkeypatch.setattr(preview, "_maps", WeakKeyDictionary())


@pytest.fixture
def bring(monkeypatch, tmp_path):
    """``bring(channels)``: from now on TAESD is here, but small and with random weights."""

    def bring(channels: int = 4) -> AutoencoderTiny:
        torch.manual_seed(5)
        vae = AutoencoderTiny(**WIDTHS, **BLOCKS, latent_channels=channels).eval()
        vae.save_pretrained(tmp_path / HUB_FOLDER / "madebyollin--taesd")
        find = decoders.find_decoder
        monkeypatch.setattr(decoders, "find_decoder", lambda entry, home: find(entry, tmp_path))
        return vae

    return bring


def _events(cache, **settings):
    fields = {"prompt": "a red mug", "model": TINY, "width": 64, "height": 64, "seed": 1}
    request = TextToImageRequest(**{**fields, "steps": 2, **settings})
    return list(run(request, cache, threading.Event()))


def _picture(events) -> Picture:
    return next(event for event in events if isinstance(event, Picture))


def _pixels(events) -> np.ndarray:
    return np.asarray(_picture(events).image, int)


def test_what_it_decodes_is_what_diffusers_decodes(bring, cache):
    """Tiny autoencoders read the denoiser's own scale, and give −1 … 1."""
    vae, latents = bring(), torch.randn(1, 4, 8, 8)
    with cache.lease(TINY) as model, torch.inference_mode():
        decoded = decode(model, latents, fast_decoder(model))
        expected = (vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(decoded, expected)


def test_few_steps_on_a_processor_are_decoded_fast_where_the_decoder_is_here(bring, cache):
    plain = _events(cache)
    assert _picture(plain).request.decoder == "auto"
    bring()
    fast, full = _events(cache), _events(cache, decoder="full")
    assert _picture(fast).request.decoder == "fast", "the picture says so, to be painted again"
    assert np.array_equal(_pixels(full), _pixels(plain)), "nothing else has changed"
    assert np.abs(_pixels(fast) - _pixels(plain)).max() > 20
    more = _events(cache, steps=5)
    assert _picture(more).request.decoder == "auto"
    asked = _events(cache, steps=5, decoder="fast")
    assert _picture(asked).request.decoder == "fast"
    assert np.abs(_pixels(asked) - _pixels(more)).max() > 20


def test_on_a_gpu_only_what_is_asked_for_is_decoded_fast(bring, cache):
    bring()
    with cache.lease(TINY) as model:
        gpu = SimpleNamespace(**{**vars(model), "family": model.family, "device": "cuda"})
        gpu.pipe = model.pipe
        asked = TextToImageRequest(prompt="", steps=2)
        assert choose_decoder(gpu, asked) == "auto"


def test_a_decoder_that_is_asked_for_and_cannot_be_had_is_named(cache):
    with pytest.raises(Unavailable, match="TAESD is not on this machine"):
        _events(cache, decoder="fast")


def test_latents_of_other_channels_are_decoded_by_the_models_own(bring, cache):
    bring(channels=16)
    assert _picture(_events(cache)).request.decoder == "auto"


def test_a_model_without_a_fast_decoder_says_that_it_was_left_out(bring, cache, monkeypatch):
    bring()
    with cache.lease(TINY) as model:
        entry = model.entry.model_copy(update={"family": "sd1"})
        monkeypatch.setattr(decoders, "decoder_of", lambda family: None)
        settings = TextToImageRequest(prompt="", steps=9, guidance=5)
        asked = settings.model_copy(update={"decoder": "fast"})
        assert choose_decoder(model, asked) == "auto"
        (note,) = notes_on(model, asked, settings)
    assert note.values == {"field": "Decoder", "name": entry.title}


def test_a_few_step_model_without_its_decoder_says_what_would_help(bring, cache, monkeypatch):
    with cache.lease(TINY) as model:
        few = model.entry.defaults.model_copy(update={"steps": 4})
        monkeypatch.setattr(model, "entry", model.entry.model_copy(update={"defaults": few}))
        (result,) = [event for event in _events(cache) if isinstance(event, Result)]
        assert [note["values"].get("decoder") for note in result.data["notes"]] == ["TAESD"]
        bring()
        (result,) = [event for event in _events(cache) if isinstance(event, Result)]
        assert result.data["notes"] == []


def test_previews_are_fitted_by_it(bring, cache, monkeypatch):
    bring()
    with cache.lease(TINY) as model:
        monkeypatch.setattr(model.pipe.vae, "decode", lambda *_, **__: 1 / 0)
        assert _picture(_events(cache)).request.decoder == "fast"


def test_each_family_has_one_decoder_at_most():
    entries = decoders._entries(decoders.PRESETS)
    families = [family for entry in entries for family in entry.families]
    assert len(families) == len(set(families))
    assert isinstance(decoder_of("sd2"), decoders.DecoderEntry)
