"""The second pass: its settings, and what it begins with."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from PIL import Image

from pipelines.diffusion.hires.requests import LATENT_MODES, Hires
from pipelines.diffusion.latents.coding import encode_picture
from pipelines.diffusion.loading import DiffusionModel
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.wording.dynamic_prompts import Words
from pipelines.upscaling.engine import enlarge

if TYPE_CHECKING:
    from pipelines.upscaling.networks import Network


@dataclass(frozen=True, slots=True, eq=False)
class FirstPictures:
    """What the first pass of another model has painted, for the second pass of this one.

    Attributes:
        images: RGB, in the order of the pictures.
        alike: both models are of one family, so that the first one's settings mean the same here.
    """

    images: Iterator[Image.Image]
    alike: bool

    def take(self, count: int) -> list[Image.Image]:
        """The next ones."""
        return list(itertools.islice(self.images, count))


def second_pass(settings: TextToImageRequest, alike: bool = True) -> TextToImageRequest:
    """The settings of the second pass of a resolved request.

    Args:
        alike: see :class:`FirstPictures`.
    """
    hires = settings.hires
    width, height = hires.size_for(settings.width, settings.height)
    changes = {
        "width": width,
        "height": height,
        "steps": hires.steps or settings.steps,
        "guidance": settings.guidance if hires.guidance is None else hires.guidance,
        "sampler": hires.sampler or (settings.sampler if alike else None),
        "schedule": hires.schedule or (settings.schedule if alike else None),
        "prompt": hires.prompt or settings.prompt,
        "negative_prompt": hires.negative_prompt or settings.negative_prompt,
        "from_picture": None,
        "hires": None,
    }
    return settings.model_copy(update=changes)


def second_words(hires: Hires, words: Sequence[Words] | None) -> list[Words] | None:
    """Each picture's own prompts in the second pass; see :func:`second_pass`."""
    if words is None:
        return None
    return [
        Words(hires.prompt or own.prompt, hires.negative_prompt or own.negative_prompt)
        for own in words
    ]


def encode_pictures(model: DiffusionModel, images: Sequence[Image.Image]) -> torch.Tensor:
    """The latents (B, C, h, w) of pictures of one size, brought to a multiple of a latent's."""
    latents = []
    for image in images:
        size = tuple(max(1, round(side / model.factor)) * model.factor for side in image.size)
        fitted = image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
        latents.append(encode_picture(model, fitted))
    return torch.cat(latents)


def enlarged_latents(latents: torch.Tensor, size: tuple[int, int], upscaler: str) -> torch.Tensor:
    """(B, C, h, w) of the size (height, width), cut about the middle where proportions differ."""
    mode, antialias = LATENT_MODES[upscaler]
    height, width = latents.shape[-2:]
    scale = max(size[0] / height, size[1] / width)
    covering = max(size[0], round(height * scale)), max(size[1], round(width * scale))
    larger = F.interpolate(latents, covering, mode=mode, antialias=antialias)
    top, left = (covering[0] - size[0]) // 2, (covering[1] - size[1]) // 2
    return larger[..., top : top + size[0], left : left + size[1]]


def enlarged_pictures(
    model: DiffusionModel,
    images: list[Image.Image],
    size: tuple[int, int],
    hires: Hires,
    network: Network | None,
) -> Generator[None, None, torch.Tensor]:
    """The latents (B, C, h, w) of pictures made larger to ``size`` (width, height).

    Yields after each tile, so that whoever iterates can stop.
    """
    latents = []
    for image in images:
        steps = enlarge(image, size, network, hires.upscaler)
        try:
            while True:
                next(steps)
                yield
        except StopIteration as end:
            latents.append(encode_picture(model, end.value))
    return torch.cat(latents)
