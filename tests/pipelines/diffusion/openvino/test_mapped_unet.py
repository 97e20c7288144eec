"""Large UNets, played by small ones: mapped from the home folder, without PyTorch's weights."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from pipelines.core.cache import ModelCache
from pipelines.core.events import Picture
from pipelines.diffusion import loading
from pipelines.diffusion.openvino import large
from pipelines.diffusion.openvino.large import (
    MappedUNet,
    convert_later,
    is_large,
    network_path,
    write_large_network,
)
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.text_to_image import run
from pipelines.models.catalog import Catalog
from tests.conftest import TINY
from tests.patience import PATIENCE

pytestmark = pytest.mark.openvino


@pytest.fixture(scope="module")
def converted_folder(small_unet, tmp_path_factory):
    """A UNet's folder and the network that is made of it."""
    folder = tmp_path_factory.mktemp("large")
    small_unet.save_pretrained(folder / "unet")
    write_large_network(folder / "unet", None, folder / "network.xml")
    return folder


@pytest.fixture
def stand_in(converted_folder) -> MappedUNet:
    def read():
        return UNet2DConditionModel.from_pretrained(converted_folder / "unet")

    with torch.device("meta"):
        config = UNet2DConditionModel.load_config(converted_folder / "unet")
        unet = UNet2DConditionModel.from_config(config).eval()
    return MappedUNet(unet, converted_folder / "network.xml", read, "f32")


def _inputs(rows=2, height=8, width=8):
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn(rows, 4, height, width, generator=generator)
    return sample, torch.tensor(321.0), torch.randn(rows, 77, 24, generator=generator)


def test_it_predicts_what_pytorch_predicts_without_its_weights(small_unet, stand_in):
    inputs = _inputs()
    with torch.inference_mode():
        expected = small_unet(*inputs, return_dict=False)[0]
    torch.testing.assert_close(stand_in(*inputs)[0], expected, atol=1e-4, rtol=1e-4)
    assert not stand_in.has_weights
    assert stand_in.is_ready((4, 8, 8))


def test_the_weights_are_read_for_what_it_was_not_made_for_and_given_back(small_unet, stand_in):
    stand_in(*_inputs())
    odd = _inputs(1, 7, 9)
    with torch.inference_mode():
        expected = small_unet(*odd, return_dict=False)[0]
        assert torch.equal(stand_in(*odd)[0], expected)
    assert stand_in.has_weights
    assert not stand_in.is_ready((4, 8, 8)), "the weights are not held twice"
    stand_in(*_inputs())
    assert not stand_in.has_weights


@pytest.mark.deep
def test_the_file_has_fp16_weights_where_nothing_is_lost(small_unet, converted_folder, tmp_path):
    whole = (converted_folder / "network.bin").stat().st_size
    half = UNet2DConditionModel.from_pretrained(converted_folder / "unet", dtype=torch.float16)
    half.save_pretrained(tmp_path / "unet")
    (tmp_path / "network-0.bin").write_bytes(b"by other versions")
    write_large_network(tmp_path / "unet", None, tmp_path / "network-1.xml")
    assert (tmp_path / "network-1.bin").stat().st_size < 0.6 * whole
    assert not (tmp_path / "network-0.bin").exists()


def test_only_large_plain_unets_on_a_cpu_are_mapped(small_unet, monkeypatch):
    assert not is_large(small_unet, "cpu")
    monkeypatch.setattr(large, "LARGEST_BYTES", 1000)
    assert is_large(small_unet, "cpu")
    assert not is_large(small_unet, "cuda")


def test_where_memory_is_short_nothing_is_converted(small_unet, tmp_path, monkeypatch):
    monkeypatch.setattr(large, "LineProcess", lambda *_: 1 / 0)
    monkeypatch.setattr(large, "free_memory", lambda device: 1000)
    assert convert_later(small_unet, tmp_path, None, tmp_path / "network.xml") is None


def test_its_file_is_named_by_weights_config_and_versions(small_unet, tmp_path):
    config = dict(small_unet.config)
    path = network_path(config, "0123456789", tmp_path)
    assert network_path({**config, "_name_or_path": "moved"}, "0123456789", tmp_path) == path
    assert network_path({**config, "layers_per_block": 2}, "0123456789", tmp_path) != path
    assert network_path(config, "9876543210", tmp_path) != path


@pytest.mark.deep
def test_a_process_of_its_own_converts(converted_folder, small_unet, tmp_path):
    thread = convert_later(small_unet, converted_folder / "unet", None, tmp_path / "network.xml")
    thread.join(PATIENCE)
    assert (tmp_path / "network.bin").read_bytes() == (
        converted_folder / "network.bin"
    ).read_bytes()


# --- as part of a model ---------------------------------------------------------------------------


def _paint(cache) -> np.ndarray:
    request = TextToImageRequest(
        prompt="a mug", model=TINY, width=64, height=64, steps=5, guidance=1, seed=1
    )
    (picture,) = [
        event.image
        for event in run(request, cache, threading.Event())
        if isinstance(event, Picture)
    ]
    return np.asarray(picture, int)


def test_a_model_is_loaded_anew_without_the_weights_once_the_network_is_there(
    twin_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(large, "LARGEST_BYTES", 1000)
    monkeypatch.setattr(loading, "LARGEST_BYTES", 1000)
    begun = []
    monkeypatch.setattr(loading, "convert_later", lambda *given: begun.append(given) or True)
    shutil.copytree(twin_folder("sd1"), tmp_path / "models" / TINY)
    catalog = Catalog(tmp_path)
    cache = ModelCache(
        lambda name, device, notes: loading.load(catalog.get(name), device, notes, True, tmp_path),
        "cpu",
        2**30,
    )
    before = _paint(cache)
    assert np.array_equal(_paint(cache), before), "it is PyTorch's work until then"
    with cache.lease(TINY) as model:
        state = {name: each.clone() for name, each in model.pipe.unet.state_dict().items()}
        assert model.unet is model.pipe.unet
    ((_, *files),) = begun
    write_large_network(*files)
    after = _paint(cache)
    assert np.abs(after - before).mean() < 3, "off by bf16 rounding at most"
    assert len(begun) == 1
    with cache.lease(TINY) as model:
        assert isinstance(model.unet, MappedUNet)
        assert not model.unet.has_weights
        with model.in_torch():  # what LoRAs are applied to
            held = model.pipe.unet.state_dict()
            assert all(torch.equal(held[name], each) for name, each in state.items())
        assert np.array_equal(_paint(cache), after)
        assert not model.unet.has_weights
    cache.clear()
