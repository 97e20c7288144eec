"""The starter's depth estimator: from one picture, how near everything is.

A U-net of residual blocks. It reads the picture at 128 to 192 pixels, the size that it is trained
at, and sees all of it at its bottom (1/32 of that); the last step back to full size is guided by
the picture itself, so that outlines stay sharp.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

LONGEST = 1024  # pixels of the longer side, for pictures that are long and narrow


class _Block(nn.Module):
    """x + conv(silu(conv(silu(norm(x))))); group norm, so that a batch of one is the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(self.norm(x)))))


class _Everywhere(nn.Module):
    """Adds to each place what the whole picture is like: sky or wall, far or close."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.project(F.silu(x.mean((2, 3))))[..., None, None]


class DepthEstimator(ModelMixin, ConfigMixin):
    """Pictures (B, 3, H, W) in −1 … 1 to relative inverse depth (B, 1, H, W) in 0 … 1, near is 1.

    Args:
        widths: channels at 1/2, 1/4, 1/8 … of the size that is read. Multiples of 8.
        shortest, longest: pixels of the shorter side between which a picture is read as it is;
            others are scaled to the nearer of the two.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        widths: tuple[int, ...] = (24, 48, 96, 128, 128),
        shortest: int = 128,
        longest: int = 192,
    ) -> None:
        super().__init__()
        first, last = widths[0], widths[-1]
        self.stem = nn.Conv2d(3, first, 5, stride=2, padding=2)
        self.down = nn.ModuleList(
            nn.Conv2d(high, low, 3, stride=2, padding=1) for high, low in pairwise(widths)
        )
        self.encode = nn.ModuleList(_Block(width) for width in widths)
        self.bottom = nn.Sequential(_Everywhere(last), _Block(last))
        self.up = nn.ModuleList(nn.Conv2d(low, high, 1) for high, low in pairwise(widths))
        self.decode = nn.ModuleList(_Block(width) for width in widths[:-1])
        self.out = nn.Sequential(nn.GroupNorm(8, first), nn.SiLU(), nn.Conv2d(first, 8, 1))
        self.guided = nn.Sequential(
            nn.Conv2d(8 + 3, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 1, 3, padding=1)
        )

    @property
    def factor(self) -> int:
        """Of which both sides are a multiple where it reads."""
        return 2 ** len(self.config.widths)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[2:]
        read = self.size_read(*size)
        if read != tuple(size):
            x = F.interpolate(x, read, mode="bilinear", antialias=True)
        depth = self._at_its_size(x)
        if read != tuple(size):
            depth = F.interpolate(depth, size, mode="bilinear", antialias=True)
        return depth

    def size_read(self, height: int, width: int) -> tuple[int, int]:
        """The size that a picture of ``height`` × ``width`` is read at."""
        shorter = min(height, width)
        wanted = min(max(shorter, self.config.shortest), self.config.longest)
        scale = min(wanted / shorter, LONGEST / max(height, width))
        rows, columns = (
            max(1, round(side * scale / self.factor)) * self.factor for side in (height, width)
        )
        return rows, columns

    def _at_its_size(self, picture: torch.Tensor) -> torch.Tensor:
        x = self.encode[0](self.stem(picture))  # (B, widths[0], H/2, W/2)
        skips = []
        for down, block in zip(self.down, self.encode[1:], strict=True):
            skips.append(x)
            x = block(down(x))
        x = self.bottom(x)  # (B, widths[-1], H/32, W/32)
        for up, block, skip in reversed(list(zip(self.up, self.decode, skips, strict=True))):
            x = block(F.interpolate(up(x), scale_factor=2, mode="bilinear") + skip)
        x = F.interpolate(self.out(x), scale_factor=2, mode="bilinear")  # (B, 8, H, W)
        return torch.sigmoid(self.guided(torch.cat([x, picture], 1)))
