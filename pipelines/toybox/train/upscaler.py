"""Trains the starter's upscaler: pictures at twice the size, from Toybox renders of 256 pixels.

The network is Real-ESRGAN's compact one (SRVGGNetCompact, https://arxiv.org/abs/2107.10833), whose
files other programs open as well. It learns the difference to the picture with each pixel doubled,
and begins as the best linear filter, so that it only has to learn what lies beyond that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from spandrel.architectures.Compact import Compact

from pipelines.diffusion.autoencoder import PatchAutoencoder
from pipelines.toybox.train.autoencoder import difference
from pipelines.toybox.train.render_shards import Shards
from pipelines.toybox.train.run import Optimizers, Run, autocast, learning_rates

CHANNELS, LAYERS = 48, 16  # 1.35 MB
SAVE_EVERY = 180  # seconds
_CROP = 32  # pixels of the small picture
_MARGIN = 16  # around it, for what the autoencoder sees of the surroundings
_PAINTED = 0.3  # share of the small pictures that go through the autoencoder
_TRIES = 3  # crops to choose the one with most edges from
_FIRST = 200  # crops that the linear filter is fitted to
_REACH = 2  # pixels that it sees in each direction


def new_upscaler() -> Compact:
    """An upscaler of the shape that is trained; it doubles each pixel."""
    model = Compact(num_feat=CHANNELS, num_conv=LAYERS, upscale=2)
    torch.nn.init.zeros_(model.body[-1].weight)
    torch.nn.init.zeros_(model.body[-1].bias)
    return model


@torch.no_grad()
def set_linear_optimum(model: Compact, low: torch.Tensor, high: torch.Tensor) -> None:
    """Makes a new upscaler the best linear filter of 5×5 pixels for some pictures.

    27 of the channels carry what the first layer sees through all others, and the last layer
    weighs it: two windows of 3×3 are one of 5×5.

    Args:
        low, high: (B, 3, h, w) and (B, 3, 2h, 2w), in 0 … 1.
    """
    side = 2 * _REACH + 1
    seen = F.unfold(low, side).transpose(1, 2).reshape(-1, 3 * side**2)  # (N, 75)
    change = F.pixel_unshuffle(high - F.interpolate(low, scale_factor=2), 2)
    wanted = change[..., _REACH:-_REACH, _REACH:-_REACH].flatten(2)  # (B, 12, …)
    wanted = wanted.transpose(1, 2).reshape(-1, 12)
    seen, wanted = seen.double(), wanted.double()
    squares = seen.T @ seen + 1e-5 * len(seen) * torch.eye(seen.shape[1], dtype=seen.dtype)
    weights = torch.linalg.solve(squares, seen.T @ wanted).T.float()  # (12, 75)
    weights = weights.view(12, 3, side, side)
    first, *middle, last = (each for each in model.body if isinstance(each, torch.nn.Conv2d))
    first.weight[:27], first.bias[:27] = 0, 0
    for colour in range(3):
        for row in range(3):
            for column in range(3):
                first.weight[9 * colour + 3 * row + column, colour, row, column] = 1
    for layer in middle:
        torch.nn.init.dirac_(layer.weight[:27])
        layer.bias[:27] = 0
    for activation in (each for each in model.body if isinstance(each, torch.nn.PReLU)):
        activation.weight[:27] = 1  # let through as it is
    last.weight.zero_()
    for row in range(side):
        for column in range(side):
            here = (
                min(max(row - 1, 0), 2),
                min(max(column - 1, 0), 2),
            )  # of the first layer's window
            channels = [9 * colour + 3 * here[0] + here[1] for colour in range(3)]
            last.weight[:, channels, row - here[0], column - here[1]] = weights[:, :, row, column]


def train(
    run: Run,
    shards: Shards,
    autoencoder: PatchAutoencoder,
    minutes: float,
    lr: float = 1e-3,
    anneal: float = 0.5,
    batch: int = 12,
) -> Iterator[dict]:
    """Trains for ``minutes`` more, resuming from ``run``; yields a log line now and then.

    Args:
        run: the state, which a second call goes on with.
        shards: renders of 256 pixels.
        autoencoder: half of the pictures go through it, so that the upscaler knows what the
            starter's own pictures look like.
        minutes: time to spend.
        lr, anneal: see :func:`pipelines.toybox.train.run.learning_rates`.
        batch: crops a step.
    """
    rng = np.random.default_rng(run.samples)
    autoencoder = autoencoder.to(run.device, memory_format=torch.channels_last).eval()
    model = new_upscaler()
    if run.samples == 0:
        set_linear_optimum(model, *make_batch(shards, autoencoder, rng, _FIRST))
    model.to(run.device, memory_format=torch.channels_last).train()
    optimizers = Optimizers(model, ("body.0.", f"body.{len(model.body) - 1}."))
    run.load(model=model, **optimizers.parts)
    average, saved = None, time.time()
    for step, rate in enumerate(learning_rates(minutes, lr, anneal), start=1):
        low, high = make_batch(shards, autoencoder, rng, batch)
        low = low.to(run.device, memory_format=torch.channels_last)
        with autocast(run.device):
            out = model(low)
        loss = difference(out.float(), high.to(run.device))
        loss.backward()
        optimizers.step(rate)
        run.samples += batch
        average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
        if step % 50 == 0:
            yield run.log(loss=round(average, 5), lr=rate)
        if time.time() - saved > SAVE_EVERY:
            run.save(model=model, **optimizers.parts)
            saved = time.time()
    run.save(model=model, **optimizers.parts)


def make_batch(
    shards: Shards, autoencoder: PatchAutoencoder, rng: np.random.Generator, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Small pictures (B, 3, CROP, CROP) and the same twice as large, in 0 … 1.

    Each small pixel is the mean of four; some small pictures are as the autoencoder paints them.
    """
    wide = np.stack([_crop(shards, rng) for _ in range(count)])
    high = torch.from_numpy(wide).permute(0, 3, 1, 2).float() / 255
    low = F.avg_pool2d(high, 2)
    painted = torch.from_numpy(rng.random(count) < _PAINTED)
    if painted.any():
        device = next(autoencoder.parameters()).device
        with torch.no_grad(), autocast(device.type):
            seen = autoencoder((low[painted] * 2 - 1).to(device)).sample
        low[painted] = (seen.float().cpu() / 2 + 0.5).clamp(0, 1)
    inner = slice(_MARGIN, _MARGIN + _CROP)
    outer = slice(2 * _MARGIN, 2 * (_MARGIN + _CROP))
    return low[..., inner, inner].contiguous(), high[..., outer, outer].contiguous()


