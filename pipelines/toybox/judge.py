"""The judge: reads from a picture which toys it shows, in which colours, where, and the place.

A small detector over a 16×16 grid (after CenterNet, "Objects as Points"): each cell says whether a
toy is centred in it, and which; the whole picture says the place. It is trained on renders, never
on generated pictures, so that it measures those without having learnt to please them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from pipelines.toybox.vocabulary import COLOURS, FINISHES, KINDS, PLACES

STRIDE = 8
HEADS: dict[str, int] = {
    "centre": 1,
    "kind": len(KINDS),  # of a new one; see :class:`Judge`
    "colour": len(COLOURS),
    "finish": len(FINISHES),
    "box": 4,  # distances from the cell's middle to left, top, right, bottom, in pixels / 32
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One toy that the judge sees; ``box`` is x0, y0, x1, y1 in pixels."""

    kind: str
    colour: str
    finish: str
    score: float
    box: tuple[float, float, float, float]

    @property
    def x(self) -> float:
        return (self.box[0] + self.box[2]) / 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a picture shows: its place, and its toys from left to right."""

    place: str
    toys: tuple[Seen, ...]


class Block(nn.Module):
    """x + conv(silu(conv(silu(norm(x)))))."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(self.norm(x)))))


class Judge(ModelMixin, ConfigMixin):
    """Pictures (B, 3, H, W) in −1 … 1 to maps (B, ·, H/8, W/8) and place logits (B, places).

    Args:
        widths: channels at 1/2, 1/4 and 1/8 of the size.
        kinds: how many of ``KINDS`` it can tell, the first ones. The default is of folders that do
            not say it.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, widths: tuple[int, ...] = (32, 64, 128), kinds: int = 36) -> None:
        super().__init__()
        self.sizes = {**HEADS, "kind": kinds}
        half, quarter, eighth = widths
        self.stem = nn.Sequential(
            nn.Conv2d(3, half, 5, 2, 2),
            nn.SiLU(),
            nn.Conv2d(half, quarter, 3, 2, 1),
            Block(quarter),
            nn.Conv2d(quarter, eighth, 3, 2, 1),
            Block(eighth),
            Block(eighth, 2),
            Block(eighth, 4),
            Block(eighth),
            nn.GroupNorm(8, eighth),
            nn.SiLU(),
        )
        self.heads = nn.Conv2d(eighth, sum(self.sizes.values()), 1)
        self.place = nn.Sequential(
            nn.Linear(2 * eighth, eighth), nn.SiLU(), nn.Linear(eighth, len(PLACES))
        )
        nn.init.constant_(self.heads.bias[0], -4.0)  # most cells are empty

    def forward(self, x: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        features = self.stem(x)
        parts = self.heads(features).split(list(self.sizes.values()), 1)
        maps = dict(zip(self.sizes, parts, strict=True))
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)
        return maps, self.place(pooled)

    @torch.no_grad()
    def read(self, images: np.ndarray, threshold: float = 0.3) -> list[Verdict]:
        """Verdicts on (N, H, W, 3) uint8 pictures."""
        verdicts = []
        for chunk in np.array_split(images, max(1, len(images) // 64)):
            x = torch.from_numpy(np.ascontiguousarray(chunk)).permute(0, 3, 1, 2)
            x = x.to(self.device, torch.float32) / 127.5 - 1
            maps, places = self(x)
            centre = maps["centre"].float().sigmoid()
            peak = centre * (F.max_pool2d(centre, 3, 1, 1) == centre)
            for i in range(len(chunk)):
                cells = (peak[i, 0] > threshold).nonzero().tolist()
                toys = [
                    _decode(maps, i, row, column, peak[i, 0, row, column]) for row, column in cells
                ]
                toys.sort(key=lambda toy: toy.x)
                verdicts.append(Verdict(list(PLACES)[places[i].argmax()], tuple(toys)))
        return verdicts


def _decode(maps, i: int, row: int, column: int, score: torch.Tensor) -> Seen:
    def best(head: str, names: Sequence[str]) -> str:
        return names[int(maps[head][i, :, row, column].argmax())]

    left, top, right, bottom = (maps["box"][i, :, row, column].float() * 32).tolist()
    x, y = (column + 0.5) * STRIDE, (row + 0.5) * STRIDE
    return Seen(
        kind=best("kind", list(KINDS)),
        colour=best("colour", list(COLOURS)),
        finish=best("finish", list(FINISHES)),
        score=float(score),
        box=(x - left, y - top, x + right, y + bottom),
    )


@torch.no_grad()
def with_all_kinds(judge: Judge) -> Judge:
    """A judge that says what ``judge`` says, with room to learn the kinds it could not tell."""
    larger = Judge(tuple(judge.config.widths), len(KINDS))
    state = {name: tensor.clone() for name, tensor in judge.state_dict().items()}
    first, known = HEADS["centre"], judge.config.kinds
    for name in ("heads.weight", "heads.bias"):
        before, after = state[name].split([first + known, len(state[name]) - first - known])
        rows = torch.zeros(len(KINDS) - known, *before.shape[1:])
        state[name] = torch.cat([before, rows - 9 if name == "heads.bias" else rows, after])
    larger.load_state_dict(state)
    return larger


def load_judge(folder: Path) -> Judge:
    """The judge from its folder, in fp32."""
    return Judge.from_pretrained(folder, torch_dtype=torch.float32).eval()
