"""Trains the autoencoder's decoder on latents as the UNet paints them, against patch borders.

The decoder's first training knows latents of renders only. What the UNet paints is a little off,
each latent by itself, and then shows as blocks of 8 pixels. Here a render's latents are noised,
painted again by the trained UNet, and decoded: the decoder learns to give the render all the same.
Where the painting left open what the render had, a critic of patches asks for sharp outlines
instead of the blur between all possible ones (as in https://arxiv.org/abs/2012.09841, section 3.1).

The encoder stays as it is, and with it all latents.

The decoder for 256 pixels learns in the same way, on renders of that size whose halves give the
latents. Of it only what enlarges is new and learns; inside, the decoder for 128 pixels stays.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import nn

from pipelines.diffusion.autoencoder import PatchAutoencoder
from pipelines.toybox.captions import caption
from pipelines.toybox.train.autoencoder import difference
from pipelines.toybox.train.run import Run, autocast, learning_rates
from pipelines.toybox.train.unet import SCHEDULE, Latents

GUIDANCE = 3.0
BEGIN = (100, 400)  # timesteps: a toy stays where it was, its outline is painted anew
STEP = 80  # timesteps between two evaluations while painting again
CROP = 10  # latents
CRITIC_WEIGHT = 0.03
SAVE_EVERY = 300  # seconds


class Critic(nn.Module):
    """Pictures (B, 3, H, W) in −1 … 1 to a map of scores: high for what looks rendered."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = (3, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for low, high in pairwise(widths):
            conv = nn.Conv2d(low, high, 4, 2, 1)
            layers += [nn.utils.parametrizations.spectral_norm(conv), nn.LeakyReLU(0.2)]
        layers.append(nn.utils.parametrizations.spectral_norm(nn.Conv2d(widths[-1], 1, 3, 1, 1)))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@torch.no_grad()
