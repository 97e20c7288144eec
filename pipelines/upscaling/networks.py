"""Upscaling networks at work: a picture tile by tile, of convolutional ones without any seam."""

from __future__ import annotations

import gc
import logging
from collections.abc import Generator, Iterator

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError

from pipelines.core.devices import empty_cache, is_out_of_memory, out_of_memory
from pipelines.core.errors import Unavailable
from pipelines.upscaling.catalog import UpscalerEntry, unwrap

TILE = 256  # pixels of the small picture's side that a tile keeps
_BLENDED = 32  # over which tiles of other networks go into one another
_CONVOLUTIONAL = {"Compact", "ESRGAN"}  # spandrel's names; all that these networks hold is local
_FARTHEST = 64  # pixels that convolutions are counted up to; of deeper networks it is measured
_FAINT = 1e-4  # share of the strongest influence that no tile has to know
_UNREADABLE = (RuntimeError, MemoryError, LookupError, ValueError, TypeError, AttributeError,
               SafetensorError, AssertionError, ArithmeticError,
               UnsupportedModelError)  # fmt: skip
_LARGEST_SCALE = 16  # of a network; what claims more is none that anybody has trained

_log = logging.getLogger(__name__)
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

    def upscale(self, picture: Image.Image, tile: int = TILE, most: int | None = None) -> Steps:
        """The picture ``scale`` times as large, or less.

        Args:
            tile: pixels of the side of what is computed at a time, without what lies around it.
                Of a network with a ``reach`` the result is the same for any.
            most: pixels of a result; a larger one is averaged as it is made, to a whole part of
                ``scale``. None: no limit.
        """
        pixels = torch.from_numpy(np.asarray(picture, np.float32) / 255).movedim(-1, 0)[None]
        margin = _BLENDED if self.reach is None else self.reach
        height, width = pixels.shape[-2:]
        boxes = list(_tiles(width, height, tile))
        shrink = _shrink(self.scale, width * height, most)
        scale = self.scale // shrink
        large = np.zeros((height * scale, width * scale, 3), np.uint8)
        blended = weights = None
        if self.reach is None:
            blended = torch.zeros(1, 3, *large.shape[:2])
            weights = torch.zeros(1, 1, *large.shape[:2])
        for done, (left, top, right, bottom) in enumerate(boxes):
            yield done, len(boxes)
            x, y = max(0, left - margin), max(0, top - margin)
            part = pixels[..., y : min(height, bottom + margin), x : min(width, right + margin)]
            made = self._enlarge(part)
            if not torch.isfinite(made).all():
                raise Unavailable(
                    "The upscaler's numbers overflowed, so there is no picture. Choose another "
                    "upscaler."
                )
            if shrink > 1:
                made = torch.nn.functional.avg_pool2d(made, shrink)
            if blended is None:
                own = made[0, :, (top - y) * scale : (bottom - y) * scale,
                           (left - x) * scale : (right - x) * scale]  # fmt: skip
                large[top * scale : bottom * scale, left * scale : right * scale] = _to_bytes(own)
            else:
                _blend(made, blended, weights, (x * scale, y * scale), 2 * margin * scale)
        if blended is not None:
            for row in range(0, large.shape[0], tile):  # little by little: it is large
                rows = slice(row, row + tile)
                large[rows] = _to_bytes(blended[0, :, rows] / weights[0, :, rows])
        yield len(boxes), len(boxes)
        return Image.fromarray(large)

    def _enlarge(self, part: torch.Tensor) -> torch.Tensor:
        """What the network makes of a tile, float32 on the CPU.

        Raises:
            OutOfMemory: the device's memory does not suffice.
            Unavailable: the network cannot be run.
        """
        try:
            return self._descriptor(part.to(self.device)).float().cpu()
        except _UNREADABLE as error:
            if is_out_of_memory(error):
                size = f"{part.shape[-1]}×{part.shape[-2]}"
                raise out_of_memory(error, self.device, size) from error
            _log.warning("an upscaler cannot be run", exc_info=error)
            raise _not_run() from error


def _not_run() -> Unavailable:
    return Unavailable(
        "The upscaler cannot be run: the parts of its network do not fit together. Choose another "
        "upscaler."
    )


