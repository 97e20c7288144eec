"""Text to image: prompt → embeddings → latents, step by step → picture."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence

import diffusers
import torch
from PIL import Image

from pipelines.core.cache import ModelCache
from pipelines.core.devices import empty_cache, is_out_of_memory, out_of_memory
from pipelines.core.errors import Stopped, UserError
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.messages import Message
from pipelines.diffusion import diffusers_pipeline
from pipelines.diffusion.denoise import (
    Beginning,
    GuidedUNet,
    Steer,
    denoise,
    steps_of,
    takes_guidance,
    timesteps_from,
)
from pipelines.diffusion.details.fixing import fix_details
from pipelines.diffusion.from_picture.inpainting_models import inpaints, shown_beside
from pipelines.diffusion.from_picture.outpainting import sized
from pipelines.diffusion.from_picture.repainting import (
    DENSEST,
    Repainting,
    count_steps,
    open_repainting,
)
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.diffusion.latents.coding import decode, encode_picture
from pipelines.diffusion.latents.noise import starting_noise
from pipelines.diffusion.latents.preview import preview_for
from pipelines.diffusion.loading import DiffusionModel
from pipelines.diffusion.lora.apply import Applied, applied
from pipelines.diffusion.lora.tags import left_out_of, uses_of, without_tags, worded
from pipelines.diffusion.prompts import PromptEmbeds, count_chunks, encode_steps, is_weighted
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.resolving import GUIDED_ONLY, alone, of_batch, resolve, seeds_of
from pipelines.diffusion.samplers import (
    UNET_FAMILIES,
    Sampler,
    make_scheduler,
    samplers_in,
    step_arguments,
)
from pipelines.diffusion.wording.editing import texts_of
from pipelines.diffusion.wording.template import Wording, Words
from pipelines.diffusion.wording.wildcards import Wildcards

Batch = Generator[tuple[int, int, Image.Image | None], None, list[Image.Image]]
"""Yields evaluations done, their total and a preview; returns the pictures."""
Backend = Callable[..., Batch]
"""Paints one batch, a picture for each seed: ``backend(model, settings, seeds)``, and where each
picture has prompts of its own ``words``, a :class:`Words` for each."""


def run(
    request: TextToImageRequest, cache: ModelCache, stop: threading.Event
) -> Iterator[Progress | Picture | Result]:
    """Paint all batches of a request; pictures come as soon as their batch is done.

    Raises:
        Stopped: ``stop`` was set; noticed within one step.
        UserError: the request cannot be fulfilled; its sentence says why.
    """
    yield from cache.warm(request.model, stop)
    with cache.lease(request.model) as model:
        started = time.perf_counter()
        settings = resolve(request, model.entry, samplers_in(model.home))
        loras = yield from paint_request(model, settings, stop)
        yield Result(
            {
                "seconds": round(time.perf_counter() - started, 3),
                "pictures": settings.batch_count * settings.batch_size,
                "device": model.device,
                "loras": loras.to_json(),
                "notes": [
                    note.to_json() for note in notes_on(model, request, settings) + loras.notes
                ],
            }
        )


def paint(
    model: DiffusionModel,
    settings: TextToImageRequest,
    stop: threading.Event,
    backend: Backend | None = None,
    facts: dict[str, str] | None = None,
) -> Iterator[Progress | Picture]:
    """Paint a resolved request on a leased model.

    Args:
        backend: what paints one batch; None: the one for the model's family.
        facts: further ones for the metadata of every picture.

    Raises:
        Stopped: ``stop`` was set.
        OutOfMemory: says what was asked, what was free and what to lower.
        UserError: the numbers overflowed.
    """
    if backend is None:
        backend = unet_batch if model.family in UNET_FAMILIES else diffusers_pipeline.batch
    for index in range(settings.batch_count):
        pictures = _pictures(settings, index)
        seeds = [picture.seed for picture in pictures]
        batch = backend(model, of_batch(settings, index), seeds)
        place = (index, settings.batch_count)
        yield from _watched(batch, model, pictures, place, stop, facts or {})


def _pictures(settings: TextToImageRequest, index: int) -> list[TextToImageRequest]:
    """The request of each picture of one batch."""
    batch = of_batch(settings, index)
    return [alone(batch, seed, place) for place, seed in enumerate(seeds_of(settings, index))]


def paint_request(
    model: DiffusionModel,
    settings: TextToImageRequest,
    stop: threading.Event,
    backend: Backend | None = None,
    prepare: Callable[[], Iterator[Progress]] = tuple,
) -> Generator[Progress | Picture, None, Applied]:
    """Paint a resolved request with the LoRAs and the words that its prompts mean.

    Args:
        backend: as for :func:`paint`.
        prepare: what is to be done once the LoRAs are at work.

    Returns:
        The LoRAs; where each picture has its own, those of the last.

    Raises:
        UserError: as :func:`paint` and :func:`~pipelines.diffusion.lora.apply.applied` do, or a
            template cannot be resolved.
    """
    wording = Wording(settings, Wildcards(model.home))
    if not wording.is_dynamic:
        with applied(model, uses_of(settings), model.home) as loras:
            yield from prepare()
            yield from paint(model, settings, stop, backend, loras.facts)
        return loras
    if backend is None:
        backend = unet_batch if model.family in UNET_FAMILIES else diffusers_pipeline.batch
    batches = _worded_batches(settings, wording)
    for index, pictures in enumerate(batches):
        with applied(model, pictures[0].loras, model.home) as loras:
            yield from prepare()
            batch = _by_length(backend, model, pictures)
            facts = wording.facts | loras.facts
            yield from _watched(batch, model, pictures, (index, len(batches)), stop, facts)
    return loras


def _worded_batches(
    settings: TextToImageRequest, wording: Wording
) -> list[list[TextToImageRequest]]:
    """The pictures of a request with their own words; those of a batch have the same LoRAs."""
    batches: list[list[TextToImageRequest]] = []
    for index in range(settings.batch_count):
        begun = False
        for place, picture in enumerate(_pictures(settings, index)):
            words = wording.of(picture.seed, index * settings.batch_size + place)
            own = {**words._asdict(), "combinations": False}
            picture = picture.model_copy(update=own)
            loras = tuple(use for use in uses_of(picture) if use.works)
            picture = picture.model_copy(update={"loras": loras})
            if not begun or batches[-1][0].loras != loras:
                batches.append([])
                begun = True
            batches[-1].append(picture)
    return batches


def _by_length(
    backend: Backend, model: DiffusionModel, pictures: list[TextToImageRequest]
) -> Batch:
    """One batch of pictures with words of their own.

    Neighbours that need as many chunks are painted together: beside longer prompts a picture would
    not be what it is alone.
    """

    def chunks(picture: TextToImageRequest) -> int:
        return _count_chunks(model, picture) if model.family in UNET_FAMILIES else 0

    parts = [list(own) for _, own in itertools.groupby(pictures, chunks)]
    images: list[Image.Image] = []
    for done, own in enumerate(parts):
        words = [Words(each.prompt, each.negative_prompt) for each in own]
        batch = backend(model, own[0], [each.seed for each in own], words=words)
        try:
            while True:
                step, total, preview = next(batch)
                yield (done * total + step) // len(parts), total, preview
        except StopIteration as end:
            images += end.value
        finally:
            batch.close()
    return images


def _watched(
    batch: Batch,
    model: DiffusionModel,
    pictures: list[TextToImageRequest],
    place: tuple[int, int],
    stop: threading.Event,
    facts: dict[str, str],
) -> Iterator[Progress | Picture]:
    """One batch with its place among all batches, its stop flag and its errors in words.

    Args:
        pictures: the request of each.
        place: how many batches came before, and how many there are.
    """
    started = time.perf_counter()
    try:
        while True:
            if stop.is_set():
                raise Stopped
            step, total, preview = next(batch)
            yield Progress(place[0] * total + step, place[1] * total, preview)
    except StopIteration as done:
        images = done.value
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        what = f"{pictures[0].width}×{pictures[0].height}, batch size {len(pictures)}"
        sentence = out_of_memory(error, model.device, what)
        empty_cache(model.device)
        raise sentence from error
    finally:
        batch.close()
        if model.offloaded:
            model.pipe.maybe_free_model_hooks()
    seconds = (time.perf_counter() - started) / len(pictures)
    for picture, image in zip(pictures, images, strict=True):
        own_facts = _facts(model) | facts
        if picture.detail_fix is not None:
            backend = unet_batch if model.family in UNET_FAMILIES else diffusers_pipeline.batch
            image, found = yield from fix_details(model, picture, image, backend, stop)
            own_facts |= found
        yield Picture(image, picture, seconds, own_facts)


def unet_batch(
    model: DiffusionModel,
    settings: TextToImageRequest,
    seeds: list[int],
    steering: Callable[[int], Steer] | None = None,
    words: Sequence[Words] | None = None,
) -> Batch:
    """Predict, guide, step: Atelier's own loop for Stable Diffusion 1.x, 2.x and XL.

    Args:
        steering: ``steering(evaluations in all)`` makes what steers the UNet.
        words: each picture's own; None: those of the settings.
    """
    settings = sized(settings, model.home)
    samplers = samplers_in(model.home)
    sampler, schedule = samplers.get(settings.sampler), samplers.schedule(settings.schedule)
    steps = run = settings.steps
    repainting = None
    if (asked := settings.from_picture) is not None:
        repainting = open_repainting(asked, (settings.width, settings.height), model.home)
        steps, run = count_steps(asked, steps, sampler.max_steps or DENSEST)
        if run == 0:
            return [repainting.whole] * len(seeds)
    scheduler = make_scheduler(model.pipe.scheduler.config, sampler, schedule, seeds)
    scheduler.set_timesteps(steps)
    unet_config = model.pipe.unet.config
    evaluations = len(timesteps_from(scheduler, steps - run))
    predict = GuidedUNet(
        model.unet,
        unet_config,
        _embeds(model, settings, words, steps_of(scheduler, steps - run), steps),
        guidance=settings.guidance,
        rescale=settings.guidance_rescale,
        batch_size=len(seeds),
        size=(settings.height, settings.width),
        dtype=model.dtype,
        device=model.device,
        steer=None if steering is None else steering(evaluations),
        interval=(settings.guidance_start, settings.guidance_end),
        evaluations=evaluations,
    )
    if inpaints(unet_config):
        size = settings.width, settings.height
        weight = 1.0 if asked is None else asked.mask_weight
        predict.beside = shown_beside(model, repainting, size, weight)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    shape = (
        unet_config.out_channels,
        settings.height // model.factor,
        settings.width // model.factor,
    )
    latents = starting_noise(shape, seeds, generators, settings.variation, model.factor)
    latents = latents.to(model.device)
    beginning = None
    if repainting is not None:
        beginning = _beginning(model, asked, repainting, steps - run, latents)
    arguments = step_arguments(scheduler, sampler, generators, settings.eta)
    preview = preview_for(model)
    for step in denoise(predict, scheduler, latents, arguments, beginning):
        latents = step.latents
        yield step.index, step.total, preview(step.denoised)
    pictures = decode(model, latents)  # (B, 3, H, W) in [0, 1]
    if not torch.isfinite(pictures).all():
        raise overflow(settings, predict.guided)
    images = to_images(pictures)
    return images if repainting is None else [repainting.finish(image) for image in images]


def _embeds(
    model: DiffusionModel,
    settings: TextToImageRequest,
    words: Sequence[Words] | None,
    at: Sequence[int],
    steps: int,
) -> list[PromptEmbeds]:
    """The prompts as the UNet is told them at each evaluation.

    Args:
        at: the step that each evaluation belongs to, from 0.
        steps: of the whole schedule.
    """
    prompts = words or [Words(settings.prompt, settings.negative_prompt)]
    said = [_said(model, each.prompt, each.negative_prompt, steps) for each in prompts]
    pairs = [[(prompt[step], negative[step]) for prompt, negative in said] for step in at]
    return encode_steps(model.pipe, pairs, settings.clip_skip, model.device)


def _said(model: DiffusionModel, prompt: str, negative: str, steps: int) -> list[tuple[str, ...]]:
    """What prompt and negative prompt say at each step, as the text encoders read it."""
    return [texts_of(worded(text, model.learned), steps) for text in (prompt, negative)]


def _count_chunks(model: DiffusionModel, picture: TextToImageRequest) -> int:
    """How many chunks the text encoders read of a picture's prompts."""
    said = _said(model, picture.prompt, picture.negative_prompt, picture.steps)
    return count_chunks(model.pipe, [*set(said[0]), *set(said[1])])


