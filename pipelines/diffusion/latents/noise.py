"""The noise that a picture begins with: of one seed, or of two mixed."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pipelines.diffusion.denoise import noise_for
from pipelines.diffusion.seeds import MAX_SEED, Variation

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
            _vary(shape, seed, generator, variation, place, factor)
            for place, (seed, generator) in enumerate(zip(seeds, generators, strict=True))
        ]
    )


def _vary(
    shape: Sequence[int],
    seed: int,
    generator: torch.Generator,
    variation: Variation,
    place: int,
    factor: int,
) -> torch.Tensor:
    drawn = tuple(shape)
    if variation.width is not None:
        drawn = (shape[0], variation.height // factor, variation.width // factor)
    own = _draw(seed, drawn) if drawn != tuple(shape) else torch.randn(shape, generator=generator)
    if variation.strength > 0:
        other = _draw((variation.seed + place) % (MAX_SEED + 1), drawn)
        own = slerp(variation.strength, own, other)
    if drawn == tuple(shape):
        return own
    return _centre(own, torch.randn(shape, generator=generator))


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