def paint_again(
    latents: Latents,
    unet: UNet2DConditionModel,
    tokenizer,
    text_encoder,
    indices: Sequence[int],
    begin: int,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Latents (B, C, h, w) of entries, noised to timestep ``begin`` and painted by their captions.

    ``unet`` is on its device; the result is fp16 on the CPU.
    """
    device = str(unet.device)
    scheduler = DDIMScheduler(**SCHEDULE, clip_sample=False, timestep_spacing="trailing")
    words = [caption(latents.scene(i), rng) for i in indices]
    ids = tokenizer(
        [*words, *[""] * len(words)],
        padding="max_length",
        max_length=77,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    x = latents.batch(indices).to(device)
    times = list(range(begin, 0, -STEP))
    alphas = scheduler.alphas_cumprod
    with autocast(device):
        embeds = text_encoder(ids.to(device)).last_hidden_state
    x = alphas[begin] ** 0.5 * x + (1 - alphas[begin]) ** 0.5 * torch.randn_like(x)
    for t, after in zip(times, [*times[1:], 0], strict=True):
        with autocast(device):
            v = unet(torch.cat([x, x]), t, embeds, return_dict=False)[0].float()
        cond, uncond = v.chunk(2)
        v = uncond + GUIDANCE * (cond - uncond)
        signal, noise = alphas[t] ** 0.5, (1 - alphas[t]) ** 0.5
        clean, left = signal * x - noise * v, noise * x + signal * v
        x = (
            clean
            if after == 0
            else alphas[after] ** 0.5 * clean + (1 - alphas[after]) ** 0.5 * left
        )
    return x.half().cpu()


def make_painted(
    run: Run, latents: Latents, unet, tokenizer, text_encoder, minutes: float, batch: int = 48
) -> int:
    """Adds to ``painted.npz`` in the run's folder for ``minutes``; returns how many it holds."""
    path = run.folder / "painted.npz"
    made, entries = [], []
    if path.exists():
        with np.load(path) as file:
            made, entries = [torch.from_numpy(file["latents"])], [file["entries"]]
    rng = np.random.default_rng(time.time_ns())
    count = latents.refresh()

    def save() -> None:
        with open(new := path.with_suffix(".new"), "wb") as file:
            np.savez(file, latents=torch.cat(made).numpy(), entries=np.concatenate(entries))
        os.replace(new, path)

    start = saved = time.time()
    while time.time() < start + 60 * minutes:
        indices = rng.integers(count, size=batch)
        begin = int(rng.integers(*BEGIN))
        made.append(paint_again(latents, unet, tokenizer, text_encoder, indices, begin, rng))
        entries.append(indices)
        if time.time() - saved > SAVE_EVERY:
            save()
            saved = time.time()
    save()
    return sum(map(len, entries))


def train(
    run: Run,
    latents: Latents,
    minutes: float,
    model: PatchAutoencoder,
    lr: float = 5e-4,
    batch: int = 16,
) -> Iterator[dict]:
    """Trains for ``minutes`` more, on what :func:`make_painted` has left; yields log lines.

    Args:
        run: the state, which a second call goes on with.
        latents: of all renders; their pictures are of the size that ``model`` paints.
        minutes: time to spend.
        model: what to train. Of one with an enlarger only that learns.
        lr: learning rate, see :func:`learning_rates`.
        batch: crops a step.
    """
    device = run.device
    latents.refresh()
    model.to(device, memory_format=torch.channels_last).train()
    model.requires_grad_(model.enlarger is None).encoder.requires_grad_(False)
    if model.enlarger is not None:
        model.enlarger.requires_grad_(True)
    critic = Critic().to(device, memory_format=torch.channels_last)
    decoder = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(decoder, betas=(0.9, 0.99), weight_decay=0)
    judging = torch.optim.AdamW(critic.parameters(), betas=(0.5, 0.99), weight_decay=0)
    parts = {"model": model, "critic": critic, "optimizer": optimizer, "judging": judging}
    run.load(**parts)
    with np.load(run.folder / "painted.npz") as file:
        painted, entries = torch.from_numpy(file["latents"]), file["entries"]
    rng = np.random.default_rng(run.samples)
    averages: dict[str, float] = {}
    saved = time.time()
    for step, rate in enumerate(learning_rates(minutes, lr, anneal=0.5), start=1):
        z, x = _batch(latents, painted, entries, batch, rng)
        z = z.to(device, memory_format=torch.channels_last)
        x = x.to(device, memory_format=torch.channels_last)
        with autocast(device):
            y = model.decode(z).sample
        likeness = difference(y.float(), x)
        critic.requires_grad_(False)
        with autocast(device):
            praise = -critic(y).float().mean()
        loss = likeness + CRITIC_WEIGHT * praise
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder, 1.0)
        critic.requires_grad_(True)
        with autocast(device):
            scores = critic(torch.cat([x, y.detach()])).float()
        real, made = scores.chunk(2)
        blame = F.relu(1 - real).mean() + F.relu(1 + made).mean()
        judging.zero_grad(set_to_none=True)
        blame.backward()
        for each in (optimizer, judging):
            for group in each.param_groups:
                group["lr"] = rate
            each.step()
        run.samples += batch
        values = {"loss": likeness.item(), "critic": blame.item()}
        averages = {k: 0.98 * averages.get(k, v) + 0.02 * v for k, v in values.items()}
        if step % 100 == 0:
            yield run.log(**{k: round(v, 4) for k, v in averages.items()}, lr=rate)
        if time.time() - saved > SAVE_EVERY:
            run.save(**parts)
            saved = time.time()
    run.save(**parts)


def _batch(
    latents: Latents,
    painted: torch.Tensor,
    entries: np.ndarray,
    count: int,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents (B, C, CROP, CROP), three in four of them painted again, and their pictures."""
    zs, xs = [], []
    side = painted.shape[-1]
    for _ in range(count):
        if rng.random() < 0.75:
            row = int(rng.integers(len(painted)))
            index, z = int(entries[row]), painted[row].float()
        else:
            index = int(rng.integers(2 * len(latents.shards)))
            z = latents.batch([index])[0]
        picture = latents.shards.image(index // 2)
        picture = picture[:, ::-1] if index % 2 else picture
        top, left = rng.integers(side - CROP + 1, size=2)
        zs.append(z[:, top : top + CROP, left : left + CROP])
        patch = len(picture) // side
        top, left = patch * top, patch * left
        crop = picture[top : top + patch * CROP, left : left + patch * CROP]
        xs.append(torch.from_numpy(np.ascontiguousarray(crop)))
    return torch.stack(zs), torch.stack(xs).permute(0, 3, 1, 2).float() / 127.5 - 1
