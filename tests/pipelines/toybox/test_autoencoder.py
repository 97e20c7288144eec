"""The patch autoencoder against scikit-learn's PCA."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA

from pipelines.diffusion.autoencoder import PATCH, PatchAutoencoder, enlarge, halve


def _patches(images: torch.Tensor) -> torch.Tensor:
    return F.unfold(images, PATCH, stride=PATCH).transpose(1, 2).reshape(-1, 3 * PATCH**2)


def _images(count: int = 64) -> torch.Tensor:
    """Smooth random pictures whose mean patch is one colour."""
    noise = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.tanh(F.interpolate(noise, size=(32, 32), mode="bilinear") * 0.7)


def test_it_starts_at_the_linear_optimum():
    images = _images()
    model = PatchAutoencoder(latent_channels=12)
    model.set_principal_components(_patches(images))
    with torch.no_grad():
        ours = F.mse_loss(model(images).sample, images).item()
    flat = _patches(images).numpy().astype(np.float64)
    pca = PCA(12).fit(flat)
    best = ((pca.inverse_transform(pca.transform(flat)) - flat) ** 2).mean()
    # Its bias is one number a colour, PCA's is one a pixel: a hair is lost there.
    assert ours <= best * 1.03


def test_latents_have_unit_variance_on_average_and_whitening_makes_them_equal():
    images = _images()
    for whitening, spread in ((0.5, None), (1.0, 1e-3)):
        model = PatchAutoencoder(latent_channels=12)
        model.set_principal_components(_patches(images), whitening)
        with torch.no_grad():
            z = model.encode(images).latent_dist.mode()
        variances = z.transpose(0, 1).flatten(1).var(1)
        assert abs(variances.mean().item() - 1) < 0.02
        if spread:
            assert (variances - 1).abs().max() < 0.02


def test_sampling_the_posterior_is_exact():
    model = PatchAutoencoder()
    posterior = model.encode(_images(2)).latent_dist
    assert torch.equal(posterior.sample(), posterior.mode())


def test_sizes_and_the_factor_diffusers_derives():
    model = PatchAutoencoder(latent_channels=16)
    z = model.encode(torch.zeros(2, 3, 64, 96)).latent_dist.mode()
    assert z.shape == (2, 16, 8, 12)
    assert model.decode(z).sample.shape == (2, 3, 64, 96)
    assert 2 ** (len(model.config.block_out_channels) - 1) == PATCH


def test_it_survives_saving(tmp_path):
    model = PatchAutoencoder(latent_channels=8)
    model.save_pretrained(tmp_path)
    again = PatchAutoencoder.from_pretrained(tmp_path)
    x = _images(1)
    assert torch.equal(model(x).sample, again(x).sample)


def _train_a_little() -> PatchAutoencoder:
    """An autoencoder none of whose layers is at its beginning."""
    generator = torch.Generator().manual_seed(1)
    model = PatchAutoencoder(block_out_channels=(12, 8, 8, 16), depths=(1, 1, 1))
    model.set_principal_components(_patches(_images()))
    with torch.no_grad():
        for parameter in model.refiner.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@torch.no_grad()
def test_the_larger_encoder_halves_and_encodes_in_one_convolution():
    model = _train_a_little()
    larger = enlarge(model, width=8)
    noise = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(2)) * 2 - 1
    half = F.avg_pool2d(noise, 2)
    wanted = model.encode(half).latent_dist.mode()
    assert larger.encoder.kernel_size == larger.encoder.stride == (16, 16)
    torch.testing.assert_close(
        larger.encode(noise).latent_dist.mode(), wanted, atol=1e-5, rtol=1e-5
    )


@torch.no_grad()
def test_the_larger_decoder_begins_as_bilinear_enlargement():
    model = _train_a_little()
    larger = enlarge(model, width=8)
    z = torch.randn(1, 12, 4, 6, generator=torch.Generator().manual_seed(3))
    small = model.decode(z).sample
    wanted = F.interpolate(small, size=(64, 96), mode="bilinear")
    torch.testing.assert_close(larger.decode(z).sample, wanted)
    assert 2 ** (len(larger.config.block_out_channels) - 1) == 2 * PATCH


@torch.no_grad()
def test_half_the_size_stays_possible_whatever_the_larger_decoder_has_learnt(tmp_path):
    model = _train_a_little()
    larger = enlarge(model, width=8)
    for parameter in larger.enlarger.parameters():
        parameter.add_(0.1)
    larger.save_pretrained(tmp_path)
    small = halve(PatchAutoencoder.from_pretrained(tmp_path))
    images = _images(2)
    z = model.encode(images).latent_dist.mode()
    torch.testing.assert_close(small.encode(images).latent_dist.mode(), z, atol=1e-5, rtol=1e-5)
    assert torch.equal(small.decode(z).sample, model.decode(z).sample)
    assert larger.decode(z).sample.shape == (2, 3, 64, 64)


@pytest.mark.parametrize("is_large", [False, True])
def test_tiles_make_the_picture_that_one_piece_makes(is_large):
    """With weights that say something everywhere; 30 latents are no multiple of a tile."""
    torch.manual_seed(0)
    model = PatchAutoencoder(block_out_channels=(12, 16, 16, 16), depths=(2, 1, 1))
    model = enlarge(model, width=8) if is_large else model
    for name, parameter in model.named_parameters():
        if "conv" in name or "smooth" in name:
            torch.nn.init.normal_(parameter, std=0.15)
    z = torch.randn(2, 12, 30, 26)
    with torch.no_grad():
        whole, tiled = model.decode(z).sample, model.decode_tiles(z, tile=8)
        scale = whole.abs().mean()
        assert tiled.shape == whole.shape
        assert (tiled - whole).abs().max() < 1e-4 * scale
        # And a change at one end does not reach the other: the margins are no larger than needed.
        other = z.clone()
        other[..., 0, 0] += 1
        assert (model.decode(other).sample[..., -8:, -8:] - whole[..., -8:, -8:]).abs().max() == 0


def test_large_pictures_are_decoded_in_tiles(monkeypatch):
    model = PatchAutoencoder(block_out_channels=(12, 8, 8, 8), depths=(1, 1, 1))
    asked = []
    monkeypatch.setattr(model, "decode_tiles", lambda z: asked.append(z.shape) or z)
    model.decode(torch.zeros(1, 12, 8, 8))
    assert asked == []
    model.decode(torch.zeros(1, 12, 129, 128))
    assert asked == [(1, 12, 129, 128)]
