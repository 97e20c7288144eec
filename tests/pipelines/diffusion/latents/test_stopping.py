"""A job stops within the autoencoder's work too, and nobody else's stops with it."""

from __future__ import annotations

import shutil
import threading

import pytest
import torch
from PIL import Image

from pipelines.core.errors import Stopped, validate
from pipelines.diffusion import loading, text_to_image
from pipelines.diffusion.latents.coding import decode, encode_picture
from pipelines.diffusion.latents.stopping import watch_stop
from pipelines.diffusion.loading import load
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.resolving import resolve
from pipelines.diffusion.samplers import Samplers
from pipelines.models.catalog import Catalog


@pytest.fixture
def model(twin_folder, tmp_path, monkeypatch):
    """A tiny model that codes all that is larger than 64×64 in tiles."""
    shutil.copytree(twin_folder("sd1"), tmp_path / "models" / "twin")
    monkeypatch.setattr(loading, "_UNTILED_PIXELS", 64 * 64)
    return load(Catalog(tmp_path).get("twin"), "cpu", lambda *note: None, True, tmp_path)


def count_calls(part, monkeypatch, stop=None, at=0) -> list[int]:
    """The calls of the encoder or decoder; in the one of number ``at`` the flag is set."""
    calls, forward = [], part.forward

    def record(*given, **named):
        calls.append(1)
        if stop is not None and len(calls) == at:
            stop.set()
        return forward(*given, **named)

    monkeypatch.setattr(part, "forward", record)
    return calls


def test_a_large_picture_stops_between_the_tiles_that_it_is_decoded_in(model, monkeypatch):
    latents, stop = torch.zeros(1, 4, 24, 24), threading.Event()
    with monkeypatch.context() as patched:
        tiles = count_calls(model.pipe.vae.decoder, patched)
        decode(model, latents)
    tiles = len(tiles)
    assert tiles > 3
    with monkeypatch.context() as patched, watch_stop(stop):
        calls = count_calls(model.pipe.vae.decoder, patched, stop, at=tiles - 1)
        with pytest.raises(Stopped):
            decode(model, latents)
    assert len(calls) == tiles - 1
    assert not any(each._forward_pre_hooks for each in model.pipe.vae.modules())


def test_a_large_picture_stops_while_it_is_encoded(model, monkeypatch):
    stop, picture = threading.Event(), Image.effect_noise((192, 192), 80).convert("RGB")
    calls = count_calls(model.pipe.vae.encoder, monkeypatch, stop, at=2)
    with watch_stop(stop), pytest.raises(Stopped):
        encode_picture(model, picture)
    assert len(calls) == 2


def test_a_job_is_stopped_while_its_picture_is_decoded(model, monkeypatch):
    stop = threading.Event()

    def decode_late(*given):
        stop.set()  # after the last look at it between steps
        return decode(*given)

    monkeypatch.setattr(text_to_image, "decode", decode_late)
    asked = {"prompt": "a red mug", "model": "twin", "steps": 1, "width": 64, "height": 64}
    settings = resolve(validate(TextToImageRequest, asked), model.entry, Samplers())
    with pytest.raises(Stopped):
        list(text_to_image.paint(model, settings, stop))


def test_another_thread_at_the_same_autoencoder_goes_on(model):
    """As Live, which paints beside the queue, has a flag of its own."""
    latents = encode_picture(model, Image.new("RGB", (128, 128), "red"))
    stop, made = threading.Event(), []
    stop.set()
    with watch_stop(stop):
        with pytest.raises(Stopped):
            decode(model, latents)
        thread = threading.Thread(target=lambda: made.append(decode(model, latents)))
        thread.start()
        thread.join()
    assert made[0].shape == (1, 3, 128, 128)
    decode(model, latents)
