"""The families whose denoising loop is diffusers' own (SD 3, Flux, Sana …), as a generator.

Their pipelines are one long call, which runs in a thread of its own and reports each step through
its callback; that callback is also where it can be stopped.
"""

from __future__ import annotations

import copy
import inspect
import queue
import threading
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from pipelines.core.errors import Stopped
from pipelines.core.pictures.inputs import open_input
from pipelines.diffusion.denoise import Beginning
from pipelines.diffusion.from_picture.late_scheduler import (
    LateScheduler,
    patch_statistics,
    spread,
)
from pipelines.diffusion.from_picture.outpainting import resize_to
from pipelines.diffusion.from_picture.repainting import PreviewFrame, Repainting, open_repainting
from pipelines.diffusion.from_picture.steps import DENSEST, count_steps
from pipelines.diffusion.hires.second_pass import (
    FirstPictures,
    encode_pictures,
    enlarged_latents,
    enlarged_pictures,
    second_pass,
)
from pipelines.diffusion.latents.coding import encode_picture
from pipelines.diffusion.latents.decoders import fast_decoder
from pipelines.diffusion.latents.noise import further_on
from pipelines.diffusion.latents.overflow import overflow
from pipelines.diffusion.latents.pipeline_noise import vary_noise
from pipelines.diffusion.latents.preview import LONGEST, LatentPreview, preview_for
from pipelines.diffusion.loading import DiffusionModel, tile_for_size
from pipelines.diffusion.lora.tags import without_tags
from pipelines.diffusion.picture_sides import check_sides
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.samplers import make_scheduler, samplers_in
from pipelines.diffusion.wording.dynamic_prompts import Words
from pipelines.diffusion.wording.grammar import plain

if TYPE_CHECKING:
    from pipelines.upscaling.networks import Network

_Painted = tuple[Image.Image | None, torch.Tensor | None]
_GUIDES_ABOVE = {"zimage": 0}  # by family; 1 for all others, as the tests of the twins find


def batch(
    model: DiffusionModel,
    settings: TextToImageRequest,
    seeds: list[int],
    words: Sequence[Words] | None = None,
    upscaler: Network | None = None,
    begun: FirstPictures | None = None,
) -> Generator[tuple[int, int, Image.Image | None], None, list[Image.Image]]:
    """One batch by the model's own pipeline; closing the generator stops it within one step.

    Its pictures are painted one after another. These models fill a GPU with a single picture, and
    their kernels sum in another order in a batch, which some models show.

    Args:
        words: each picture's own; None: those of the settings.
        upscaler: between the passes of a request with ``hires``, where a network enlarges.
        begun: what another model's first pass has made of them; then there is only the second.

    Raises:
        BadRequest: the size does not fit the model's patches.
    """
    settings = resize_to(settings, model.home)
    first = _open_first(model, settings, begun)
    if first.run:
        _check_size(model, settings)
    each = first.run
    if settings.hires is not None:
        second = second_pass(settings, first.alike)
        _check_size(model, second)
        each += count_steps(settings.hires, second.steps, DENSEST)[1]
    images = []
    for done, seed in enumerate(seeds):
        own: dict[str, Any] = words[done]._asdict() if words else {}
        if settings.variation is not None:
            own["variation"] = further_on(settings.variation, done)
        if begun is not None:
            first = replace(first, painted=begun.take(1)[0])
        painting = _picture(model, settings.model_copy(update=own), seed, first, upscaler)
        try:
            while True:
                step, preview = next(painting)
                yield done * each + step, len(seeds) * each, preview
        except StopIteration as end:
            images.append(end.value)
        finally:
            painting.close()
    return images


@dataclass(frozen=True, slots=True, eq=False)
class _First:
    """How the first pass of a request begins.

    Attributes:
        steps, run: of its schedule, and how many of them are run; 0: the picture stays as it is.
        repainting: the picture that it changes; None: there is none.
        beginning: what of that it begins with.
        shown: the pictures that the model is shown with an instruction.
        painted: what another model has made of it; None: this one makes it.
        alike: that model, if there is one, is of the same family.
    """

    steps: int
    run: int
    repainting: Repainting | None = None
    beginning: Beginning | None = None
    shown: Sequence[Image.Image] = ()
    painted: Image.Image | None = None
    alike: bool = True


def _open_first(
    model: DiffusionModel, settings: TextToImageRequest, begun: FirstPictures | None
) -> _First:
    asked, steps = settings.from_picture, settings.steps
    if asked is None and begun is None:
        return _First(steps, steps)
    repainting = None
    if asked is not None:
        repainting = open_repainting(asked, (settings.width, settings.height), model.home)
    if begun is not None:
        return _First(steps, 0, repainting, alike=begun.alike)
    if asked.edit:
        references = [open_input(model.home, id, asked.background) for id in asked.references]
        return _First(steps, steps, repainting, shown=[repainting.base, *references])
    steps, run = count_steps(asked, steps, DENSEST)
    if run == 0:
        return _First(steps, 0, repainting)
    _check_size(model, settings)  # before it is encoded
    latents, change = encode_picture(model, repainting.base), repainting.change(model.factor)
    gradual = asked.gradual and asked.mask_blur > 0
    beginning = Beginning(
        latents,
        steps - run,
        change,
        gradual,
        noise_multiplier=asked.noise_multiplier,
        extra_noise=asked.extra_noise,
    )
    return _First(steps, run, repainting, beginning)


