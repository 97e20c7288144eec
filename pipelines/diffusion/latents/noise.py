"""The noise that a picture begins with: of one seed, or of two mixed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from pipelines.diffusion.denoise import noise_for
from pipelines.diffusion.seeds import MAX_SEED, Variation

Size = tuple[int, int]
_STRAIGHT = 1e-6  # sine of the angle below which two directions are one


def starting_noise(
    shape: Sequence[int],
    seeds: Sequence[int],
    generators: Sequence[torch.Generator],
    variation: Variation | None = None,
    factor: int = 8,
) -> torch.Tensor:
    """(B, C, h, w) of unit variance, one picture's for each seed.

    Args:
        shape: (C, h, w).
        seeds: of the pictures.
        generators: on the CPU, seeded with them; each draws ``shape`` once.
        variation: its seed counts up from picture to picture.
        factor: pixels of the picture's side for one of the latents'.
    """
    if variation is None:
        return noise_for(shape, generators)
    return torch.stack(
        [
            _vary_one(shape, seed, generator, variation, place, factor)
            for place, (seed, generator) in enumerate(zip(seeds, generators, strict=True))
        ]
    )


def _vary_one(
    shape: Sequence[int],
    seed: int,
    generator: torch.Generator,
    variation: Variation,
    place: int,
    factor: int,
) -> torch.Tensor:
    def draw(seed: int, size: Size | None) -> torch.Tensor:
        drawn = shape if size is None else (shape[0], size[1] // factor, size[0] // factor)
        return _draw(seed, drawn)

    own = torch.randn(shape, generator=generator)
    return vary(own, seed, further_on(variation, place), draw)


def vary(
    own: torch.Tensor,
    seed: int,
    variation: Variation,
    draw: Callable[[int, Size | None], torch.Tensor],
) -> torch.Tensor:
    """The noise of a seed with that of a variation in it, (C, h, w).

    Args:
        own: what the seed has drawn for the picture.
        draw: ``draw(seed, size)``, what a seed draws for a picture of a width and a height, or of
            the picture's own.
    """
    size = None if variation.width is None else (variation.width, variation.height)
    inner = own if size is None else draw(seed, size)
    if variation.strength > 0:
        inner = slerp(variation.strength, inner, draw(variation.seed, size))
    return inner if size is None else _centre(inner, own)


def further_on(variation: Variation, count: int) -> Variation:
    """A variation whose seed is so much further on, through zero."""
    return variation.model_copy(update={"seed": (variation.seed + count) % (MAX_SEED + 1)})


def _draw(seed: int, shape: Sequence[int]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def slerp(share: float, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """From ``low`` (share 0) to ``high`` (share 1) on a sphere: their mixture keeps its variance.

    The angle is that between columns: each channel's (h,) vectors, one for every place along w, as
    A1111 measures it (``slerp`` in its ``modules/rng.py``).

    Args:
        low, high: (C, h, w).
    """
    unit_low, unit_high = (each / each.norm(dim=1, keepdim=True) for each in (low, high))
    angle = (unit_low * unit_high).sum(1, keepdim=True).clamp(-1, 1).acos()  # (C, 1, w)
    sine = angle.sin()
    mixed = ((1 - share) * angle).sin() / sine * low + (share * angle).sin() / sine * high
    return torch.where(sine < _STRAIGHT, torch.lerp(low, high, share), mixed)


def _centre(inner: torch.Tensor, outer: torch.Tensor) -> torch.Tensor:
    """``outer`` (C, h, w) with ``inner`` over its middle, cut where that is larger.

    Of an inner one with an odd number of rows or columns too many, A1111 takes one less than would
    fit; so does this.
    """
    result = outer.clone()
    here, there = [slice(None)], [slice(None)]
    for axis in (1, 2):
        offset = (outer.shape[axis] - inner.shape[axis]) // 2
        length = inner.shape[axis] + 2 * min(offset, 0)
        begin, start = max(offset, 0), max(-offset, 0)
        here.append(slice(begin, begin + length))
        there.append(slice(start, start + length))
    result[tuple(here)] = inner[tuple(there)]
    return result