def load(entry: UpscalerEntry, device: str) -> Network:
    """The network of ``entry`` on ``device``.

    Raises:
        Unavailable: its file cannot be used; the sentence says why.
        OutOfMemory: the device's memory does not suffice.
    """
    name = entry.path.name
    try:
        descriptor = ModelLoader().load_from_state_dict(unwrap(load_file(entry.path)))
    except OSError as error:
        reason = error.strerror or "?"
        raise Unavailable("{file} cannot be read: {reason}.", file=name, reason=reason) from error
    except _UNREADABLE as error:
        if is_out_of_memory(error):
            raise out_of_memory(error, "cpu", name) from error
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
    if not 1 <= descriptor.scale <= _LARGEST_SCALE:
        raise Unavailable(
            "{file} makes pictures {scale} times as large; networks up to {limit} times can be "
            "used.",
            file=name,
            scale=descriptor.scale,
            limit=_LARGEST_SCALE,
        )
    model = descriptor.float().model
    if not all(torch.isfinite(each).all() for each in (*model.parameters(), *model.buffers())):
        raise Unavailable(
            "{file} holds values that are no numbers, so that its pictures would be black. Get it "
            "anew, or choose another upscaler.",
            file=name,
        )
    try:
        return Network(descriptor, device)
    except _UNREADABLE as error:
        if is_out_of_memory(error):
            raise out_of_memory(error, device, name) from error
        _log.warning("%s cannot be run", name, exc_info=error)
        raise _not_run() from error


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
    """Beyond which pixels a change in the middle makes next to no difference.

    In deep networks that is a small part of what could be reached. Most is seen in a small picture;
    where it is not, larger ones are taken. No gradients: an ESRGAN of 23 blocks keeps 17 GB for
    those of 256 × 256 pixels.
    """
    side, largest = fold * max(1, _FARTHEST // fold), 4 * _FARTHEST
    while (reach := _far_change(descriptor, fold, side)) > side // 4 and side < largest:
        side = min(2 * side, largest)
    return reach


def _far_change(descriptor: ImageModelDescriptor, fold: int, side: int) -> int:
    """How far from the middle of a picture of noise others change with it; its pixels, plus one.

    What changes is a block that the network folds into one: its pixels reach differently far.
    """
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 3, side, side, generator=generator)
    start = side // 2 // fold * fold
    changed = picture.clone()
    changed[..., start : start + fold, start : start + fold] *= -1
    changed += (changed < 0).float()  # 1 − x, the most that a pixel can change by and stay one
    device = next(descriptor.model.parameters()).device
    with torch.inference_mode():
        made, other = (descriptor.model(each.to(device)).float() for each in (picture, changed))
    difference = (made - other).abs().amax((0, 1)).cpu()
    places = (difference > _FAINT * difference.max()).nonzero() // descriptor.scale
    far = torch.maximum(start - places, places - (start + fold - 1))
    return -(-(int(far.max()) + 1) // fold) * fold if len(places) else fold


def _shrink(scale: int, pixels: int, most: int | None) -> int:
    """By which whole part of ``scale`` a result is averaged, so that it keeps to ``most`` pixels.

    What is left is larger than the small picture in any case.

    Args:
        pixels: of the small picture.
    """
    parts = [each for each in range(1, max(2, scale)) if scale % each == 0]
    fitting = (each for each in parts if most is None or pixels * (scale // each) ** 2 <= most)
    return next(fitting, parts[-1])


def _to_bytes(values: torch.Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] to uint8 (H, W, 3)."""
    return (values.clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).numpy()


def _blend(
    made: torch.Tensor, large: torch.Tensor, weights: torch.Tensor, at: tuple[int, int], edge: int
) -> None:
    """Adds a whole tile at ``at`` (x, y), weighing less over ``edge`` pixels at its edges."""
    height, width = made.shape[-2:]
    shares = [_ramp(length, edge) for length in (height, width)]
    share = shares[0][:, None] * shares[1][None]
    rows, columns = slice(at[1], at[1] + height), slice(at[0], at[0] + width)
    large[..., rows, columns] += made * share
    weights[..., rows, columns] += share


def _tiles(width: int, height: int, tile: int) -> Iterator[tuple[int, int, int, int]]:
    """Parts of a picture: left, top, right, bottom."""
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            yield left, top, min(width, left + tile), min(height, top + tile)


def _ramp(length: int, edge: int) -> torch.Tensor:
    """(length,) in (0, 1]: rises over ``edge`` pixels at both ends."""
    from_start = torch.arange(1, length + 1) / edge
    return torch.minimum(from_start, from_start.flip(0)).clamp(max=1)
