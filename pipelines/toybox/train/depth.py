"""Trains the starter's depth estimator on Toybox renders, whose distances are known."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from pipelines.toybox.depth import DepthEstimator
from pipelines.toybox.render.renderer import Render
from pipelines.toybox.train.render_shards import Shards
from pipelines.toybox.train.run import Optimizers, Run, autocast, learning_rates

BATCH = 32
SMALLEST_CROP = 80  # pixels of a render
_NEXT_TO_THE_EDGE = ("stem", "guided", "out")


def train(run: Run, shards: Shards, minutes: float, lr: float = 1e-3) -> Iterator[dict]:
    """Trains for ``minutes`` more, resuming from ``run``; yields a log line now and then."""
    rng = np.random.default_rng(time.time_ns())
    model = DepthEstimator().to(run.device, memory_format=torch.channels_last).train()
    run.load(model=model)
    optimizers = Optimizers(model, first_and_last=_NEXT_TO_THE_EDGE)
    run.load(**optimizers.parts)
    for rate in learning_rates(minutes, lr, anneal=0.3):
        pictures, depths = _batch(shards, rng)
        x = pictures.to(run.device, memory_format=torch.channels_last)
        with autocast(run.device):
            y = model(x)
        loss = _loss(y.float(), depths.to(run.device))
        loss.backward()
        optimizers.step(rate)
        yield from run.step(loss, BATCH, every=100, lr=rate)
    run.save(model=model, **optimizers.parts)


def _batch(shards: Shards, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (B, 3, S, S) in −1 … 1 and inverse depths (B, 1, S, S) in 0 … 1.

    Crops, colours, blur and noise vary, so that it also reads what is no render.
    """
    pictures, depths = [], []
    for index in rng.integers(len(shards), size=BATCH):
        image, depth = shards.image(index), shards.depth(index)
        side = image.shape[0]
        crop = int(rng.integers(SMALLEST_CROP, side + 1))
        x, y = rng.integers(side - crop + 1, size=2)
        image, depth = image[y : y + crop, x : x + crop], depth[y : y + crop, x : x + crop]
        if rng.random() < 0.5:
            image, depth = image[:, ::-1], depth[:, ::-1]
        image = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
        depth = cv2.resize(depth, (side, side), interpolation=cv2.INTER_LINEAR)
        pictures.append(_recolour(image, rng))
        depth = depth.astype(np.float32)
        depths.append((depth - depth.min()) / max(float(np.ptp(depth)), 1.0))
    return (
        torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) * 2 - 1,
        torch.from_numpy(np.stack(depths))[:, None],
    )


def _recolour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float32 (H, W, 3) in 0 … 1: another brightness and balance, mixed channels, noise, blur."""
    picture = image.astype(np.float32) / 255
    if rng.random() < 0.7:
        picture = picture ** rng.uniform(0.6, 1.6) * rng.uniform(0.8, 1.15, 3).astype(np.float32)
    if rng.random() < 0.3:
        picture = picture[..., rng.permutation(3)]
    if rng.random() < 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.2))
    if rng.random() < 0.5:
        picture = picture + rng.normal(0, rng.uniform(0, 0.06), picture.shape).astype(np.float32)
    return np.clip(picture, 0, 1, dtype=np.float32)


def _loss(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """L1, and the difference of the gradients at three scales (MiDaS, arXiv 1907.01341, eq. 11)."""
    loss = F.l1_loss(y, x)
    for scale in (1, 2, 4):
        a, b = (each if scale == 1 else F.avg_pool2d(each, scale) for each in (y, x))
        dx = (a[..., 1:] - a[..., :-1]) - (b[..., 1:] - b[..., :-1])
        dy = (a[..., 1:, :] - a[..., :-1, :]) - (b[..., 1:, :] - b[..., :-1, :])
        loss = loss + dx.abs().mean() + dy.abs().mean()
    return loss


def errors(model: DepthEstimator, renders: Sequence[Render]) -> tuple[float, float]:
    """The scale-invariant error of the logarithms, and the share of pixels with δ < 1.25.

    The estimate has no scale: it is brought to each picture's true 1/distance by the line that
    fits best, sky left out. (Eigen et al., arXiv 1406.2283, equations 1 and 3.)
    """
    spreads, shares = [], []
    for render in renders:
        x = torch.from_numpy(render.image).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.no_grad():
            estimate = model(x.to(model.device))[0, 0].cpu().double().numpy()
        seen = np.isfinite(render.depth)
        true = render.depth[seen].astype(np.float64)
        slope, offset = np.polyfit(estimate[seen], 1 / true, 1)
        found = 1 / np.clip(slope * estimate[seen] + offset, 1e-3, None)
        difference = np.log(found) - np.log(true)
        spreads.append(np.sqrt(max(0.0, (difference**2).mean() - difference.mean() ** 2)))
        shares.append(np.mean(np.abs(difference) < np.log(1.25)))
    return float(np.mean(spreads)), float(np.mean(shares))


def save(run: Run, folder: Path) -> None:
    """Writes the trained estimator as a diffusers folder, fp16."""
    model = DepthEstimator()
    run.load(model=model)
    model.half().save_pretrained(folder)
