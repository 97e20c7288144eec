"""Models made for inpainting: their U-Net is shown, beside the noise, where to paint and what is
around it.
"""

from __future__ import annotations

import numpy as np
import torch

from pipelines.diffusion.from_picture.repainting import Repainting
from pipelines.diffusion.latents.coding import encode_pixels
from pipelines.diffusion.loading import DiffusionModel

_HARD = 0.5  # these models are trained on masks without greys


def inpaints(config: object) -> bool:
    """Whether a U-Net with this config takes a mask and the masked picture's latents."""
    return config.in_channels == 2 * config.out_channels + 1


def shown_beside(
    model: DiffusionModel,
    repainting: Repainting | None,
    size: tuple[int, int],
    weight: float = 1.0,
) -> torch.Tensor:
    """What the U-Net is shown beside the noise: the mask, then the latents of the rest.

    Args:
        repainting: the picture and its mask; without either, all is to be painted.
        size: width and height that are painted.
        weight: how far the picture is hidden below the mask: 1 wholly, 0 not at all.

    Returns:
        (1, 1 + C, h, w), float32, on the model's device.
    """
    width, height = size
    change = None if repainting is None else repainting.change(model.factor)
    if change is None:
        mask = torch.ones(1, 1, height // model.factor, width // model.factor)
        pixels = torch.zeros(1, 3, height, width)  # a grey picture: all of it is hidden
    else:
        mask = (change >= min(_HARD, float(change.max()))).float()
        picture = np.asarray(repainting.base, dtype=np.float32)
        hidden = mask.repeat_interleave(model.factor, -1).repeat_interleave(model.factor, -2)
        pixels = torch.from_numpy(picture).movedim(-1, 0)[None] / 127.5 - 1
        pixels = pixels * (1 - weight * hidden)
    latents = encode_pixels(model, pixels)
    return torch.cat([mask.to(latents), latents], dim=1)
