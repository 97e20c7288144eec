"""The starter's autoencoder: a linear patch encoder, and a linear decoder with a residual network.

The encoder is one 8×8 convolution of stride 8, set to the principal components of picture
patches; the decoder starts as its exact linear inverse, so that training begins at the linear
optimum and only has to learn what lies beyond it. It has the interface of diffusers'
``AutoencoderKL`` as far as the Stable Diffusion pipelines use it.

:func:`enlarge` makes of it an autoencoder for twice the size with the same latents: 16×16 of them
are then 256 pixels, and all that was trained on them stays valid.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

PATCH = 8
TILE, WHOLE = 64, 128
"""Latents of a tile's side, and of the side of the largest picture that is decoded in one piece."""


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

    def forward(
        self, latents: torch.Tensor, pixels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What to add to ``pixels``, and the features (B, half, 4h, 4w) that tell it."""
        return self.fine(self.coarse(latents), pixels)

    def coarse(self, latents: torch.Tensor) -> torch.Tensor:
        """The first part, which sees farthest and takes least memory: (B, eighth, h, w)."""
        return self.blocks[0](self.conv_in(latents))

    def fine(self, x: torch.Tensor, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The rest, from what :meth:`coarse` gives."""
        for up, block in zip(self.ups, self.blocks[1:], strict=True):
            x = block(F.pixel_shuffle(up(x), 2))
        x = F.silu(x)
        change = F.pixel_shuffle(self.conv_out(x), 2)  # (B, 3, 8h, 8w)
        seen = torch.cat([pixels + change, F.pixel_shuffle(self.guide(x), 2)], 1)
        return change + self.smooth2(F.silu(self.smooth1(seen))), x


class Enlarger(nn.Module):
    """A picture at twice the size: bilinear at the start of training, then with its edges sharp.

    Args:
        half: channels of the :class:`Refiner`'s features.
        out, width: channels before the last pixel shuffle and at half of the new size.
    """

    def __init__(self, half: int, out: int, width: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(half + 12, 2 * width, 3, padding=1)
        self.coarse = nn.Sequential(*(ResidualBlock(2 * width) for _ in range(3)))
        self.up = nn.Conv2d(2 * width, 4 * width, 3, padding=1)
        self.fine = nn.Sequential(*(ResidualBlock(width) for _ in range(2)))
        self.conv_out = nn.Conv2d(width, out, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)

    @property
    def reach(self) -> int:
        """Pixels of the picture that it is given from which a new one is made, each way."""
        return 2 * (1 + 2 * len(self.coarse) + 1) + 2 * len(self.fine) + 2

    def forward(self, features: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
        """From features (B, half, H/2, W/2) and the picture (B, 3, H, W): (B, 3, 2H, 2W)."""
        x = self.conv_in(torch.cat([features, F.pixel_unshuffle(picture, 2)], 1))
        x = self.fine(F.pixel_shuffle(self.up(self.coarse(x)), 2))  # (B, width, H, W)
        change = F.pixel_shuffle(self.conv_out(F.silu(x)), 2)
        return F.interpolate(picture, scale_factor=2, mode="bilinear") + change


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """Pictures (B, 3, H, W) in −1 … 1 to latents (B, C, H/8, W/8) and back.

    Args:
        latent_channels: C.
        block_out_channels: channels of the decoder at full size (before the last pixel shuffle:
            12 for RGB), 1/2, 1/4 and 1/8 of the size. Four of them, from which diffusers derives
            the factor 8. Five, for full size to 1/16, make one of factor 16: see :func:`enlarge`.
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
        *larger, half, quarter, eighth = block_out_channels
        patch = PATCH * 2 ** (len(larger) - 1)
        self.encoder = nn.Conv2d(3, latent_channels, patch, patch)
        self.decoder = nn.ConvTranspose2d(latent_channels, 3, PATCH, PATCH)
        self.refiner = Refiner(latent_channels, (12, half, quarter, eighth), tuple(depths))
        self.enlarger = Enlarger(half, *larger) if len(larger) == 2 else None

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
        """Pictures from latents; large ones tile by tile, which takes a fraction of the memory."""
        height, width = z.shape[-2:]
        if height * width > WHOLE**2:
            sample = self.decode_tiles(z)
        else:
            sample = self._fine(z, self.refiner.coarse(z))
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    def decode_tiles(self, z: torch.Tensor, tile: int = TILE) -> torch.Tensor:
        """The same picture as in one piece, up to rounding.

        Each part of the network sees a bounded stretch of what it is given, and each tile is
        computed with that much around it. What sees far is computed first, for all tiles.

        Args:
            z: latents (B, C, h, w).
            tile: latents of a tile's side, without what lies around.
        """
        deep, quarter, half = self.config.depths
        far = 1 + 2 * deep
        # Pixels, from 1/8 of the size to all of it: shuffles with their convolutions, and blocks.
        near = 8 + 4 * (2 * quarter + 1) + 2 * (2 * half + 1) + 2
        if self.enlarger is not None:
            near += self.enlarger.reach
        coarse = torch.cat(
            [
                torch.cat([self._cut(self.refiner.coarse(part), box, 1) for part, box in row], -1)
                for row in _rows_of_tiles(z, tile, far)
            ],
            -2,
        )
        both = torch.cat([z, coarse], 1)  # so that they are cut alike
        channels, factor = z.shape[1], 2 ** (len(self.config.block_out_channels) - 1)
        rows = []
        for row in _rows_of_tiles(both, tile, -(-near // PATCH)):
            made = [
                self._cut(self._fine(part[:, :channels], part[:, channels:]), box, factor)
                for part, box in row
            ]
            rows.append(torch.cat(made, -1))
        return torch.cat(rows, -2)

    def _fine(self, z: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """A picture from latents and what the refiner's first part makes of them."""
        pixels = self.decoder(z)
        change, features = self.refiner.fine(coarse, pixels)
        sample = pixels + change
        return sample if self.enlarger is None else self.enlarger(features, sample)

    @staticmethod
    def _cut(made: torch.Tensor, box: tuple[int, int, int, int], factor: int) -> torch.Tensor:
        """Without what lay around; a copy, so that the rest can go."""
        left, top, right, bottom = (factor * side for side in box)
        return made[..., top:bottom, left:right].clone()

    def forward(self, sample: torch.Tensor) -> DecoderOutput:
        return self.decode(self.encode(sample).latent_dist.mode())


def _rows_of_tiles(
    whole: torch.Tensor, tile: int, margin: int
) -> Iterator[list[tuple[torch.Tensor, tuple[int, int, int, int]]]]:
    """(B, C, h, w) in parts with ``margin`` around, and where in a part its tile lies."""
    height, width = whole.shape[-2:]
    for top in range(0, height, tile):
        y, bottom = max(0, top - margin), min(height, top + tile)
        row = []
        for left in range(0, width, tile):
            x, right = max(0, left - margin), min(width, left + tile)
            part = whole[..., y : min(height, bottom + margin), x : min(width, right + margin)]
            row.append((part, (left - x, top - y, right - x, bottom - y)))
        yield row


def enlarge(model: PatchAutoencoder, width: int = 24) -> PatchAutoencoder:
    """An autoencoder of factor 16 with the latents of ``model``, one of factor 8.

    Its encoder halves a picture, each pixel the mean of four, and encodes it as ``model`` does: two
    linear steps, which are one convolution of 16×16. Its decoder is that of ``model`` with an
    :class:`Enlarger`, which begins as bilinear enlargement.

    Args:
        model: is copied and stays as it is.
        width: channels of the decoder at half of the new size.
    """
    config = model.config
    out, *rest = config.block_out_channels
    larger = PatchAutoencoder(
        config.latent_channels, (out, width, *rest), config.depths, config.scaling_factor
    )
    state = {name: tensor.float().clone() for name, tensor in model.state_dict().items()}
    weight = state["encoder.weight"]
    state["encoder.weight"] = weight.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
    larger.load_state_dict(state, strict=False)
    return larger


def halve(model: PatchAutoencoder) -> PatchAutoencoder:
    """The autoencoder of factor 8 inside one of factor 16, which paints half the size.

    It shares the decoder's weights; of any picture whose pixels come in equal fours it has the same
    latents.
    """
    config = model.config
    out, _, *rest = config.block_out_channels
    smaller = PatchAutoencoder(
        config.latent_channels, (out, *rest), config.depths, config.scaling_factor
    )
    weight = model.encoder.weight.detach()
    smaller.to(weight.device, weight.dtype)
    channels = weight.shape[0]
    fours = weight.view(channels, 3, PATCH, 2, PATCH, 2).sum((3, 5))
    smaller.encoder.weight = nn.Parameter(fours)
    smaller.encoder.bias = model.encoder.bias
    smaller.decoder, smaller.refiner = model.decoder, model.refiner
    return smaller.train(model.training)
