"""Parts of a picture that are to be repainted: found, put in order, grown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from pipelines.core.paths import ASSETS
from pipelines.core.pictures.fitting import Box
from pipelines.diffusion.details.requests import MOST, DetailFix
from pipelines.diffusion.from_picture.mask import is_dissolved

_READ_AT = 128  # pixels of the shorter side of the renders that the judge has learnt from
_CELL = 8


@dataclass(frozen=True, slots=True)
class Part:
    """Something that was found.

    Attributes:
        box: in pixels of the picture.
        what: in words, as a prompt says it.
        score: how sure the finder is, 0 … 1.
    """

    box: Box
    what: str
    score: float


def find_parts(
    image: Image.Image, asked: DetailFix, allowed: Image.Image | None = None
) -> list[Part]:
    """The parts to repaint, in their order; none where nothing is found.

    Args:
        image: RGB.
        allowed: L, of the same size, 0 where the picture stays: what lies there is no part, nor is
            a sliver that the mask's blur dissolves.
    """
    found = [part for part in _FINDERS[asked.finder](image) if part.score >= asked.confidence]
    middle = np.array(image.size) / 2

    def from_the_middle(part: Part) -> float:
        left, top, right, bottom = part.box
        return float(np.hypot(*(np.array([left + right, top + bottom]) / 2 - middle)))

    keys: dict[str, Callable[[Part], float]] = {
        "confidence": lambda part: -part.score,
        "left": lambda part: part.box[0],
        "centre": from_the_middle,
        "area": lambda part: -_area(part.box),
    }
    found.sort(key=keys[asked.order])
    grown = [Part(_grow(part.box, asked.grow, image.size), part.what, part.score)
             for part in found]  # fmt: skip
    parts = [part for part in grown if _area(part.box) > 0]
    if allowed is not None:
        may_change = np.where(np.asarray(allowed) > 0, 255, 0).astype(np.uint8)
        parts = [part for part in parts if not _is_lost(part.box, may_change, asked.mask_blur)]
    return parts[: asked.most or MOST]


def _is_lost(box: Box, may_change: np.ndarray, blur: int) -> bool:
    """Whether nothing of a part is left where the picture may change, (H, W) of 0 and 255."""
    left, top, right, bottom = box
    mask = np.zeros_like(may_change)
    mask[top:bottom, left:right] = may_change[top:bottom, left:right]
    return is_dissolved(mask, blur)


def find_toys(image: Image.Image) -> list[Part]:
    """The toys that the starter's judge sees."""
    scale = _READ_AT / min(image.size)
    size = tuple(max(_CELL, round(side * scale / _CELL) * _CELL) for side in image.size)
    read = np.array(image.convert("RGB").resize(size, Image.Resampling.LANCZOS))
    (verdict,) = _judge().read(read[None], threshold=0.05)
    across, down = image.width / size[0], image.height / size[1]
    return [
        Part(
            (round(toy.box[0] * across), round(toy.box[1] * down),
             round(toy.box[2] * across), round(toy.box[3] * down)),
            f"{toy.colour} {toy.kind}",
            toy.score,
        )
        for toy in verdict.toys
    ]  # fmt: skip


_FINDERS: dict[str, Callable[[Image.Image], list[Part]]] = {"toys": find_toys}


@cache
def _judge():
    from pipelines.toybox.judge import load_judge

    return load_judge(ASSETS / "starter" / "judge")


def _grow(box: Box, pixels: int, size: tuple[int, int]) -> Box:
    left, top, right, bottom = box
    return (
        max(0, left - pixels),
        max(0, top - pixels),
        min(size[0], right + pixels),
        min(size[1], bottom + pixels),
    )


def _area(box: Box) -> int:
    left, top, right, bottom = box
    return max(0, right - left) * max(0, bottom - top)
