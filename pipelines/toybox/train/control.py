"""Trains the starter's ControlNets and T2I-Adapters on Toybox pairs of condition and picture.

The base stays as it is. A ControlNet begins as a copy of the base's encoder behind zero
convolutions (https://arxiv.org/abs/2302.05543, section 3), an adapter with maps of its own; its
timesteps lean towards the noise, where layout is decided (https://arxiv.org/abs/2302.08453,
section 3.3: t = (1 − u³)·T).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import ControlNetModel, T2IAdapter, UNet2DConditionModel
from PIL import Image

from pipelines.toybox.captions import caption
from pipelines.toybox.train.render_shards import Shards
from pipelines.toybox.train.run import Optimizers, Run, autocast, learning_rates
from pipelines.toybox.train.sketches import rough_depth, sketch
from pipelines.toybox.train.unet import (
    Latents,
    Samples,
    prepare_for_training,
    sample,
    timesteps,
    update_average,
)

Method = Literal["controlnet", "adapter"]
CONDITIONS = ("sketch", "depth")
DROP_CAPTION = 0.3  # more than the base's: what the map shows must be read from the map
SHEET = 8
_HINT_CHANNELS = (16, 32, 64, 128)
NEXT_TO_THE_EDGE = ("conv_in", "controlnet_", "time_embedding", "adapter.conv_in")


def make_network(method: Method, unet: UNet2DConditionModel) -> torch.nn.Module:
    """An untrained control network for ``unet``."""
    if method == "controlnet":
        return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=_HINT_CHANNELS)
    return T2IAdapter(
        in_channels=3,
        channels=list(unet.config.block_out_channels),
        num_res_blocks=2,
        downscale_factor=8,
    )


def condition_of(
    shards: Shards, index: int, condition: str, rng: np.random.Generator
) -> np.ndarray:
    """The map for entry ``index`` of :class:`Latents`: (H, W) uint8; odd ones are mirrored."""
    image, depth = shards.image(index // 2), shards.depth(index // 2)
    made = sketch(image, depth, rng) if condition == "sketch" else rough_depth(depth, rng)
    return made[:, ::-1] if index % 2 else made


def as_batch(maps: Sequence[np.ndarray]) -> torch.Tensor:
    """(B, 3, H, W) float32 in [0, 1], grey as RGB: how every condition map is shown."""
    grey = torch.from_numpy(np.stack(maps)).float() / 255
    return grey[:, None].expand(-1, 3, -1, -1).contiguous()


def steer(
    unet: UNet2DConditionModel,
    network: torch.nn.Module,
    noised: torch.Tensor,
    t: torch.Tensor,
    embeds: torch.Tensor,
    condition: torch.Tensor,
) -> torch.Tensor:
    """The base's prediction under the map, (B, C, h, w)."""
    if isinstance(network, T2IAdapter):
        further = {"down_intrablock_additional_residuals": list(network(condition))}
    else:
        down, mid = network(noised, t, embeds, condition, return_dict=False)
        further = {
            "down_block_additional_residuals": down,
            "mid_block_additional_residual": mid,
        }
    return unet(noised, t, embeds, return_dict=False, **further)[0]


def train(
    run: Run,
    method: Method,
    condition: str,
    unet: UNet2DConditionModel,
    latents: Latents,
    tokenizer,
    text_encoder,
    minutes: float,
    batch: int,
    lr: float = 1e-3,
    anneal: float = 0.2,
    sheet_minutes: float = 10,
) -> Iterator[dict]:
    """Trains for ``minutes`` more and saves; yields a log line now and then.

    Args:
        run: the state; also where sample sheets go.
        method, condition: what to train, on which maps.
        unet: the trained base; it stays as it is.
        latents: what to learn, at the size of the renders.
        tokenizer, text_encoder: the base's.
        minutes, batch, lr, anneal, sheet_minutes: as :func:`train_unet.train` takes them.
    """
    device = run.device
    unet = prepare_for_training(unet, device).eval().requires_grad_(False)
    text_encoder = text_encoder.to(device).eval().requires_grad_(False)
    latents.vae.to(device)
    network = prepare_for_training(make_network(method, unet), device)
    ema = copy.deepcopy(network).requires_grad_(False)
    run.load(network=network, ema=ema)
    optimizers = Optimizers(network, first_and_last=NEXT_TO_THE_EDGE)
    run.load(**optimizers.parts)
    samples = Samples(latents, tokenizer, text_encoder, device, DROP_CAPTION)
    rng = np.random.default_rng(run.samples)
    count = latents.refresh()
    kept = {"painted": run.get("painted", 0)}  # of train_consistency
    last_sheet = time.time()
    for rate in learning_rates(minutes, lr, anneal):
        indices = rng.integers(count, size=batch)
        maps = as_batch([condition_of(latents.shards, i, condition, rng) for i in indices])
        t = timesteps(batch) if method == "controlnet" else _towards_noise(batch)
        noised, t, embeds, target = samples.draw(indices, t, rng)
        with autocast(device):
            v = steer(unet, network, noised, t, embeds, maps.to(device))
        loss = F.mse_loss(v.float(), target)
        loss.backward()
        optimizers.step(rate)
        update_average(ema, network, run.samples // batch + 1)
        yield from run.step(loss, batch, every=50, lr=rate)
        if time.time() - last_sheet > 60 * sheet_minutes:
            run.save(kept, network=network, ema=ema, **optimizers.parts)
            paint_sheet(run, unet, ema, latents, tokenizer, text_encoder, condition)
            last_sheet = time.time()
    run.save(kept, network=network, ema=ema, **optimizers.parts)
    paint_sheet(run, unet, ema, latents, tokenizer, text_encoder, condition)


def _towards_noise(batch: int) -> torch.Tensor:
    """(B,) int64."""
    return (1000 * (1 - torch.rand(batch) ** 3)).long().clamp(0, 999)


def paint_sheet(
    run: Run,
    unet: UNet2DConditionModel,
    network: torch.nn.Module,
    latents: Latents,
    tokenizer,
    text_encoder,
    condition: str,
) -> Path:
    """Maps, the renders that they are of, and what is painted by them, as rows of one picture."""
    indices = [2 * i for i in range(SHEET)]
    rng = np.random.default_rng(0)
    maps = [condition_of(latents.shards, i, condition, rng) for i in indices]
    prompts = [caption(latents.scene(i), 0, plain=True) for i in indices]
    # The sampler asks for both halves of guidance at once.
    both = as_batch([*maps, *maps]).to(run.device)

    class Steered(torch.nn.Module):
        def forward(self, x, t, embeds):
            rows = t.expand(len(x))
            v = steer(unet, network, x, rows, embeds, both)
            return type("Output", (), {"sample": v})

    pictures = sample(
        Steered(), latents.vae, tokenizer, text_encoder, prompts, latents.size, guidance=3.0
    )
    renders = [latents.shards.image(i // 2) for i in indices]
    rows = [[np.repeat(each[..., None], 3, 2) for each in maps], renders, list(pictures)]
    folder = run.folder / "sheets"
    folder.mkdir(exist_ok=True)
    path = folder / f"{run.samples:09d}.png"
    Image.fromarray(np.concatenate([np.concatenate(row, 1) for row in rows])).save(path)
    return path


def save(run: Run, method: Method, unet: UNet2DConditionModel, folder: Path) -> None:
    """Writes the averaged network as a diffusers folder, fp16."""
    network = make_network(method, unet)
    network.load_state_dict(run.get("ema"))
    network.half().save_pretrained(folder)
