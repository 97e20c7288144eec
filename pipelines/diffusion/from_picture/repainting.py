"""A picture that is to be changed: what of it is painted, where, and how the result goes back in.

Where the mask is 0 the result has the pixels of the picture that was brought in, bit for bit: they
are put back after decoding, whatever the autoencoder made of them.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from pipelines.core.errors import BadRequest
from pipelines.core.pictures.fitting import Box, fit
from pipelines.core.pictures.inputs import open_input
from pipelines.diffusion.from_picture.colours import match_colours
from pipelines.diffusion.from_picture.mask import (
    blur_mask,
    box_around,
    fill_masked,
    fit_mask,
    read_mask,
)
from pipelines.diffusion.from_picture.outpainting import band, extend, extended_size
from pipelines.diffusion.from_picture.requests import FromPicture


@dataclass(frozen=True, slots=True, eq=False)
class Repainting:
    """A picture laid out for painting.

    Attributes:
        whole: what the result is put into, RGB.
        box: the part of ``whole`` that is painted.
        base: what the painting begins with, RGB, of the painted size.
        mask: uint8 (H, W) of ``whole``'s size, 255 where something new comes, 0 where the picture
            stays; None: everything may change.
        corner: where the picture that was brought in lies in ``whole``: left, top.
        padded: what is painted is the box, and more to its right and below, that is cut off.
        corrects: what is painted takes over the colours of ``base``.
    """

    whole: Image.Image
    box: Box
    base: Image.Image
    mask: np.ndarray | None
    corner: tuple[int, int] = (0, 0)
    padded: bool = False
    corrects: bool = False

    @property
    def painted_box(self) -> Box:
        """What is painted, as a part of the picture that was brought in, and beyond it."""
        left, top, right, bottom = self.box
        if self.padded:
            right, bottom = left + self.base.width, top + self.base.height
        across, down = self.corner
        return left - across, top - down, right - across, bottom - down

    def change(self, factor: int) -> torch.Tensor | None:
        """(1, 1, h, w) in [0, 1] at the latents' size: where something new comes.

        A latent changes as much as the most changed pixel that it paints.
        """
        if self.mask is None:
            return None
        width, height = self.base.size
        part = self._crop(self.mask)
        if self.padded:
            part = np.pad(part, ((0, height - part.shape[0]), (0, width - part.shape[1])), "edge")
        part = _resize(part, self.base.size)
        tiles = part.reshape(height // factor, factor, width // factor, factor)
        return torch.from_numpy(tiles.max(axis=(1, 3)).astype(np.float32) / 255)[None, None]

    def preview(self) -> Image.Image:
        """What the painting begins with, striped in red where something new comes."""
        preview = self.base.copy()
        if self.mask is None:
            return preview
        mask = Image.fromarray(self._crop(self.mask))
        if self.padded:
            preview = preview.crop((0, 0, *mask.size))
        preview = preview.resize(mask.size)
        preview.paste(_stripes(preview.size), mask=mask.point(lambda value: value // 2))
        return preview

    def correct(self, painted: Image.Image) -> Image.Image:
        """What was painted with the colours that were asked for, its own or the picture's."""
        return match_colours(painted, self.base) if self.corrects else painted

    def finish(self, painted: Image.Image) -> Image.Image:
        """The whole picture with what was painted in its place."""
        painted = self.correct(painted)
        if self.mask is None:
            return painted
        part = self.whole.crop(self.box)
        if self.padded:
            painted = painted.crop((0, 0, *part.size))
        if painted.size != part.size:
            painted = painted.resize(part.size, Image.Resampling.LANCZOS)
        share = self._crop(self.mask).astype(np.float32)[..., None] / 255
        old, new = np.asarray(part, np.float32), np.asarray(painted, np.float32)
        mixed = np.rint(old + share * (new - old)).clip(0, 255).astype(np.uint8)
        result = self.whole.copy()
        result.paste(Image.fromarray(mixed), self.box[:2])
        return result

    def _crop(self, array: np.ndarray) -> np.ndarray:
        left, top, right, bottom = self.box
        return array[top:bottom, left:right]


class PreviewFrame:
    """The picture around what is painted, at a preview's resolution.

    Args:
        repainting: what is painted; None: a picture of its own.
        longest: pixels of a preview's longer side.
    """

    def __init__(self, repainting: Repainting | None, longest: int) -> None:
        self._repainting = None
        if repainting is None or repainting.mask is None:
            return
        self._repainting = repainting
        width, height = repainting.whole.size
        scale = min(1.0, longest / max(width, height))
        self._whole = repainting.whole.resize(
            (max(1, round(width * scale)), max(1, round(height * scale))), reducing_gap=2.0
        )
        across, down = self._whole.width / width, self._whole.height / height
        left, top, right, bottom = repainting.box
        left, top = math.floor(left * across), math.floor(top * down)
        right, bottom = math.ceil(right * across), math.ceil(bottom * down)
        self._place, self._size = (left, top), (right - left, bottom - top)
        self._mask = Image.fromarray(repainting._crop(repainting.mask)).resize(self._size)

    def __call__(self, painted: Image.Image) -> Image.Image:
        """The whole picture with the preview of what is painted in its place, as finished."""
        if self._repainting is None:
            return painted
        if self._repainting.padded:
            (left, top, right, bottom), base = self._repainting.box, self._repainting.base
            shown = (right - left) / base.width, (bottom - top) / base.height
            box = (0, 0, painted.width * shown[0], painted.height * shown[1])
            painted = painted.resize(self._size, Image.Resampling.BILINEAR, box)
        elif painted.size != self._size:
            painted = painted.resize(self._size, Image.Resampling.BILINEAR)
        result = self._whole.copy()
        result.paste(painted, self._place, self._mask)
        return result


