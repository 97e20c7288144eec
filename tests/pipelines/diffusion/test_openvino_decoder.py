"""Decoders through OpenVINO against diffusers' own."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from pipelines.diffusion.latents.coding import decode
from pipelines.diffusion.openvino import latent_decoder as openvino_decoder
from pipelines.diffusion.openvino.latent_decoder import OpenVINODecoder, can_decode
from tests.conftest import TINY

pytestmark = pytest.mark.openvino


@pytest.fixture(scope="module", params=["whole", "tiny"])
def vae(request):
    torch.manual_seed(0)
    if request.param == "tiny":
        blocks = dict.fromkeys(("num_encoder_blocks", "num_decoder_blocks"), (1, 1, 1, 1))
        widths = ("encoder_block_out_channels", "decoder_block_out_channels")
        return AutoencoderTiny(**blocks, **dict.fromkeys(widths, (8, 8, 8, 8))).eval()
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        latent_channels=4,
    ).eval()


def test_it_decodes_what_diffusers_decodes_at_every_size(vae, networks):
    network = OpenVINODecoder(vae, networks, "f32")
    for shape in ((2, 4, 8, 8), (1, 4, 6, 10)):
        latents = torch.randn(shape)
        with torch.inference_mode():
            expected = vae.decode(latents).sample
        torch.testing.assert_close(network(latents), expected, atol=1e-4, rtol=1e-4)


def test_a_picture_is_the_same_alone_and_in_a_batch(vae, networks):
    network, latents = OpenVINODecoder(vae, networks), torch.randn(3, 4, 8, 8)
    together = network(latents)
    assert all(torch.equal(network(latents[i : i + 1])[0], together[i]) for i in range(3))


def test_only_large_decoders_in_float32_on_a_cpu_are_taken(vae, monkeypatch):
    assert not can_decode(vae, "cpu"), "too small to be worth converting"
    monkeypatch.setattr(openvino_decoder, "SMALLEST_BYTES", 0)
    assert can_decode(vae, "cpu")
    assert not can_decode(vae, "cuda")
    assert not can_decode(torch.nn.Linear(2, 2), "cpu")
    assert not can_decode(type(vae).from_config(vae.config).half(), "cpu")


def test_a_model_decodes_through_it_but_for_tiles(cache, networks, monkeypatch):
    latents = torch.randn(1, 4, 8, 8)
    with cache.lease(TINY) as model:
        vae = model.pipe.vae
        own = decode(model, latents)
        monkeypatch.setattr(model, "_networks", networks)
        monkeypatch.setattr(openvino_decoder, "SMALLEST_BYTES", 0)
        assert model.prepares_decoding(vae)
        before = model.nbytes
        with monkeypatch.context() as patch:
            patch.setattr(vae, "decode", lambda *_, **__: 1 / 0)
            through = decode(model, latents)
            assert not model.prepares_decoding(vae)
            assert model.nbytes > before
            patch.setattr("pipelines.diffusion.loading._UNTILED_PIXELS", 32 * 32)
            with pytest.raises(ZeroDivisionError):  # tile by tile it is PyTorch's work
                decode(model, latents)
        model._decoders.clear()
        vae.disable_tiling()
    assert (through - own).abs().mean() < 0.01, "off by bf16 rounding at most"