def _beginning(
    model: DiffusionModel,
    asked: FromPicture,
    repainting: Repainting,
    start: int,
    noise: torch.Tensor,
) -> Beginning:
    """What the denoising begins with; ``noise``: (B, C, h, w), each picture's own."""
    latents = encode_picture(model, repainting.base)
    change = repainting.change(model.factor)
    if change is not None:
        change = change.to(model.device)
        if asked.masked_content in ("noise", "nothing"):
            other = noise if asked.masked_content == "noise" else torch.zeros_like(latents)
            latents = torch.lerp(latents.expand_as(other), other, change)
    return Beginning(latents, start, change, asked.gradual and asked.mask_blur > 0)


def overflow(settings: TextToImageRequest, guided: bool) -> UserError:
    """The sentence for pixels that are no numbers; ``guided``: the guidance had a part in them."""
    if not guided:
        return UserError(
            "The numbers overflowed with {sampler} and {steps} steps, so there is no picture. "
            "Take another sampler or another number of steps.",
            sampler=settings.sampler,
            steps=settings.steps,
        )
    return UserError(
        "The numbers overflowed with {sampler}, {steps} steps and guidance {guidance}, so "
        "there is no picture. Lower the guidance or take another sampler.",
        sampler=settings.sampler,
        steps=settings.steps,
        guidance=settings.guidance,
    )


