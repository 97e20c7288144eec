"""Trains the judge on Toybox renders."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from pipelines.toybox.judge import STRIDE, Judge
from pipelines.toybox.train.render_shards import Shards
from pipelines.toybox.train.run import Run, autocast
from pipelines.toybox.vocabulary import COLOURS, FINISHES, KINDS, PLACES

MOST = 3  # toys in a scene


def train(run: Run, shards: Shards, minutes: float, batch: int = 48) -> Iterator[dict]:
    """Trains for ``minutes`` more, resuming from ``run``; yields a log line now and then."""
    model = Judge(kinds=len(KINDS)).to(run.device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02)
    run.load(model=model, optimizer=optimizer)
    rng = np.random.default_rng(run.samples)
    start, steps = time.time(), 0
    while (share := (time.time() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1.5e-3 * max(0.03, 1 - share) * min(1.0, (steps + 1) / 100)
        x, targets = _batch(shards, rng, batch)
        x = x.to(run.device, memory_format=torch.channels_last)
        with autocast(run.device):
            maps, places = model(x)
        loss = _loss(maps, places, {k: v.to(run.device) for k, v in targets.items()})
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        steps += 1
        run.samples += batch
        if steps % 100 == 0:
            yield run.log(loss=round(loss.item(), 4))
    run.save(model=model, optimizer=optimizer)


def _batch(shards: Shards, rng: np.random.Generator, count: int):
    """Pictures (B, 3, H, W) and, per picture and toy slot, where and what each toy is."""
    indices = rng.integers(len(shards), size=count)
    images = np.stack([shards.image(int(i)) for i in indices])
    side = images.shape[1]
    grid = side // STRIDE
    flip = rng.random(count) < 0.5
    images[flip] = images[flip, :, ::-1]
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    # Small faults that a painted picture may have: they must not change the verdict.
    x = x * torch.empty(count, 1, 1, 1).uniform_(0.92, 1.08)
    x = x + torch.randn_like(x) * torch.rand(count, 1, 1, 1) * 0.06
    blurred = torch.from_numpy(rng.random(count) < 0.3)
    x[blurred] = F.avg_pool2d(x[blurred], 3, 1, 1, count_include_pad=False)
    centre = torch.zeros(count, 1, grid, grid)
    slots = torch.zeros(count, MOST, 5, dtype=torch.long)  # row, column, kind, colour, finish
    boxes = torch.zeros(count, MOST, 4)
    valid = torch.zeros(count, MOST, dtype=torch.bool)
    place = torch.empty(count, dtype=torch.long)
    axis = torch.arange(grid) + 0.5
    for row, index in enumerate(indices):
        scene = shards.scenes[index]
        place[row] = list(PLACES).index(scene.place)
        for slot, (thing, box) in enumerate(zip(scene.things, shards.boxes[index], strict=True)):
            x0, y0, x1, y1 = box.tolist()
            if x1 - x0 < 4 or y1 - y0 < 4:
                continue  # hidden behind the other
            if flip[row]:
                x0, x1 = side - x1, side - x0
            cx, cy = (x0 + x1) / 2 / STRIDE, (y0 + y1) / 2 / STRIDE
            c, r = min(int(cx), grid - 1), min(int(cy), grid - 1)
            bump = torch.exp(-((axis[None] - 0.5 - c) ** 2 + (axis[:, None] - 0.5 - r) ** 2) / 1.5)
            centre[row, 0] = torch.maximum(centre[row, 0], bump)
            slots[row, slot] = torch.tensor(
                [
                    r,
                    c,
                    list(KINDS).index(thing.kind),
                    list(COLOURS).index(thing.colour),
                    list(FINISHES).index(thing.finish),
                ]
            )
            px, py = (c + 0.5) * STRIDE, (r + 0.5) * STRIDE
            boxes[row, slot] = torch.tensor([px - x0, py - y0, x1 - px, y1 - py]) / 32
            valid[row, slot] = True
    return x, {"centre": centre, "slots": slots, "boxes": boxes, "valid": valid, "place": place}


def _loss(maps, places, targets) -> torch.Tensor:
    """CenterNet's focal loss for centres; at each true centre, what the toy is and its box."""
    rows, slots = targets["valid"].nonzero(as_tuple=True)
    r, c, kind, colour, finish = targets["slots"][rows, slots].T
    heat, truth = maps["centre"].float().sigmoid().clamp(1e-4, 1 - 1e-4), targets["centre"]
    positive = truth == 1
    focal = torch.where(
        positive,
        (1 - heat) ** 2 * heat.log(),
        (1 - truth) ** 4 * heat**2 * (1 - heat).log(),
    )
    loss = -focal.sum() / max(1, len(rows))

    def at(head: str) -> torch.Tensor:
        return maps[head][rows, :, r, c].float()

    loss = loss + F.cross_entropy(at("kind"), kind) + F.cross_entropy(at("colour"), colour)
    loss = loss + 0.3 * F.cross_entropy(at("finish"), finish)
    loss = loss + 0.5 * F.l1_loss(at("box"), targets["boxes"][rows, slots])
    return loss + F.cross_entropy(places.float(), targets["place"])


def save(run: Run, folder: Path) -> None:
    """Writes the judge as a diffusers-style folder, fp16."""
    model = Judge(kinds=len(KINDS))
    run.load(model=model)
    model.half().save_pretrained(folder)
