"""The segmenter: cuts the toys out of a picture, each by itself.

Every pixel says how much of it a toy covers and where that toy's middle lies (after
Panoptic-DeepLab, https://arxiv.org/abs/1911.10194); pixels whose middles lie together are one toy.
It is trained on renders and their exact masks, never on painted pictures. Kinds and colours are
nothing to it: it sees a dented toy as dented.
"""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from pipelines.toybox.judge import Block

SIDE = 128  # pixels; larger pictures are halved until they have it, so that figures compare
REACH = 32  # pixels that an offset of 1 stands for
SPECK = 0.015  # share of a toy's area below which what lies apart from it is not part of it


class Segmenter(ModelMixin, ConfigMixin):
    """Pictures (B, 3, H, W) in −1 … 1 to (B, 3, H, W): logits of coverage, and offsets x and y.

    Args:
        widths: channels at 1/2, 1/4 and 1/8 of the size.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, widths: tuple[int, ...] = (16, 32, 64)) -> None:
        super().__init__()
        half, quarter, eighth = widths
        self.stem = nn.Conv2d(3, half, 5, 2, 2)
        self.block1 = Block(half)
        self.down1 = nn.Conv2d(half, quarter, 3, 2, 1)
        self.block2 = Block(quarter)
        self.down2 = nn.Conv2d(quarter, eighth, 3, 2, 1)
        self.deep = nn.Sequential(*(Block(eighth, dilation) for dilation in (1, 2, 4, 1)))
        self.up2 = nn.Conv2d(eighth, 4 * quarter, 1)
        self.merge2 = Block(quarter)
        self.up1 = nn.Conv2d(quarter, 4 * half, 1)
        self.merge1 = Block(half)
        self.head = nn.Conv2d(half, 4 * 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = self.block1(self.stem(x))
        quarter = self.block2(self.down1(half))
        deep = self.deep(self.down2(quarter))
        quarter = self.merge2(quarter + F.pixel_shuffle(self.up2(deep), 2))
        half = self.merge1(half + F.pixel_shuffle(self.up1(quarter), 2))
        return F.pixel_shuffle(self.head(F.silu(half)), 2)

    @torch.no_grad()
    def cut(self, image: np.ndarray, count: int) -> list[np.ndarray]:
        """The silhouettes of ``count`` toys in a picture, from left to right.

        Args:
            image: (H, W, 3) uint8, square; larger than ``SIDE`` by a power of two or not at all.
            count: how many toys there should be.

        Returns:
            ``count`` arrays (SIDE, SIDE) float32, the share of each pixel that the toy covers; all
            zero where no toy is found.
        """
        if image.shape[0] != SIDE:
            image = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        x = torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        out = self(x.to(self.device, torch.float32) / 127.5 - 1)[0].float().cpu()
        return separate(out[0].sigmoid().numpy(), REACH * out[1:].numpy(), count)


def separate(coverage: np.ndarray, offsets: np.ndarray, count: int) -> list[np.ndarray]:
    """Shares a picture's toy pixels out among ``count`` toys.

    Args:
        coverage: (H, W), 0 … 1.
        offsets: (2, H, W), x and y in pixels from a pixel to the middle of its toy.
        count: toys.

    Returns:
        ``count`` arrays (H, W) float32 from left to right; see :meth:`Segmenter.cut`.
    """
    coverage = coverage.astype(np.float32)
    rows, columns = np.nonzero(coverage > 0.05)
    empty = [np.zeros_like(coverage) for _ in range(count)]
    sure = coverage[rows, columns] > 0.5
    if sure.sum() < count:
        return empty
    votes = np.stack([columns, rows], 1) + offsets[:, rows, columns].T
    votes = votes.astype(np.float32)
    middles = _middles(votes[sure], count)
    owners = ((votes[:, None] - middles) ** 2).sum(2).argmin(1)
    for i, silhouette in enumerate(empty):
        mine = owners == i
        silhouette[rows[mine], columns[mine]] = coverage[rows[mine], columns[mine]]
    return [_without_specks(silhouette) for silhouette in empty]


def _middles(votes: np.ndarray, count: int) -> np.ndarray:
    """(count, 2) centres of clusters of votes (N, 2), from left to right."""
    if count == 1:
        return votes.mean(0, keepdims=True)
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 30, 0.05)
    _, _, middles = cv2.kmeans(votes, count, None, stop, 4, cv2.KMEANS_PP_CENTERS)
    return middles[middles[:, 0].argsort()]


def _without_specks(silhouette: np.ndarray) -> np.ndarray:
    """Without what lies apart and is next to nothing; a larger piece that came off stays."""
    solid = (silhouette > 0.5).astype(np.uint8)
    number, labels, facts, _ = cv2.connectedComponentsWithStats(solid, connectivity=8)
    if number <= 2:
        near = solid
    else:
        areas = facts[1:, cv2.CC_STAT_AREA]
        large = 1 + np.nonzero(areas >= SPECK * areas.sum())[0]
        near = np.isin(labels, large).astype(np.uint8)
    return silhouette * (cv2.dilate(near, np.ones((5, 5), np.uint8)) > 0)


def best_order(scores: np.ndarray) -> tuple[int, ...]:
    """Which silhouette to take for each asked toy, so that the sum of scores is largest.

    Args:
        scores: (asked toys, silhouettes), square.
    """
    count = len(scores)
    return max(
        permutations(range(count)),
        key=lambda order: sum(scores[asked, found] for asked, found in enumerate(order)),
    )


def load_segmenter(folder: Path) -> Segmenter:
    """The segmenter from its folder, in fp32."""
    return Segmenter.from_pretrained(folder, torch_dtype=torch.float32).eval()