def to_images(pictures: torch.Tensor) -> list[Image.Image]:
    """(B, 3, H, W) in [0, 1] to RGB pictures."""
    pixels = (pictures * 255).round().to(torch.uint8).movedim(1, -1).numpy()
    return [Image.fromarray(picture) for picture in pixels]


def notes_on(
    model: DiffusionModel, asked: TextToImageRequest, settings: TextToImageRequest
) -> list[Message]:
    """What of the request had no effect on this model.

    Args:
        asked: the request as it came; of what is at its default nothing is said.
        settings: the same, resolved.
    """
    title = model.entry.title
    notes = left_out_of(settings.prompt, model.learned)
    notes += left_out_of(settings.negative_prompt, model.learned)
    if model.family in UNET_FAMILIES:
        guides, above = takes_guidance(model.pipe.unet.config), 1
        takes_negative = guides and model.entry.negative_prompt_used
    else:
        guides, above = False, diffusers_pipeline.guides_above(model)
        takes_negative = diffusers_pipeline.takes_negative_prompt(model)
        if is_weighted(without_tags(settings.prompt)):
            notes.append(Message("{model} reads brackets and BREAK as plain text.", model=title))
        if asked.clip_skip != settings.clip_skip:
            notes.append(_unused("clip_skip", title))
    if settings.negative_prompt and not takes_negative:
        notes.append(Message("{model} takes no negative prompt.", model=title))
    elif settings.negative_prompt and settings.guidance <= above:
        notes.append(_unguided("negative_prompt", settings.guidance, above))
    for field in GUIDED_ONLY:
        if getattr(asked, field) == TextToImageRequest.model_fields[field].default:
            continue
        if not guides:
            notes.append(_unused(field, title))
        elif settings.guidance <= above:
            notes.append(_unguided(field, settings.guidance, above))
    sampler = samplers_in(model.home).get(settings.sampler) if settings.sampler else None
    if settings.from_picture is not None and not settings.from_picture.edit:
        notes.append(_steps_run(settings, sampler))
    if settings.eta is None and asked.eta not in (None, sampler and sampler.eta):
        by_sampler = sampler is not None and sampler.eta is None
        notes.append(_unused("eta", sampler.name if by_sampler else title))
    return notes


def _steps_run(settings: TextToImageRequest, sampler: Sampler | None) -> Message:
    asked = settings.from_picture
    limit = sampler.max_steps if sampler else None
    _, run = count_steps(asked, settings.steps, limit or DENSEST)
    return Message(
        "{run} of {steps} steps were run: the strength is {strength}.",
        run=run,
        steps=settings.steps,
        strength=asked.strength,
    )


def _unused(field: str, name: str) -> Message:
    return Message("{field} was left out: {name} does not use it.", field=_title(field), name=name)


def _unguided(field: str, guidance: float, above: float) -> Message:
    return Message(
        "{field} was left out: the guidance is {value}, and it needs more than {limit}.",
        field=_title(field),
        value=guidance,
        limit=above,
    )


def _title(field: str) -> str:
    return TextToImageRequest.model_fields[field].title


def _facts(model: DiffusionModel) -> dict[str, str | None]:
    """What else the picture depends on, for its metadata."""
    return {
        "Model hash": model.hash,
        "RNG": "CPU",
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }
