"""What the latents show, at a cost next to nothing: a linear map from latent channels to RGB.

An autoencoder's latents are close to a small blurred picture in other colours, so one matrix, found
by least squares for each model, is enough to follow along. It knows nothing of families: it asks
the model's own decoder, or the fast one where that is here, once what a few patches of random
latents look like.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np
import torch
from PIL import Image

from pipelines.core.pictures.contact_sheet import tile
from pipelines.diffusion.latents.coding import decode
from pipelines.diffusion.latents.decoders import fast_decoder
from pipelines.diffusion.loading import DiffusionModel

_PATCHES, _PATCH = 4, 4  # a side of 4 patches of 4 × 4 latents
_SAMPLES = 8
LONGEST = 512  # pixels of a preview's side; the page scales it to the picture's size

_maps: WeakKeyDictionary[DiffusionModel, LatentPreview] = WeakKeyDictionary()


def preview_for(model: DiffusionModel) -> LatentPreview:
    """The model's map, fitted on first use and forgotten with the model."""
    if model not in _maps:
        _maps[model] = LatentPreview.fit(model)
    return _maps[model]


class LatentPreview:
    """RGB ≈ latents · matrix + offset.

    Args:
        weights: (C + 1, 3); the last row is the offset. RGB in [0, 1].
        factor: pixels for one latent.
    """

    def __init__(self, weights: torch.Tensor, factor: int) -> None:
        self.weights = weights.numpy()
        self.factor = factor

    @classmethod
    @torch.no_grad()
    def fit(cls, model: DiffusionModel) -> LatentPreview:
        """Decode random patches and solve for the map by least squares."""
        config = model.pipe.vae.config
        channels = getattr(config, "z_dim", None) or config.latent_channels
        generator = torch.Generator().manual_seed(0)
        shape = (_SAMPLES, channels, _PATCHES, _PATCHES)
        latents = torch.randn(shape, generator=generator).repeat_interleave(_PATCH, -1)
        latents = latents.repeat_interleave(_PATCH, -2)  # (N, C, 16, 16)
        images = decode(model, latents, fast_decoder(model))  # (N, 3, 16·factor, 16·factor)
        targets = torch.nn.functional.adaptive_avg_pool2d(images, latents.shape[-2:])
        known = _with_ones(latents.movedim(1, -1).flatten(0, -2))  # (N·256, C + 1)
        seen = targets.movedim(1, -1).flatten(0, -2)  # (N·256, 3)
        return cls(torch.linalg.lstsq(known, seen).solution, model.factor)

    def rgb(self, latents: torch.Tensor) -> np.ndarray:
        """Latents (B, C, h, w) → (B, h, w, 3) in [0, 1].

        In NumPy: for so little, torch's threads take longer to meet than to work.
        """
        pixels = latents.detach().movedim(1, -1).float().cpu().numpy()
        colours = pixels @ self.weights[:-1] + self.weights[-1]
        return np.clip(np.nan_to_num(colours, nan=0.0), 0, 1)

    def __call__(
        self,
        latents: torch.Tensor,
        frame: Callable[[Image.Image], Image.Image] = lambda picture: picture,
    ) -> Image.Image:
        """A batch of latents (B, C, h, w) as one picture, in tiles; ``frame``: around each."""
        height, width = latents.shape[-2] * self.factor, latents.shape[-1] * self.factor
        scale = min(1.0, LONGEST / max(width, height))
        size = (round(width * scale), round(height * scale))
        pictures = (self.rgb(latents) * 255).round().astype(np.uint8)
        shown = [Image.fromarray(p).resize(size, Image.Resampling.BILINEAR) for p in pictures]
        return tile([frame(picture) for picture in shown])


def _with_ones(rows: torch.Tensor) -> torch.Tensor:
    return torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
