"""The patch autoencoder against scikit-learn's PCA."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA

from pipelines.diffusion.autoencoder import PATCH, PatchAutoencoder


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
