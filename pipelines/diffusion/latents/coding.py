"""From pictures to latents and back: the autoencoder at work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from pipelines.diffusion.latents.stopping import stop_within
from pipelines.diffusion.loading import DiffusionModel, tile_for_size

if TYPE_CHECKING:
    from diffusers import AutoencoderTiny


@torch.inference_mode()
def decode(
    model: DiffusionModel, latents: torch.Tensor, decoder: AutoencoderTiny | None = None
) -> torch.Tensor:
    """Pictures from latents, in the precision of the model and, if that overflows, in float32.

    On a CPU, a whole picture goes through OpenVINO where :meth:`DiffusionModel.decoder_of` has a
    network; its pixels differ from PyTorch's by rounding.

    Half-precision autoencoders (SDXL's is known for it) can give NaN, which shows as a black
    picture.

    Args:
        latents: (B, C, h, w), as the denoising loop leaves them: scaled, of any float dtype.
        decoder: a fast one; None: the model's own.

    Returns:
        float32 (B, 3, H, W) in [0, 1], on the CPU.
    """
    vae = model.pipe.vae if decoder is None else decoder
    tile_for_size(vae, latents.shape[-1] * model.factor, latents.shape[-2] * model.factor)
    latents = _unscale(latents.to(model.device, torch.float32), vae.config)
    video = hasattr(vae.config, "z_dim")  # as its kind calls its channels
    if video:  # a picture is one of a single frame
        latents = latents.unsqueeze(2)
    network = None if getattr(vae, "use_tiling", False) else model.decoder_of(vae)
    images = network(latents) if network else _decode_each(vae, latents)
    if not torch.isfinite(images).all():
        dtype = vae.dtype
        vae.to(torch.float32)
        try:
            images = _decode_each(vae, latents)
        finally:
            vae.to(dtype)
    images = images.squeeze(2) if video else images
    return (images.float() / 2 + 0.5).clamp(0, 1).cpu()


def _decode_each(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Pictures one after another, float32 on the CPU: they take the memory of one at a time.

    Together, PyTorch's convolutions would sum in another order, and none would quite be what it is
    alone.
    """
    with stop_within(vae):
        return torch.cat(
            [vae.decode(each.to(vae.dtype)).sample.float().cpu() for each in latents.split(1)]
        )


@torch.inference_mode()
def encode_picture(model: DiffusionModel, picture: Image.Image) -> torch.Tensor:
    """The latents of a picture, in the precision of the model and, if that overflows, in float32.

    They are the mode of the autoencoder's distribution, not a sample: the same picture has the same
    latents, and a picture that is encoded again and again does not drift.

    Args:
        picture: RGB; both sides multiples of the model's ``factor``.

    Returns:
        float32 (1, C, H/factor, W/factor) in the denoiser's scale, on the model's device.
    """
    pixels = torch.from_numpy(np.asarray(picture, dtype=np.float32)).movedim(-1, 0)[None]
    return encode_pixels(model, pixels / 127.5 - 1)


@torch.inference_mode()
def encode_pixels(model: DiffusionModel, pixels: torch.Tensor) -> torch.Tensor:
    """As :func:`encode_picture`, of pixels in −1 … 1, (1, 3, H, W)."""
    vae = model.pipe.vae
    tile_for_size(vae, pixels.shape[-1], pixels.shape[-2])
    pixels = pixels.to(model.device)
    video = hasattr(vae.config, "z_dim")  # as its kind calls its channels
    if video:  # a picture is one of a single frame
        pixels = pixels.unsqueeze(2)
    with stop_within(vae):
        latents = _mode(vae.encode(pixels.to(vae.dtype)))
    if not torch.isfinite(latents).all():
        dtype = vae.dtype
        vae.to(torch.float32)
        try:
            latents = _mode(vae.encode(pixels))
        finally:
            vae.to(dtype)
    latents = latents.squeeze(2) if video else latents
    return _scale(latents.float(), vae.config)


def _mode(encoded: Any) -> torch.Tensor:
    """The latents that are likeliest; some autoencoders (Sana's) have no others."""
    return encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latent


def _scale(latents: torch.Tensor, config: Any) -> torch.Tensor:
    """From the autoencoder's own scale to the denoiser's, as training did it."""
    scale = getattr(config, "scaling_factor", None) or 1.0
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is not None and std is not None:
        shape = (1, -1, 1, 1)
        mean, std = latents.new_tensor(mean).view(shape), latents.new_tensor(std).view(shape)
        return (latents - mean) * scale / std
    return (latents - (getattr(config, "shift_factor", None) or 0.0)) * scale


def _unscale(latents: torch.Tensor, config: Any) -> torch.Tensor:
    """From the denoiser's scale to the autoencoder's own: the inverse of what training did."""
    scale = getattr(config, "scaling_factor", None) or 1.0
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is not None and std is not None:
        shape = (1, -1, 1, 1)
        return latents * latents.new_tensor(std).view(shape) / scale + latents.new_tensor(
            mean
        ).view(shape)
    return latents / scale + (getattr(config, "shift_factor", None) or 0.0)