def _crop(shards: Shards, rng: np.random.Generator) -> np.ndarray:
    """(H, H, 3) uint8 with its margin, mirrored or turned; of some crops the one with most edges.

    Pictures are continued by their mirror image, so that their own edge can be learnt too.
    """
    image = shards.image(int(rng.integers(len(shards))))
    side, margin = 2 * (_CROP + 2 * _MARGIN), 2 * _MARGIN
    image = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), "reflect")
    best, most = None, -1.0
    for _ in range(_TRIES):
        # Even, and of the autoencoder's patches any: what is uploaded lies in no grid.
        top, left = 2 * rng.integers((len(image) - side) // 2 + 1, size=2)
        crop = image[top : top + side, left : left + side]
        inner = crop[margin:-margin, margin:-margin].astype(np.int16)
        edges = float(np.abs(np.diff(inner, axis=0)).mean() + np.abs(np.diff(inner, axis=1)).mean())
        if edges > most:
            best, most = crop, edges
    if rng.random() < 0.5:
        best = best[:, ::-1]
    if rng.random() < 0.5:
        best = best.transpose(1, 0, 2)
    return np.ascontiguousarray(best)


def save(run: Run, path: Path) -> None:
    """Writes the upscaler as one safetensors file that other programs open."""
    model = new_upscaler()
    run.load(model=model)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, path, {"samples": str(run.samples), "licence": "Apache-2.0"})
