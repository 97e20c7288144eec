"""What is learnt from: latents of the photos and of the class pictures, and in which order.

The autoencoder sees every picture once; what it makes of it is kept, so that training needs
neither the pictures nor the autoencoder. Which photos a batch holds, and with which noise, depends
on the seed and the step alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

BUCKET_STEP = 64  # pixels: sides of buckets at 512 and more; an eighth of smaller resolutions
MAX_ASPECT = 2.0  # longer photos are cropped to it
TRIGGER = "[trigger]"


class PhotoLike(Protocol):
    """What the trainer needs of a photo: see :class:`pipelines.dreambooth.data.subjects.Photo`."""

    id: str
    width: int
    height: int
    caption: str

    def image(self, size: int | tuple[int, int]) -> Image.Image: ...


def bucket_sizes(resolution: int) -> list[tuple[int, int]]:
    """(width, height) of about ``resolution``² pixels, from 1:2 to 2:1, the square among them.

    Sides are multiples of an eighth of the resolution, at most 64, and of 8 pixels at least.
    """
    step = max(8, min(BUCKET_STEP, resolution // 8 // 8 * 8))
    sizes = {(resolution, resolution)}
    width = step
    while width <= resolution * MAX_ASPECT:
        height = resolution * resolution // width // step * step
        if height and max(width, height) / min(width, height) <= MAX_ASPECT:
            sizes |= {(width, height), (height, width)}
        width += step
    return sorted(sizes)


def bucket_of(size: tuple[int, int], resolution: int) -> tuple[int, int]:
    """The bucket whose proportions are nearest to those of a photo of ``size``."""
    aspect = np.log(size[0] / size[1])
    return min(
        bucket_sizes(resolution),
        # The square first where two are as near, so that the choice is the same on every machine.
        key=lambda bucket: (abs(np.log(bucket[0] / bucket[1]) - aspect), bucket[0] != bucket[1]),
    )


@dataclass(frozen=True)
class Example:
    """One picture as it is learnt.

    Attributes:
        mean, std: (C, h, w) float32, of the distribution of its latents, scaled for the UNet.
        caption: with the trigger in it.
        size: width and height in pixels.
    """

    mean: Tensor
    std: Tensor
    caption: str
    size: tuple[int, int]

    def latents(self, generator: torch.Generator) -> Tensor:
        """(C, h, w): a draw from the distribution."""
        if not self.std.any():
            return self.mean
        return self.mean + self.std * torch.randn(self.mean.shape, generator=generator)


@dataclass(frozen=True)
class Batch:
    """What one process looks at in one go: photos first, class pictures behind them.

    Attributes:
        latents: (B, C, h, w) float32.
        captions: B of them.
        instances: how many of the B are photos.
        size: width and height in pixels.
    """

    latents: Tensor
    captions: list[str]
    instances: int
    size: tuple[int, int]


class Dataset:
    """Photos, perhaps with class pictures, as latents.

    Args:
        photos: per photo its example and, where photos are mirrored, the mirrored one.
        class_pictures: per size of a photo the examples of the class, or empty.
        batch_size: photos in a batch; as many class pictures are put beside them.
        caption_dropout: share of photos whose caption is left out.
        seed: of order and captions.
    """

    def __init__(
        self,
        photos: Sequence[Sequence[Example]],
        class_pictures: dict[tuple[int, int], list[Example]],
        batch_size: int,
        caption_dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.photos, self.class_pictures = photos, class_pictures
        self.batch_size, self.caption_dropout, self.seed = batch_size, caption_dropout, seed
        self._epochs: dict[int, list[list[int]]] = {}

    @property
    def captions(self) -> list[str]:
        """All captions that batches can hold, each once."""
        found = {example.caption for photo in self.photos for example in photo}
        found |= {e.caption for examples in self.class_pictures.values() for e in examples}
        return sorted(found | ({""} if self.caption_dropout else set()))

    def epoch(self, number: int) -> list[list[int]]:
        """The batches of an epoch, as indices of photos.

        Every photo comes once; a batch holds photos of one size, and one that would not be full is
        filled up with others of that size.
        """
        if number not in self._epochs:
            rng = np.random.default_rng((self.seed, 1, number))
            batches = []
            by_size: dict[tuple[int, int], list[int]] = {}
            for index in rng.permutation(len(self.photos)).tolist():
                by_size.setdefault(self.photos[index][0].size, []).append(index)
            for indices in by_size.values():
                missing = -len(indices) % self.batch_size
                filled = indices + [indices[i % len(indices)] for i in range(missing)]
                starts = range(0, len(filled), self.batch_size)
                batches += [filled[i : i + self.batch_size] for i in starts]
            rng.shuffle(batches)
            self._epochs = {number: batches}  # only the last one is asked for again
        return self._epochs[number]

    def batch(self, number: int) -> Batch:
        """The batch of this number, 0 … without end; always the same one."""
        per_epoch = len(self.epoch(0))
        indices = self.epoch(number // per_epoch)[number % per_epoch]
        rng = np.random.default_rng((self.seed, 2, number))
        examples = [self.photos[i][int(rng.integers(len(self.photos[i])))] for i in indices]
        instances = len(examples)
        captions = [
            "" if rng.random() < self.caption_dropout else example.caption for example in examples
        ]
        size = examples[0].size
        if others := self.class_pictures.get(size):
            # As many as photos, without repeats while there are enough.
            chosen = rng.permutation(-(-instances // len(others)) * len(others))[:instances]
            chosen = [others[int(i) % len(others)] for i in chosen]
            examples += chosen
            captions += [example.caption for example in chosen]
        generator = generator_for(self.seed, 3, number)
        latents = torch.stack([example.latents(generator) for example in examples])
        return Batch(latents, captions, instances, size)


def generator_for(*numbers: int) -> torch.Generator:
    """A CPU generator whose numbers depend on ``numbers`` alone."""
    digest = hashlib.sha256(repr(numbers).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def size_of(photo: PhotoLike, resolution: int, buckets: bool) -> tuple[int, int]:
    """Width and height at which a photo is learnt."""
    if not buckets:
        return (resolution, resolution)
    return bucket_of((photo.width, photo.height), resolution)


def photo_examples(
    photos: Sequence[PhotoLike],
    trigger: str,
    resolution: int,
    buckets: bool,
    mirror: bool,
    encode: Callable[[Image.Image], tuple[Tensor, Tensor]],
) -> list[list[Example]]:
    """Each photo's example, and its mirror image's.

    Args:
        trigger: takes the place of ``[trigger]`` in captions.
        encode: a picture to the mean and the deviation of its latents; see :func:`encoder`.
    """
    examples = []
    for photo in photos:
        size = size_of(photo, resolution, buckets)
        picture = photo.image(size)
        caption = photo.caption.replace(TRIGGER, trigger)
        views = [picture]
        if mirror:
            views.append(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
        examples.append([Example(*encode(view), caption, size) for view in views])
    return examples


def class_examples(
    pictures: Sequence[Image.Image],
    prompt_of: Callable[[int], str],
    sizes: set[tuple[int, int]],
    encode: Callable[[Image.Image], tuple[Tensor, Tensor]],
) -> dict[tuple[int, int], list[Example]]:
    """The class pictures at every size that a batch of photos can have, cropped at the middle."""
    return {
        size: [
            Example(*encode(_crop(picture, size)), prompt_of(number), size)
            for number, picture in enumerate(pictures)
        ]
        for size in sizes
    }


def encoder(vae: Any, device: str) -> Callable[[Image.Image], tuple[Tensor, Tensor]]:
    """What turns a picture into the mean and the deviation of its latents, scaled for the UNet.

    ``vae`` has the interface of diffusers' AutoencoderKL.
    """
    config = vae.config
    scale, shift = config.scaling_factor, getattr(config, "shift_factor", None) or 0.0

    @torch.no_grad()
    def encode(picture: Image.Image) -> tuple[Tensor, Tensor]:
        pixels = torch.from_numpy(np.asarray(picture.convert("RGB")).copy()).movedim(-1, 0)[None]
        pixels = pixels.to(device, vae.dtype) / 127.5 - 1
        distribution = vae.encode(pixels).latent_dist
        mean = (distribution.mode() - shift) * scale
        # AutoencoderKL's deterministic distributions have a deviation of 0.
        return mean[0].float().cpu(), (distribution.std[0] * scale).float().cpu()

    return encode


def _crop(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    from PIL import ImageOps

    return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