def _picture(
    model: DiffusionModel,
    settings: TextToImageRequest,
    seed: int,
    first: _First,
    upscaler: Network | None,
) -> Generator[tuple[int, Image.Image | None], None, Image.Image]:
    """One picture in one pass or two: yields the steps done and a preview, returns it."""
    hires, image, latents = settings.hires, first.painted, None
    if first.run:
        own = settings.model_copy(update={"steps": first.steps})
        decodes = hires is None or not hires.is_latent
        painting = _one(model, own, seed, first.beginning, first.shown, decodes)
        frame = PreviewFrame(first.repainting, LONGEST)
        image, latents = yield from _count_on(painting, 0, first.run, frame)
    finishes = first.repainting is not None and first.painted is None
    if finishes and not (first.run and image is None):
        whole = first.repainting.whole
        image = whole if image is None else first.repainting.finish(image)
    if hires is None:
        return image
    second = second_pass(settings, first.alike)
    steps, run = count_steps(hires, second.steps, DENSEST)
    if hires.is_latent:
        if first.painted is not None:
            latents = encode_pictures(model, [first.painted])
        elif latents is None:
            latents = encode_picture(model, first.repainting.base)
        size = (second.height // model.factor, second.width // model.factor)
        latents = enlarged_latents(latents, size, hires.upscaler)
    else:
        size = (second.width, second.height)
        parts = enlarged_pictures(model, [image], size, hires, upscaler)
        try:
            while True:
                next(parts)
                yield first.run, None
        except StopIteration as end:
            latents = end.value
    own = second.model_copy(update={"steps": steps})
    beginning = Beginning(latents, steps - run, extra_noise=hires.extra_noise)
    image, _ = yield from _count_on(_one(model, own, seed, beginning), first.run, run)
    return image if first.repainting is None else first.repainting.correct(image)


def _count_on(
    painting: Generator[tuple[int, Image.Image | None], None, _Painted],
    before: int,
    run: int,
    frame: PreviewFrame | None = None,
) -> Generator[tuple[int, Image.Image | None], None, _Painted]:
    """A pass whose steps are counted after those of another.

    Args:
        before: steps of the other.
        run: how many it has.
        frame: what its previews are a part of.
    """
    try:
        while True:
            step, preview = next(painting)
            if frame is not None and preview is not None:
                preview = frame(preview)
            yield before + min(step, run), preview
    except StopIteration as end:
        return end.value
    finally:
        painting.close()


def takes_negative_prompt(model: DiffusionModel) -> bool:
    """Whether the model's pipeline reads a negative prompt at any guidance."""
    takes = inspect.signature(model.pipe.__call__).parameters
    told = "true_cfg_scale" in takes and not _true_cfg(takes)  # FLUX.1 is told the scale instead
    return model.entry.negative_prompt_used and "negative_prompt" in takes and not told


def guides_above(model: DiffusionModel) -> float:
    """The guidance up to which the model's pipeline paints without any."""
    return _GUIDES_ABOVE.get(model.family, 1)


def _one(
    model: DiffusionModel,
    settings: TextToImageRequest,
    seed: int,
    beginning: Beginning | None = None,
    pictures: Sequence[Image.Image] = (),
    decodes: bool = True,
) -> Generator[tuple[int, Image.Image | None], None, _Painted]:
    """One pass: yields the steps done and a preview, returns the picture and its latents.

    Args:
        decodes: whether the picture is needed, and not its latents alone.

    Raises:
        UserError: the numbers overflowed.
    """
    pipe = _with_scheduler(model, settings, seed)
    if settings.variation is not None:
        vary_noise(pipe, seed, settings.variation, (settings.width, settings.height))
    late = last = None
    if beginning is not None and beginning.changes_anything:
        asked = settings.from_picture  # of a second pass there is none
        content = "original" if asked is None else asked.masked_content
        late = LateScheduler(pipe, beginning, content)
    arguments = _arguments(model, pipe, settings, seed)
    if not decodes:
        arguments["output_type"] = "latent"
    if pictures:
        arguments["image"] = list(pictures) if model.entry.references > 1 else pictures[0]
    # Fitting decodes, at a size of its own: never beside the pipeline, which decodes too.
    preview = preview_for(model)
    if settings.decoder == "fast" and (decoder := fast_decoder(model)) is not None:
        pipe.vae = decoder  # of the copy
    tile_for_size(pipe.vae, settings.width, settings.height)
    events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    abandoned = threading.Event()

    def report(index: int, latents: torch.Tensor | None) -> None:
        if abandoned.is_set():
            raise Stopped
        events.put(("step", (index + 1, latents)))

    def on_step_end(_pipe, index, _timestep, tensors):
        report(index, tensors.get("latents"))
        return tensors

    if "callback_on_step_end" in inspect.signature(pipe.__call__).parameters:
        arguments["callback_on_step_end"] = on_step_end
    else:  # PixArt's still has the older callback
        arguments["callback"] = lambda index, _timestep, latents: report(index, latents)
        arguments["callback_steps"] = 1

    def call() -> None:
        try:
            events.put(("done", pipe(**arguments).images))
        except BaseException as error:  # whatever ends this thread belongs to who waits for it
            events.put(("error", error))

    worker = threading.Thread(target=call, name=f"paint {model.entry.name}", daemon=True)
    worker.start()
    try:
        while True:
            kind, value = events.get()
            if kind == "done":
                spatial = _spatial(pipe, last, settings)
                finite = spatial is None or bool(torch.isfinite(spatial).all())
                if not finite or (decodes and not np.isfinite(value).all()):
                    raise overflow(settings, settings.guidance > guides_above(model))
                if not decodes:
                    return None, spatial
                return pipe.image_processor.numpy_to_pil(value)[0].convert("RGB"), spatial
            if kind == "error":
                raise value
            index, latents = value
            last = latents
            if late is not None:  # what comes of them, the rest of the picture around it
                latents = late.denoised
            yield index, _preview(preview, pipe, latents, settings)
    finally:
        abandoned.set()
        worker.join()  # the device is free when this returns


def _with_scheduler(model: DiffusionModel, settings: TextToImageRequest, seed: int) -> Any:
    """A shallow copy of the pipeline with a scheduler of its own: schedulers keep state."""
    pipe = copy.copy(model.pipe)
    if settings.sampler is None:
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
        return pipe
    samplers = samplers_in(model.home)
    pipe.scheduler = make_scheduler(
        pipe.scheduler.config,
        samplers.get(settings.sampler),
        samplers.schedule(settings.schedule),
        [seed],
    )
    return pipe


def _arguments(
    model: DiffusionModel, pipe: Any, settings: TextToImageRequest, seed: int
) -> dict[str, Any]:
    """What the pipeline's call takes of the settings."""
    _check_size(model, settings)
    takes = inspect.signature(pipe.__call__).parameters
    arguments = {
        "prompt": plain(without_tags(settings.prompt)),
        "negative_prompt": plain(without_tags(settings.negative_prompt)),
        "num_inference_steps": settings.steps,
        "true_cfg_scale" if _true_cfg(takes) else "guidance_scale": settings.guidance,
        "width": settings.width,
        "height": settings.height,
        "generator": torch.Generator().manual_seed(seed),
        "output_type": "np",  # as pixels, of which can be seen whether they are numbers
        "use_resolution_binning": False,  # it would paint another size than was asked for
    }
    if not takes_negative_prompt(model):
        del arguments["negative_prompt"]
    return {name: value for name, value in arguments.items() if name in takes}


def _check_size(model: DiffusionModel, settings: TextToImageRequest) -> None:
    """Raises BadRequest where the size does not fit the model's patches."""
    step = model.factor * _patch_size(model, model.pipe)
    check_sides(model.entry.title, step, settings.width, settings.height)


def _true_cfg(takes: Mapping[str, inspect.Parameter]) -> bool:
    """Whether what is asked for as guidance is the pipeline's ``true_cfg_scale`` (Qwen-Image).

    Its ``guidance_scale`` has no default then and belongs to distilled variants.
    """
    return "true_cfg_scale" in takes and takes["guidance_scale"].default is None


def _patch_size(model: DiffusionModel, pipe: Any) -> int:
    """How many latents the side of a transformer's patch has."""
    size = getattr(model.unet.config, "patch_size", 2)
    packs = hasattr(pipe, "_pack_latents")  # Flux and its kin make patches outside the transformer
    return 2 if packs or not isinstance(size, int) else size


def _preview(
    preview: LatentPreview, pipe: Any, latents: Any, settings: TextToImageRequest
) -> Image.Image | None:
    """The latents as they are, still noisy: a callback is told no more."""
    latents = _spatial(pipe, latents, settings)
    return None if latents is None else preview(latents)


def _spatial(
    pipe: Any, latents: torch.Tensor | None, settings: TextToImageRequest
) -> torch.Tensor | None:
    """Latents of a pipeline's loop as (B, C, h, w), as :func:`encode_picture` gives them."""
    if latents is None:
        return None
    if latents.ndim == 3:
        latents = unpack(pipe, latents, settings)
    return latents.squeeze(2) if latents.ndim == 5 else latents  # a video of one frame


def unpack(pipe: Any, latents: torch.Tensor, settings: TextToImageRequest) -> torch.Tensor:
    """Flux and its kin hand a picture to their transformer as a row of 2 × 2 patches.

    Args:
        latents: (B, h/2 · w/2, 4C), patches row by row.

    Returns:
        (B, C, h, w).
    """
    patches = spread(pipe, latents, (settings.width, settings.height))
    if not hasattr(pipe, "_unpatchify_latents"):
        return patches
    # Flux 2 normalises the patches, by statistics that its autoencoder has kept.
    mean, deviation = patch_statistics(pipe, patches)
    return pipe._unpatchify_latents(patches * deviation + mean)
