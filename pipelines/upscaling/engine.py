"""The upscaling engine: a picture at a larger size, by a network or by computing alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from pipelines.core.cache import ModelCache
from pipelines.core.errors import Stopped
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.pictures.inputs import open_input
from pipelines.upscaling.catalog import CACHE_PREFIX, NEAREST, UpscalerEntry, Upscalers
from pipelines.upscaling.networks import Network, Steps
from pipelines.upscaling.requests import MAX_PIXELS, UpscaleRequest
from pipelines.upscaling.sizes import scaled_size

_ROUNDS = 3  # of a network, until the size is reached
# Pixels of what a network makes before it is brought to the size: ×8 of 4 megapixels would be 268.
_MOST_BETWEEN = 4 * MAX_PIXELS


def run(
    request: UpscaleRequest, cache: ModelCache, stop: threading.Event
) -> Iterator[Progress | Picture | Result]:
    """Make one picture larger.

    Raises:
        Stopped: ``stop`` was set; noticed within one tile.
        UserError: the request cannot be fulfilled; its sentence says why.
    """
    picture = open_input(cache.home, request.picture)
    size = scaled_size(picture.size, request.scale)
    entry = Upscalers(cache.home).get(request.upscaler)
    yield from warm(entry, cache, stop)
    started = time.perf_counter()
    with lease_network(entry, cache) as network:
        steps = enlarge(picture, size, network, entry.name)
        try:
            while True:
                if stop.is_set():
                    raise Stopped
                yield Progress(*next(steps))
        except StopIteration as end:
            large = end.value
    seconds = time.perf_counter() - started
    made = request.model_copy(update={"upscaler": entry.name})
    yield Picture(large, made, seconds)
    yield Result({"seconds": round(seconds, 3), "pictures": 1, "device": cache.device})


def warm(entry: UpscalerEntry, cache: ModelCache, stop: threading.Event) -> Iterator[Progress]:
    """Load its network, where it has one, and say so meanwhile."""
    if entry.path is not None:
        yield from cache.warm(CACHE_PREFIX + entry.name, stop)


@contextmanager
def lease_network(entry: UpscalerEntry, cache: ModelCache) -> Iterator[Network | None]:
    """The network of an upscaler; None of one that only computes."""
    if entry.path is None:
        yield None
    else:
        with cache.lease(CACHE_PREFIX + entry.name) as network:
            yield network


def enlarge(
    picture: Image.Image, size: tuple[int, int], network: Network | None, name: str
) -> Steps:
    """``picture`` at exactly ``size`` (width, height); yields work done and in all.

    A network is used until the size is reached, and its picture is then brought to it. Pictures of
    other proportions are cropped about their middle.

    Args:
        network: None computes as ``name`` says.
    """
    if network is not None and network.scale > 1:
        rounds = 0
        while (picture.width < size[0] or picture.height < size[1]) and rounds < _ROUNDS:
            rounds += 1
            picture = yield from network.upscale(picture, most=_MOST_BETWEEN)
    elif network is not None:
        picture = yield from network.upscale(picture)
    else:
        yield 0, 1
    method = Image.Resampling.NEAREST if name == NEAREST else Image.Resampling.LANCZOS
    return _cover(picture, size, method)


def _cover(picture: Image.Image, size: tuple[int, int], method: Image.Resampling) -> Image.Image:
    """The picture scaled so that it covers ``size``, and cut to it about the middle."""
    scale = max(size[0] / picture.width, size[1] / picture.height)
    width, height = size[0] / scale, size[1] / scale
    left, top = (picture.width - width) / 2, (picture.height - height) / 2
    return picture.resize(size, method, box=(left, top, left + width, top + height))
