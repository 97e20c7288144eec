"""Trains the segmenter on Toybox renders and their exact masks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from pipelines.toybox.segmenter import REACH, SIDE, Segmenter
from pipelines.toybox.train.render_shards import Shards
from pipelines.toybox.train.run import Run, autocast, learning_rates

SAVE_EVERY = 300  # seconds


def train(
    run: Run,
    shards: Shards,
    minutes: float,
    lr: float = 2e-3,
    anneal: float = 0.5,
    batch: int = 24,
) -> Iterator[dict]:
    """Trains for ``minutes`` more, resuming from ``run``; yields a log line now and then."""
    model = Segmenter().to(run.device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=0.01)
    run.load(model=model, optimizer=optimizer)
    rng = np.random.default_rng(run.samples)
    saved = time.time()
    for rate in learning_rates(minutes, lr, anneal):
        x, target = make_batch(shards, rng, batch)
        x = x.to(run.device, memory_format=torch.channels_last)
        with autocast(run.device):
            out = model(x)
        loss = difference(out.float(), target.to(run.device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        yield from run.step(loss, batch, every=50, lr=rate)
        if time.time() - saved > SAVE_EVERY:
            shards.refresh()
            run.save(model=model, optimizer=optimizer)
            saved = time.time()
    run.save(model=model, optimizer=optimizer)


def make_batch(
    shards: Shards, rng: np.random.Generator, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (B, 3, SIDE, SIDE), with small faults, and what :class:`Segmenter` says of them.

    The second is (B, 3, SIDE, SIDE): coverage 0 … 1, offsets x and y in units of ``REACH``.
    """
    xs, targets = [], []
    for index in rng.integers(len(shards), size=count):
        image, mask = shards.image(int(index)), shards.mask(int(index))
        if rng.random() < 0.5:
            image, mask = image[:, ::-1], mask[:, ::-1]
        xs.append(
            cv2.resize(np.ascontiguousarray(image), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        )
        targets.append(describe(mask))
    x = torch.from_numpy(np.stack(xs)).permute(0, 3, 1, 2).float() / 127.5 - 1
    # Small faults that a painted picture may have: they must not move an outline.
    x = x * torch.from_numpy(rng.uniform(0.9, 1.1, (count, 3, 1, 1)).astype(np.float32))
    noise = rng.standard_normal(x.shape, np.float32) * rng.uniform(0, 0.06, (count, 1, 1, 1))
    x = x + torch.from_numpy(noise.astype(np.float32))
    blurred = torch.from_numpy(rng.random(count) < 0.3)
    x[blurred] = F.avg_pool2d(x[blurred], 3, 1, 1, count_include_pad=False)
    return x, torch.from_numpy(np.stack(targets))


def describe(mask: np.ndarray) -> np.ndarray:
    """What the segmenter should say of a picture with this mask.

    Args:
        mask: (H, H) uint8, 0 for the background, i for the i-th toy.

    Returns:
        (3, SIDE, SIDE) float32: coverage, and the offset of each pixel that shows a toy.
    """
    out = np.zeros((3, SIDE, SIDE), np.float32)
    most = np.zeros((SIDE, SIDE), np.float32)
    ys, xs = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    for i in range(1, int(mask.max()) + 1):
        share = cv2.resize(
            (mask == i).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA
        )
        if (total := share.sum()) < 1:
            continue
        out[0] += share
        own = share > most
        middle_x, middle_y = (share * xs).sum() / total, (share * ys).sum() / total
        out[1][own], out[2][own] = (middle_x - xs[own]) / REACH, (middle_y - ys[own]) / REACH
        most = np.maximum(most, share)
    return out


def difference(out: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the coverage, twice as heavy on rims, and L1 of offsets on toys."""
    coverage = target[:, :1]
    rim = (F.max_pool2d(coverage, 5, 1, 2) + F.max_pool2d(-coverage, 5, 1, 2) > 0.2).float()
    cross = F.binary_cross_entropy_with_logits(out[:, :1], coverage, reduction="none")
    least = F.binary_cross_entropy(coverage, coverage, reduction="none")  # of a perfect answer
    away = (out[:, 1:] - target[:, 1:]).abs() * (coverage > 0.25)
    return ((1 + 2 * rim) * (cross - least)).mean() + 0.3 * away.sum() / (
        coverage > 0.25
    ).sum().clamp_min(1)


def save(run: Run, folder: Path) -> None:
    """Writes the segmenter as a diffusers-style folder, fp16."""
    model = Segmenter()
    run.load(model=model)
    model.half().save_pretrained(folder)
