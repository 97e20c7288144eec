"""Variations where the noise is drawn by a pipeline of diffusers' own.

It draws in its own shape, and hands the noise on as its loop has it. So it is asked to draw once
more, from other seeds, and what comes of both is mixed before it goes on.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch

from pipelines.diffusion.from_picture.late_scheduler import arrange, spread
from pipelines.diffusion.latents.noise import Size, vary
from pipelines.diffusion.seeds import Variation


def vary_noise(pipe: Any, seed: int, variation: Variation, size: Size) -> None:
    """Lets a pipeline begin with the noise of a seed and a variation of it.

    Args:
        pipe: a copy of a pipeline, whose method ``prepare_latents`` is replaced.
        seed: of the generator that the pipeline will be given.
        size: width and height of the picture.
    """
    original = pipe.prepare_latents
    signature = inspect.signature(original)

    @functools.wraps(original)
    def prepare(*arguments: Any, **options: Any) -> Any:
        def draw(seed: int, other: Size | None) -> torch.Tensor:
            given = signature.bind(*arguments, **options)
            given.arguments["generator"] = torch.Generator().manual_seed(seed)
            if other is not None:
                given.arguments["width"], given.arguments["height"] = other
            return plane(original(*given.args, **given.kwargs), other or size)

        def plane(made: Any, size: Size) -> torch.Tensor:
            """(C, h, w)"""
            latents = made[0] if isinstance(made, tuple) else made
            return spread(pipe, latents, size)[0].float()

        made = original(*arguments, **options)
        noise = vary(plane(made, size), seed, variation, draw)
        latents = arrange(pipe, noise[None])
        if not isinstance(made, tuple):
            return latents.reshape(made.shape).to(made)
        return (latents.reshape(made[0].shape).to(made[0]), *made[1:])

    pipe.prepare_latents = prepare
