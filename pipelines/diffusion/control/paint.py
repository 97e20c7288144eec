"""The steered engine: text to image whose pictures follow sketches, depth maps and the like."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipelines.core.cache import ModelCache
from pipelines.core.errors import BadRequest
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.messages import Message
from pipelines.core.pictures.fitting import Box
from pipelines.core.pictures.inputs import open_input
from pipelines.diffusion import text_to_image
from pipelines.diffusion.control.catalog import CACHE_PREFIX, ControlCatalog, does_not_fit
from pipelines.diffusion.control.conditions import condition_map
from pipelines.diffusion.control.loading import ControlModel
from pipelines.diffusion.control.requests import ControlRequest
from pipelines.diffusion.control.steering import Steering, WorkingUnit
from pipelines.diffusion.from_picture.outpainting import resize_to
from pipelines.diffusion.from_picture.repainting import open_repainting
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.diffusion.latents.decoders import with_decoder
from pipelines.diffusion.loading import DiffusionModel
from pipelines.diffusion.lora.applied_loras import Apply
from pipelines.diffusion.lora.apply import apply_loras
from pipelines.diffusion.openvino.unet import OpenVINOUNet
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.resolving import resolve
from pipelines.diffusion.samplers import UNET_FAMILIES, samplers_in
from pipelines.diffusion.text_to_image import Backend, paint_passes, second_entry, unet_batch

_PIXELS = 8  # of a map's side for one of the latents'


def run(
    request: ControlRequest,
    cache: ModelCache,
    stop: threading.Event,
    apply: Apply = apply_loras,
) -> Iterator[Progress | Picture | Result]:
    """Make the maps, then paint all batches of a request.

    Args:
        apply: applies LoRAs as :func:`apply_loras` does.

    Raises:
        Stopped: ``stop`` was set; noticed within one step.
        UserError: the request cannot be fulfilled; its sentence says why.
    """
    yield from cache.warm(request.model, stop)
    with contextlib.ExitStack() as leases, contextlib.ExitStack() as lease:
        base: DiffusionModel = lease.enter_context(cache.lease(request.model))
        second = second_entry(request, base.home)
        settings = resolve(request, base.entry, samplers_in(base.home), second)
        for entry in filter(None, (base.entry, second)):
            if entry.family not in UNET_FAMILIES:
                raise BadRequest("{model} cannot be steered yet; choose a Stable Diffusion model.",
                                 model=entry.title)  # fmt: skip
        settings = yield from with_decoder(base, settings, cache, stop)
        maps = yield from _maps(settings, base.factor, base.home, cache, stop)
        catalog, models = ControlCatalog(base.home), []
        for unit in settings.units:
            name = CACHE_PREFIX + catalog.get(unit.model).name
            yield from cache.warm(name, stop)
            models.append(leases.enter_context(cache.lease(name)))
            _check_shape(models[-1], base)
        units = {
            size: [
                WorkingUnit(unit, model, model.features(_as_tensor(condition)))
                for unit, model, condition in zip(settings.units, models, own, strict=True)
            ]
            for size, own in maps.items()
        }
        started = time.perf_counter()

        def backend_for(base: DiffusionModel) -> Backend:
            for model in models:
                _check_shape(model, base)

            def make_steering(total: int, size: tuple[int, int]) -> Steering:
                return Steering(units[size], total, base.unet)

            return partial(unet_batch, steering=make_steering)

        painted = yield from paint_passes(
            base, request, settings, cache, stop, lease, backend_for, _prepare, apply
        )
        yield painted.result(settings, cache.device, started)


def paint_either(
    request: TextToImageRequest,
    cache: ModelCache,
    stop: threading.Event,
    apply: Apply = apply_loras,
) -> Iterator[Progress | Picture | Result]:
    """Paint a request by the engine that it needs: as :func:`run`, or from words alone."""
    engine = run if isinstance(request, ControlRequest) else text_to_image.run
    return engine(request, cache, stop, apply)


def painted_part(
    asked: FromPicture, size: tuple[int, int], home: Path
) -> tuple[Box, tuple[int, int]] | tuple[()]:
    """The part of a picture that is painted at ``size``, and the picture's size; () where all is.

    Raises:
        BadRequest, NotFound: as :func:`open_repainting` does.
    """
    if not asked.paints_a_part:
        return ()
    return open_repainting(asked, size, home).painted_box, open_input(home, asked.picture).size


def _prepare(base: DiffusionModel) -> Iterator[Progress]:
    """Makes the network that units are joined into, where the UNet runs through OpenVINO."""
    if isinstance(base.unet, OpenVINOUNet) and not base.unet.can_be_steered:
        note = Message("Preparing {model} for this processor", model=base.entry.title)
        yield Progress(0, 0, note=note)
        base.unet.prepare_steering()


def _maps(
    settings: ControlRequest, factor: int, home: Path, cache: ModelCache, stop: threading.Event
) -> Generator[Progress, None, dict[tuple[int, int], list[Image.Image]]]:
    """The units' maps for each size that is painted.

    Args:
        factor: pixels of the picture's side for one of the latents'.
    """
    settings = resize_to(settings, home)
    size = (settings.width, settings.height)
    maps: dict[tuple[int, int], list[Image.Image]] = {size: []}
    if settings.hires is not None:
        maps[settings.hires.size_for(*size)] = []
    asked = settings.from_picture
    painted = () if asked is None else painted_part(asked, size, home)
    for own_size, own in maps.items():
        # Control models take eight pixels for a latent, whatever the autoencoder makes of one.
        wide, high = (side * _PIXELS // factor for side in own_size)
        for unit in settings.units:
            # A unit that follows the picture which is changed is laid out as that is. Of a part
            # that is painted, what cannot grow to the size's proportions is stretched.
            part = ()
            if unit.follows_along(asked):
                part = painted
                laid = "stretch" if part else asked.fit
                unit = unit.model_copy(update={"resize_mode": laid})
            for made in condition_map(unit, (wide, high), home, cache, stop, *part):
                if isinstance(made, Progress):
                    yield made
                else:
                    own.append(made)
    return maps


def _as_tensor(condition: Image.Image) -> torch.Tensor:
    """(1, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.asarray(condition).copy()).movedim(-1, 0)[None].float() / 255


def _check_shape(control: ControlModel, base: DiffusionModel) -> None:
    """Refuses a control model that was made for a UNet of another shape."""
    unet, own = base.pipe.unet.config, control.config
    if control.entry.method == "controlnet":
        names = ("in_channels", "cross_attention_dim", "block_out_channels", "layers_per_block")
        # Models for inpainting take further channels, which a ControlNet is not shown.
        wanted = {**unet, "in_channels": unet.out_channels}
        fits = all(_plain(own[name]) == _plain(wanted[name]) for name in names)
    else:
        widths, channels = list(unet.block_out_channels), list(own.channels)
        for_middle = channels[len(widths) :]
        fits = channels[: len(widths)] == widths[: len(channels)]
        if for_middle:  # those for SDXL have a map for the UNet's middle besides
            fits = fits and own.adapter_type == "full_adapter_xl" and for_middle == widths[-1:]
    if not fits:
        raise does_not_fit(control.entry, base.entry, _list_fitting(base))


def _plain(value):
    return list(value) if isinstance(value, (list, tuple)) else value


def _list_fitting(base: DiffusionModel):
    catalog = ControlCatalog(base.home)
    return [entry for entry in catalog.list_fitting(base.entry) if entry.source.folder is None]
