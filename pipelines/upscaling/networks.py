"""Upscaling networks at work: a picture tile by tile, of convolutional ones without any seam."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError

from pipelines.core.devices import empty_cache
from pipelines.core.errors import Unavailable
from pipelines.upscaling.catalog import UpscalerEntry

TILE = 256  # pixels of the small picture's side that a tile keeps
_BLENDED = 32  # over which tiles of other networks go into one another
_CONVOLUTIONAL = {"Compact", "ESRGAN"}  # spandrel's names; all that these networks hold is local
_FARTHEST = 64  # pixels that convolutions are counted up to; of deeper networks it is measured
_FAINT = 1e-4  # share of the strongest influence that no tile has to know
_UNREADABLE = (RuntimeError, LookupError, ValueError, TypeError, AttributeError, SafetensorError,
               UnsupportedModelError)  # fmt: skip

Steps = Generator[tuple[int, int], None, Image.Image]
"""Yields tiles done and their total; returns the picture."""


class Network:
    """One upscaling network; what :class:`pipelines.core.cache.ModelCache` keeps.

    Attributes:
        scale: pixels of the large picture's side for one of the small one's.
        reach: pixels of the small picture from which a pixel is made, in each direction; None where
            that is the whole picture.
    """

    def __init__(self, descriptor: ImageModelDescriptor, device: str) -> None:
        self._descriptor = descriptor.to(device).eval()
        self._descriptor.model.requires_grad_(False)
        self.device, self.scale = device, descriptor.scale
        self.reach = _reach(descriptor)

    @property
    def nbytes(self) -> int:
        model = self._descriptor.model
        return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))

    def to(self, device: str) -> None:
        left, self.device = self.device, device
        self._descriptor.to(device)
        empty_cache(left)

    def close(self) -> None:
        self._descriptor = None
        gc.collect()
        empty_cache(self.device)

    def upscale(self, picture: Image.Image, tile: int = TILE) -> Steps:
        """The picture ``scale`` times as large.

        Args:
            tile: pixels of the side of what is computed at a time, without what lies around it.
                Of a network with a ``reach`` the result is the same for any.
        """
        pixels = torch.from_numpy(np.asarray(picture, np.float32) / 255).movedim(-1, 0)[None]
        margin = _BLENDED if self.reach is None else self.reach
        height, width = pixels.shape[-2:]
        boxes = list(_tiles(width, height, tile))
        large = torch.zeros(1, 3, height * self.scale, width * self.scale)
        weights = torch.zeros(1, 1, *large.shape[-2:]) if self.reach is None else None
        for done, (left, top, right, bottom) in enumerate(boxes):
            yield done, len(boxes)
            x, y = max(0, left - margin), max(0, top - margin)
            part = pixels[..., y : min(height, bottom + margin), x : min(width, right + margin)]
            made = self._descriptor(part.to(self.device)).float().cpu()
            if weights is None:
                self._put(made, large, (x, y), (left, top, right, bottom))
            else:
                self._blend(made, large, weights, (x, y), margin)
        if weights is not None:
            large /= weights
        yield len(boxes), len(boxes)
        array = (large[0].clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).numpy()
        return Image.fromarray(array)

    def _put(self, made: torch.Tensor, large: torch.Tensor, at: tuple[int, int], box) -> None:
        """The part of a tile that nothing beyond its margin has a say in."""
        left, top, right, bottom = (each * self.scale for each in box)
        x, y = (each * self.scale for each in at)
        large[..., top:bottom, left:right] = made[..., top - y : bottom - y, left - x : right - x]

    def _blend(
        self,
        made: torch.Tensor,
        large: torch.Tensor,
        weights: torch.Tensor,
        at: tuple[int, int],
        margin: int,
    ) -> None:
        """The whole tile, weighing less towards its edges."""
        x, y = (each * self.scale for each in at)
        height, width = made.shape[-2:]
        shares = [_ramp(length, 2 * margin * self.scale) for length in (height, width)]
        share = shares[0][:, None] * shares[1][None]
        rows, columns = slice(y, y + height), slice(x, x + width)
        large[..., rows, columns] += made * share
        weights[..., rows, columns] += share


def load(entry: UpscalerEntry, device: str) -> Network:
    """The network of ``entry`` on ``device``.

    Raises:
        Unavailable: its file cannot be used; the sentence says why.
    """
    name = entry.path.name
    try:
        descriptor = ModelLoader().load_from_state_dict(load_file(entry.path))
    except OSError as error:
        reason = error.strerror or "?"
        raise Unavailable("{file} cannot be read: {reason}.", file=name, reason=reason) from error
    except _UNREADABLE as error:
        raise Unavailable(
            "{file} cannot be loaded: it is damaged, or of an architecture that spandrel does not "
            "know. Get it anew, or choose another upscaler.",
            file=name,
        ) from error
    if not isinstance(descriptor, ImageModelDescriptor) or descriptor.input_channels != 3:
        raise Unavailable(
            "{file} does not make coloured pictures of coloured pictures, so it cannot be used as "
            "an upscaler.",
            file=name,
        )
    return Network(descriptor.float(), device)


def _reach(descriptor: ImageModelDescriptor) -> int | None:
    """From how far a pixel is made, in pixels of the small picture; see :class:`Network`.

    Each convolution of k pixels adds k // 2. Counted so, all of them one after the other, it is
    never too little. Networks that begin by folding a picture see so much farther.
    """
    if descriptor.architecture.id not in _CONVOLUTIONAL:
        return None
    fold = descriptor.size_requirements.multiple_of
    layers = [each for each in descriptor.model.modules() if isinstance(each, torch.nn.Conv2d)]
    counted = fold * sum(each.dilation[0] * (each.kernel_size[0] // 2) for each in layers)
    if counted <= _FARTHEST:
        return -(-counted // fold) * fold
    return min(counted, _measured_reach(descriptor, fold))


def _measured_reach(descriptor: ImageModelDescriptor, fold: int) -> int:
    """Beyond which pixels have next to no influence on the middle one, by its gradient.

    In deep networks that is a small part of what could be reached.
    """
    side = 4 * _FARTHEST
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 3, side, side, generator=generator)
    device = next(descriptor.model.parameters()).device
    picture = picture.to(device).requires_grad_()
    with torch.enable_grad():
        made = descriptor.model(picture)
        middle = made.shape[-1] // 2
        made[..., middle, middle].sum().backward()
    influence = picture.grad.abs().amax((0, 1))
    rows, columns = (influence > _FAINT * influence.max()).nonzero(as_tuple=True)
    far = max(int((rows - side // 2).abs().max()), int((columns - side // 2).abs().max()))
    return -(-(far + 1) // fold) * fold


def _tiles(width: int, height: int, tile: int) -> Iterator[tuple[int, int, int, int]]:
    """Parts of a picture: left, top, right, bottom."""
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            yield left, top, min(width, left + tile), min(height, top + tile)


def _ramp(length: int, edge: int) -> torch.Tensor:
    """(length,) in (0, 1]: rises over ``edge`` pixels at both ends."""
    from_start = torch.arange(1, length + 1) / edge
    return torch.minimum(from_start, from_start.flip(0)).clamp(max=1)
