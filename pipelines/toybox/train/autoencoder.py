"""Trains the starter's autoencoder on crops of Toybox renders."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from pipelines.diffusion.autoencoder import PATCH, PatchAutoencoder
from pipelines.toybox.train.render_shards import Shards
from pipelines.toybox.train.run import Run, autocast

CROP = 64


def train(run: Run, shards: Shards, minutes: float, decoder_only: bool = False) -> Iterator[dict]:
    """Trains for ``minutes`` more, resuming from ``run``; yields a log line now and then.

    ``decoder_only`` keeps the encoder, and with it all latents that a UNet has been trained on.
    """
    rng = np.random.default_rng(time.time_ns())
    model = PatchAutoencoder()
    if run.samples == 0:
        crops = _batch(shards, rng, 4096)
        model.set_principal_components(
            F.unfold(crops, PATCH, stride=PATCH).transpose(1, 2).reshape(-1, 3 * PATCH**2)
        )
    model.to(run.device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0)
    run.load(model=model, optimizer=optimizer)
    model.encoder.requires_grad_(not decoder_only)
    start, end = time.time(), time.time() + 60 * minutes
    batch, lr = 32, 8e-4
    while time.time() < end:
        share = (time.time() - start) / (60 * minutes)
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 - 0.95 * share) * min(1.0, (run.samples + 1) / 8000)
        x = _batch(shards, rng, batch).to(run.device, memory_format=torch.channels_last)
        with autocast(run.device):
            latents = model.encode(x).latent_dist.mode()
            # A decoder that forgives small errors of the latents draws no borders between patches.
            noise = torch.randn_like(latents) * torch.rand(batch, 1, 1, 1, device=x.device) * 0.12
            y = model.decode(latents + noise).sample
        loss = difference(y.float(), x)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        run.samples += batch
        if run.samples % (batch * 200) == 0:
            yield run.log(loss=loss.item())
    run.save(model=model, optimizer=optimizer)


def _batch(shards: Shards, rng: np.random.Generator, count: int) -> torch.Tensor:
    """(count, 3, CROP, CROP) in −1 … 1; three crops in four lie on a toy's rim."""
    crops = np.empty((count, CROP, CROP, 3), np.uint8)
    for i in range(count):
        index = int(rng.integers(len(shards)))
        image = shards.image(index)
        limit = image.shape[0] - CROP
        if rng.random() < 0.75:
            x0, y0, x1, y1 = shards.boxes[index][rng.integers(len(shards.boxes[index]))]
            x = rng.choice([x0, x1]) - CROP / 2 + rng.normal(0, 8)
            y = rng.uniform(y0, max(y1, y0 + 1)) - CROP / 2 + rng.normal(0, 8)
        else:
            x, y = rng.uniform(0, limit, 2)
        x, y = int(np.clip(x, 0, limit)), int(np.clip(y, 0, limit))
        crop = image[y : y + CROP, x : x + CROP]
        crops[i] = crop[:, ::-1] if rng.random() < 0.5 else crop
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1


def difference(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """L1 + MSE + half the difference of the gradients."""
    dx = (y[..., 1:] - y[..., :-1]) - (x[..., 1:] - x[..., :-1])
    dy = (y[..., 1:, :] - y[..., :-1, :]) - (x[..., 1:, :] - x[..., :-1, :])
    return F.l1_loss(y, x) + F.mse_loss(y, x) + 0.25 * (dx.abs().mean() + dy.abs().mean())


@torch.no_grad()
def psnr(model: PatchAutoencoder, images: np.ndarray) -> float:
    """Mean PSNR in dB over (N, H, W, 3) uint8 pictures."""
    total = 0.0
    for image in images:
        x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
        y = model(x).sample.clamp(-1, 1)
        total += float(-10 * torch.log10(F.mse_loss(y, x) / 4))
    return total / len(images)


def save(run: Run, folder: Path, model: PatchAutoencoder | None = None) -> None:
    """Writes the trained autoencoder, of the shape of ``model``, as a diffusers folder, fp16."""
    model = model or PatchAutoencoder()
    run.load(model=model)
    model.half().save_pretrained(folder)