def open_repainting(asked: FromPicture, size: tuple[int, int], home: Path) -> Repainting:
    """The picture of a request, laid out to be painted at ``size`` (width, height).

    Raises:
        BadRequest: the mask is empty, or of other proportions than the picture.
        NotFound: picture or mask have been deleted.
    """
    picture = open_input(home, asked.picture, asked.background)
    if asked.outpaint is not None:
        return _open_extended(asked, picture, size, home)
    if asked.mask is None:
        fitted = _fit(picture, size, asked.fit)
        return Repainting(fitted, (0, 0, *size), fitted, None, corrects=asked.colour_correction)
    mask = read_mask(open_input(home, asked.mask), picture.size, asked.invert_mask)
    if asked.area == "whole":
        picture = _fit(picture, size, asked.fit)
        mask = fit_mask(mask, size, asked.fit)
        if not mask.any():
            raise BadRequest(
                "Nothing of the mask is on what cropping to {width}×{height} leaves of the "
                "picture. Choose Pad or Stretch, or a size of the picture's proportions.",
                width=size[0],
                height=size[1],
            )
    mask = blur_mask(mask, asked.mask_blur)
    box = (0, 0, *picture.size)
    if asked.area == "masked":
        box = box_around(mask, asked.padding, size)
    base = picture
    if fills(asked):
        base = fill_masked(picture, mask)
    base = base.crop(box).resize(size, Image.Resampling.LANCZOS)
    return Repainting(picture, box, base, mask, corrects=asked.colour_correction)


def _open_extended(
    asked: FromPicture, picture: Image.Image, size: tuple[int, int], home: Path
) -> Repainting:
    """The same of a picture that grows; ``size`` is that of :func:`outpainting.sized`."""
    extended_size(asked.outpaint, picture.size)
    left, top, *_ = asked.outpaint.pixels(picture.size)
    whole, new = extend(picture, asked.outpaint)
    mask = band(new, asked.mask_blur)
    if asked.mask is not None:
        own = read_mask(open_input(home, asked.mask), picture.size, asked.invert_mask)
        inside = np.s_[top : top + picture.height, left : left + picture.width]
        mask[inside] = np.maximum(mask[inside], own)
    mask = np.maximum(blur_mask(mask, asked.mask_blur), new)
    base, corner, corrects = whole, (left, top), asked.colour_correction
    if asked.mask is not None and fills(asked):
        base = fill_masked(whole, mask)
    if asked.area == "masked":
        box = box_around(mask, asked.padding, size)
        base = base.crop(box).resize(size, Image.Resampling.LANCZOS)
        return Repainting(whole, box, base, mask, corner, corrects=corrects)
    right, bottom = size[0] - whole.width, size[1] - whole.height
    pixels = cv2.copyMakeBorder(np.asarray(base), 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    box = (0, 0, *whole.size)
    base = Image.fromarray(pixels)
    return Repainting(whole, box, base, mask, corner, padded=True, corrects=corrects)


def fills(asked: FromPicture) -> bool:
    """Whether the surroundings' colours lie below the mask at first.

    At full strength, which paints anew, they do where the picture itself would: what is left of it
    in the first noise would show through.
    """
    anew = asked.strength == 1 and not asked.edit and asked.mask_weight == 1
    anew = anew and asked.masked_content == "original"
    return anew or asked.masked_content == "fill"


def describe_picture(asked: FromPicture | None, home: Path | None) -> dict[str, str]:
    """What files say of the picture that was begun from, as A1111 and SD.Next call it.

    The hash is that of its pixels, MD5 as theirs: it tells a picture that one has, and brings none.
    """
    if asked is None or home is None:
        return {}
    picture = open_input(home, asked.picture)
    return {
        "Init image size": f"{picture.width}x{picture.height}",
        "Init image hash": hashlib.md5(picture.tobytes(), usedforsecurity=False).hexdigest(),
    }


def _fit(picture: Image.Image, size: tuple[int, int], mode: str) -> Image.Image:
    """RGB of ``size``; what padding adds has the colours of the picture's edge."""
    fitted, (left, top) = fit(picture, size, mode)
    if fitted.size == size:
        return fitted
    right, bottom = size[0] - fitted.width - left, size[1] - fitted.height - top
    return Image.fromarray(
        cv2.copyMakeBorder(np.asarray(fitted), top, bottom, left, right, cv2.BORDER_REPLICATE)
    )


def _stripes(size: tuple[int, int]) -> Image.Image:
    """Red with white stripes: red alone is not seen on what is red itself."""
    width, height = size
    far = max(8, max(size) // 40)
    along = np.add.outer(np.arange(height), np.arange(width)) % far
    pixels = np.where(along[..., None] < far / 4, 255, (255, 0, 0)).astype(np.uint8)
    return Image.fromarray(pixels)


def _resize(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if mask.shape[::-1] == size:
        return mask
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BILINEAR))
