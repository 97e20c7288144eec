"""The starter's autoencoder: a linear patch encoder, and a linear decoder with a residual network.

The encoder is one 8×8 convolution of stride 8, set to the principal components of picture
patches; the decoder starts as its exact linear inverse, so that training begins at the linear
optimum and only has to learn what lies beyond it. It has the interface of diffusers'
``AutoencoderKL`` as far as the Stable Diffusion pipelines use it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

PATCH = 8


class ResidualBlock(nn.Module):
    """x + conv(silu(conv(x))), without normalisation: there is nothing to forget of brightness."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(F.silu(self.conv1(x)))


class Refiner(nn.Module):
    """What the linear decoder misses, from latents and its picture: zero at the start of training.

    Most blocks stand where they cost least and see farthest, at 1/8 of the size: there the outline
    of a toy is put right as a whole. The last layers see the linear decoder's pixels, to smooth
    the borders of its patches.
    """

    def __init__(
        self, latent_channels: int, widths: tuple[int, ...], depths: tuple[int, ...]
    ) -> None:
        super().__init__()
        out, half, quarter, eighth = widths
        self.conv_in = nn.Conv2d(latent_channels, eighth, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width) for _ in range(depth)))
            for width, depth in zip((eighth, quarter, half), depths, strict=True)
        )
        self.ups = nn.ModuleList(
            nn.Conv2d(low, high * 4, 3, padding=1)
            for low, high in ((eighth, quarter), (quarter, half))
        )
        self.conv_out = nn.Conv2d(half, out, 3, padding=1)
        self.guide = nn.Conv2d(half, 32, 3, padding=1)
        self.smooth1 = nn.Conv2d(32 // 4 + 3, 32, 3, padding=1)
        self.smooth2 = nn.Conv2d(32, 3, 3, padding=1)
        for last in (self.conv_out, self.smooth2):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, latents: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        x = self.conv_in(latents)  # (B, eighth, h, w)
        x = self.blocks[0](x)
        for up, block in zip(self.ups, self.blocks[1:], strict=True):
            x = block(F.pixel_shuffle(up(x), 2))
        x = F.silu(x)
        change = F.pixel_shuffle(self.conv_out(x), 2)  # (B, 3, 8h, 8w)
        seen = torch.cat([pixels + change, F.pixel_shuffle(self.guide(x), 2)], 1)
        return change + self.smooth2(F.silu(self.smooth1(seen)))


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """Pictures (B, 3, H, W) in −1 … 1 to latents (B, C, H/8, W/8) and back.

    Args:
        latent_channels: C.
        block_out_channels: channels of the decoder at full size (before the last pixel shuffle:
            12 for RGB), 1/2, 1/4 and 1/8 of the size. Four of them, from which diffusers derives
            the factor 8.
        depths: residual blocks of the decoder at 1/8, 1/4 and 1/2 of the size.
        scaling_factor: latents are multiplied by it for the UNet; they come out near unit
            variance, so it stays 1.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 12,
        block_out_channels: tuple[int, ...] = (12, 32, 64, 128),
        depths: tuple[int, ...] = (6, 2, 2),
        scaling_factor: float = 1.0,
        force_upcast: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, latent_channels, PATCH, PATCH)
        self.decoder = nn.ConvTranspose2d(latent_channels, 3, PATCH, PATCH)
        self.refiner = Refiner(latent_channels, tuple(block_out_channels), tuple(depths))

    @torch.no_grad()
    def set_principal_components(self, patches: torch.Tensor, whitening: float = 0.5) -> None:
        """Sets encoder and linear decoder to the optimum for ``patches``.

        Args:
            patches: (N, 3·8·8), pixels in −1 … 1, flattened from (3, 8, 8).
            whitening: each component is divided by its deviation to this power: 1 makes all
                channels equally strong, 0 keeps their natural strengths.
        """
        mean = patches.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov((patches - mean).T.double()))
        channels = self.config.latent_channels
        deviations = values.flip(0)[:channels].clamp_min(1e-12).sqrt()
        directions = vectors.flip(1)[:, :channels].T  # (C, 192), strongest first
        scale = deviations.pow(-whitening)
        scale = scale / ((deviations * scale) ** 2).mean().sqrt()  # mean variance 1
        forward = (directions * scale[:, None]).float()
        self.encoder.weight.copy_(forward.view(channels, 3, PATCH, PATCH))
        self.encoder.bias.copy_(-(forward @ mean))
        backward = (directions / scale[:, None]).float()
        self.decoder.weight.copy_(backward.view(channels, 3, PATCH, PATCH))
        # The mean picture patch differs from pixel to pixel, the bias only from colour to colour.
        self.decoder.bias.copy_(mean.view(3, -1).mean(1))

    def encode(self, x: torch.Tensor, return_dict: bool = True):
        """The distribution of latents; its variance is nil, so ``sample()`` equals ``mode()``."""
        mean = self.encoder(x)
        posterior = DiagonalGaussianDistribution(
            torch.cat([mean, torch.full_like(mean, -30.0)], 1), deterministic=True
        )
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    def decode(self, z: torch.Tensor, return_dict: bool = True, generator=None):
        """Pictures from latents."""
        pixels = self.decoder(z)
        sample = pixels + self.refiner(z, pixels)
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    def forward(self, sample: torch.Tensor) -> DecoderOutput:
        return self.decode(self.encode(sample).latent_dist.mode())
