"""Text to image: prompt → embeddings → latents, step by step → picture."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import torch
from PIL import Image

from pipelines.core.cache import ModelCache
from pipelines.core.devices import empty_cache, is_out_of_memory, out_of_memory
from pipelines.core.errors import Stopped
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.messages import Message
from pipelines.core.sizes import format_bytes
from pipelines.diffusion import diffusers_pipeline
from pipelines.diffusion.denoise import (
    Beginning,
    latents_below,
    takes_guidance,
)
from pipelines.diffusion.details.fixing import count_as_second_half, fix_details
from pipelines.diffusion.from_picture.inpainting_models import inpaints
from pipelines.diffusion.from_picture.outpainting import resize_to
from pipelines.diffusion.from_picture.repainting import (
    Repainting,
    describe_picture,
    open_repainting,
)
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.diffusion.from_picture.steps import DENSEST, StepCount, count_steps, work_of
from pipelines.diffusion.hires.own_model import count_pass, of_both_passes
from pipelines.diffusion.hires.passes import Pass, Steering, say_words
from pipelines.diffusion.hires.requests import LEAST_LATENT_STRENGTH
from pipelines.diffusion.hires.second_pass import (
    FirstPictures,
    encode_pictures,
    enlarged_latents,
    enlarged_pictures,
    second_pass,
    second_words,
)
from pipelines.diffusion.latents.coding import decode, encode_picture
from pipelines.diffusion.latents.decoders import fast_decoder, missing_decoder, with_decoder
from pipelines.diffusion.latents.overflow import overflow
from pipelines.diffusion.latents.stopping import watch_stop
from pipelines.diffusion.loading import DiffusionModel
from pipelines.diffusion.lora.applied_loras import Apply
from pipelines.diffusion.lora.apply import Applied, apply_loras
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.diffusion.lora.tags import list_left_out, uses_of, without_tags
from pipelines.diffusion.lora.use import LoraUse
from pipelines.diffusion.prompts import count_chunks, is_weighted
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.resolving import GUIDED_ONLY, alone, of_batch, resolve, seeds_of
from pipelines.diffusion.samplers import (
    UNET_FAMILIES,
    Sampler,
    samplers_in,
)
from pipelines.diffusion.wording.dynamic_prompts import Wording, Words
from pipelines.diffusion.wording.wildcards import Wildcards
from pipelines.models.catalog import Catalog, ModelEntry
from pipelines.upscaling import engine as upscaling
from pipelines.upscaling.catalog import Upscalers
from pipelines.upscaling.networks import Network

Batch = Generator[tuple[int, int, Image.Image | Message | None], None, list[Image.Image]]
"""Yields evaluations done, their total and a preview, or what is done beside; returns the
pictures."""
Backend = Callable[..., Batch]
"""Paints one batch, a picture for each seed: ``backend(model, settings, seeds)``, and where each
picture has prompts of its own ``words``, a :class:`Words` for each."""


def run(
    request: TextToImageRequest,
    cache: ModelCache,
    stop: threading.Event,
    apply: Apply = apply_loras,
) -> Iterator[Progress | Picture | Result]:
    """Paint all batches of a request; pictures come as soon as their batch is done.

    Args:
        apply: applies LoRAs as :func:`apply_loras` does.

    Raises:
        Stopped: ``stop`` was set; noticed within one step.
        UserError: the request cannot be fulfilled; its sentence says why.
    """
    yield from cache.warm(request.model, stop)
    with contextlib.ExitStack() as lease:
        model: DiffusionModel = lease.enter_context(cache.lease(request.model))
        started = time.perf_counter()
        second = second_entry(request, model.home)
        settings = resolve(request, model.entry, samplers_in(model.home), second)
        settings = yield from with_decoder(model, settings, cache, stop)
        painted = yield from paint_passes(model, request, settings, cache, stop, lease, apply=apply)
        yield painted.result(settings, cache.device, started)


def second_entry(request: TextToImageRequest, home: Path | None) -> ModelEntry | None:
    """The model of a second pass that has one of its own; None: there is none.

    Raises:
        NotFound, Refused: as :meth:`Catalog.get` does.
    """
    if request.hires is None or request.hires.model is None:
        return None
    return Catalog(home, own=LoraLibrary(home)).get(request.hires.model)


class Painted(NamedTuple):
    """What there is to say of a request once it is painted."""

    loras: Applied
    notes: list[Message]

    def result(self, settings: TextToImageRequest, device: str, started: float) -> Result:
        """The last event of a run.

        Args:
            settings: what was painted.
            started: when painting began, by :func:`time.perf_counter`.
        """
        notes = self.notes + self.loras.notes
        return Result(
            {
                "seconds": round(time.perf_counter() - started, 3),
                "pictures": settings.batch_count * settings.batch_size,
                "device": device,
                "loras": self.loras.to_json(),
                "notes": [note.to_json() for note in notes],
            }
        )


def backend_of(model: DiffusionModel) -> Backend:
    """What paints one batch with a model of its family."""
    return unet_batch if model.family in UNET_FAMILIES else diffusers_pipeline.batch


def paint_passes(
    model: DiffusionModel,
    request: TextToImageRequest,
    settings: TextToImageRequest,
    cache: ModelCache,
    stop: threading.Event,
    lease: contextlib.ExitStack,
    backend_for: Callable[[DiffusionModel], Backend] = backend_of,
    prepare: Callable[[DiffusionModel], Iterator[Progress]] = lambda model: iter(()),
    apply: Apply = apply_loras,
) -> Generator[Progress | Picture, None, Painted]:
    """Paint a resolved request, whose second pass may have a model of its own.

    That one comes once all pictures have had their first pass and the first model is let go: the
    two need not fit on the device together, and each is loaded once.

    Args:
        request: as it came; see :func:`notes_on`.
        lease: holds ``model``, and whatever else is used up to the end.
        backend_for: what paints one batch with a model.
        prepare: what is to be done with a model once its LoRAs are at work.

    Raises:
        UserError: as :func:`paint_request` does.
    """
    with contextlib.ExitStack() as network:
        hires = settings.hires
        if hires is None or hires.model is None:
            backend = yield from with_upscaler(backend_for(model), settings, network, cache, stop)
            loras = yield from paint_request(
                model, settings, stop, backend, partial(prepare, model), apply
            )
            return Painted(loras, notes_on(model, request, settings))
        family = model.family
        first = settings.model_copy(update={"hires": None, "detail_fix": None})
        shares = work_of(settings)
        painting = paint_request(
            model, first, stop, backend_for(model), partial(prepare, model), apply
        )
        pictures: list[Picture] = []
        loras = yield from _keep_pictures(count_pass(painting, 0, shares), pictures)
        notes = notes_on(model, request, settings)
        with apply(model, (), model.home):  # what a session has at work in it is taken back
            pass
        lease.close()
        yield from cache.warm(hires.model, stop)
        model = lease.enter_context(cache.lease(hires.model))
        alike = model.family == family
        if loras.uses and not alike:
            notes.append(
                Message(
                    "The LoRAs were at work in the first pass only: {model} is of another family.",
                    model=model.entry.title,
                )
            )
        backend = partial(
            backend_for(model), begun=FirstPictures((each.image for each in pictures), alike)
        )
        backend = yield from with_upscaler(backend, settings, network, cache, stop)
        if not alike:
            apply = partial(_apply_none, apply)
        painting = paint_request(model, settings, stop, backend, partial(prepare, model), apply)
        said = iter(pictures)
        for event in count_pass(painting, 1, shares):
            yield of_both_passes(next(said), event, model) if isinstance(event, Picture) else event
        return Painted(loras, notes)


def _apply_none(
    apply: Apply, model: DiffusionModel, uses: Sequence[LoraUse], home: Path | None
) -> contextlib.AbstractContextManager[Applied]:
    return apply(model, (), home)


def _keep_pictures(
    painting: Generator[Progress | Picture, None, Applied], pictures: list[Picture]
) -> Generator[Progress, None, Applied]:
    """The progress alone; what is painted goes into ``pictures``."""
    try:
        while True:
            event = next(painting)
            if isinstance(event, Picture):
                pictures.append(event)
            else:
                yield event
    except StopIteration as end:
        return end.value
    finally:
        painting.close()


def backend_of(model: DiffusionModel) -> Backend:
    """What paints one batch with a model of its family."""
    return unet_batch if model.family in UNET_FAMILIES else diffusers_pipeline.batch


def with_upscaler(
    backend: Backend,
    settings: TextToImageRequest,
    leases: contextlib.ExitStack,
    cache: ModelCache,
    stop: threading.Event,
) -> Generator[Progress, None, Backend]:
    """The backend with the network that a resolved request enlarges by between its passes.

    Args:
        backend: as for :func:`paint`.
        leases: hold the network as long as it is needed.
    """
    if settings.hires is None or settings.hires.is_latent:
        return backend
    entry = Upscalers(cache.home).get(settings.hires.upscaler)
    yield from upscaling.warm(entry, cache, stop)
    network = leases.enter_context(upscaling.lease_network(entry, cache))
    return partial(backend, upscaler=network)


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
    backend = backend or backend_of(model)
    for index in range(settings.batch_count):
        pictures = _pictures(settings, index)
        seeds = [picture.seed for picture in pictures]
        batch = backend(model, of_batch(settings, index), seeds)
        place = (index, settings.batch_count)
        yield from _with_previews(batch, model, pictures, place, stop, facts or {})


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
    apply: Apply = apply_loras,
) -> Generator[Progress | Picture, None, Applied]:
    """Paint a resolved request with the LoRAs and the words that its prompts mean.

    Args:
        backend: as for :func:`paint`.
        prepare: what is to be done once the LoRAs are at work.
        apply: applies them as :func:`apply_loras` does.

    Returns:
        The LoRAs; where each picture has its own, those of the last.

    Raises:
        UserError: as :func:`paint` and :func:`~pipelines.diffusion.lora.apply.apply_loras` do, or a
            template cannot be resolved.
    """
    wording = Wording(settings, Wildcards(model.home))
    about = describe_picture(settings.from_picture, model.home)
    if not wording.is_dynamic:
        with apply(model, uses_of(settings), model.home) as loras:
            yield from prepare()
            yield from paint(model, settings, stop, backend, loras.facts | about)
        return loras
    backend = backend or backend_of(model)
    batches = _worded_batches(settings, wording)
    for index, pictures in enumerate(batches):
        with apply(model, pictures[0].loras, model.home) as loras:
            yield from prepare()
            batch = _by_length(backend, model, pictures)
            facts = wording.facts | loras.facts | about
            yield from _with_previews(batch, model, pictures, (index, len(batches)), stop, facts)
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
            own = {**words._asdict(), "combinations": False, "hires": wording.hires(picture)}
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

    def alike(picture: TextToImageRequest) -> tuple[Any, ...]:
        chunks = _count_chunks(model, picture) if model.family in UNET_FAMILIES else ()
        return (*chunks, picture.hires)

    parts = [list(own) for _, own in itertools.groupby(pictures, alike)]
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


def _with_previews(
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
    reached = total = 0
    count = _count_of(model, pictures, place)
    try:
        while True:
            if stop.is_set():
                raise Stopped
            with watch_stop(stop):
                step, total, seen = next(batch)
            # Not while a prompt is encoded.
            if seen is not None or step > reached:
                reached = max(reached, step)
                yield count.progress(step, total, seen)
    except StopIteration as done:
        images = done.value
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        size = (pictures[0].width, pictures[0].height)
        if pictures[0].hires is not None:
            size = pictures[0].hires.size_for(*size)
        what = f"{size[0]}×{size[1]}, batch size {len(pictures)}"
        sentence = out_of_memory(error, model.device, what)
        empty_cache(model.device)
        raise sentence from error
    finally:
        batch.close()
        if model.offloaded:
            model.pipe.maybe_free_model_hooks()
    seconds = (time.perf_counter() - started) / len(pictures)
    for number, (picture, image) in enumerate(zip(pictures, images, strict=True)):
        own_facts = _facts(model) | facts
        if picture.detail_fix is not None:
            fixing = fix_details(model, picture, image, backend_of(model), stop)
            steps, own = total or picture.steps, (number, len(pictures))
            image, found = yield from count_as_second_half(fixing, steps, place, own)
            own_facts |= found
        yield Picture(image, picture, seconds, own_facts)


def _count_of(
    model: DiffusionModel, pictures: list[TextToImageRequest], place: tuple[int, int]
) -> StepCount:
    """Counts the steps of a batch with its ``place`` among all batches."""
    sampler = _sampler_of(model, pictures[0])
    apart = 1 if model.family in UNET_FAMILIES else len(pictures)
    return StepCount(pictures[0], place, apart, (sampler and sampler.max_steps) or DENSEST)


def _sampler_of(model: DiffusionModel, settings: TextToImageRequest) -> Sampler | None:
    return samplers_in(model.home).get(settings.sampler) if settings.sampler else None


def unet_batch(
    model: DiffusionModel,
    settings: TextToImageRequest,
    seeds: list[int],
    steering: Steering | None = None,
    words: Sequence[Words] | None = None,
    upscaler: Network | None = None,
    begun: FirstPictures | None = None,
) -> Batch:
    """Predict, guide, step: Atelier's own loop for Stable Diffusion 1.x, 2.x and XL.

    Args:
        steering: makes what steers the UNet in one pass.
        words: each picture's own; None: those of the settings.
        upscaler: between the passes of a request with ``hires``, where a network enlarges.
        begun: what another model's first pass has made of them; then there is only the second.
    """
    settings = resize_to(settings, model.home)
    hires, asked = settings.hires, settings.from_picture
    first = None if begun else Pass(model, settings, seeds, asked)
    done = first.evaluations if first else 0
    second = None
    if hires is not None:
        own = second_pass(settings, begun is None or begun.alike)
        second = Pass(model, own, seeds, hires, before=settings.steps)
    total = done + (second.evaluations if second else 0)
    repainting, latents = None, None
    images = begun.take(len(seeds)) if begun else None
    if asked is not None:
        repainting = open_repainting(asked, (settings.width, settings.height), model.home)
    if done:
        noise = first.noise()
        beginning = None
        if repainting is not None:
            beginning = _make_beginning(model, asked, repainting, first.start, noise)
        latents = yield from first.run(noise, beginning, (0, total), steering, words, repainting)
    if second is not None and hires.is_latent:
        if images is not None:
            latents = encode_pictures(model, images)
        elif latents is None:
            latents = encode_picture(model, repainting.base).expand(len(seeds), -1, -1, -1)
        latents = enlarged_latents(latents, second.latent_size, hires.upscaler)
    elif second is not None:
        if images is None:
            images = _pictures_of(model, settings, latents, repainting, len(seeds))
        size = (second.settings.width, second.settings.height)
        parts = enlarged_pictures(model, images, size, hires, upscaler)
        try:
            while True:
                next(parts)
                yield done, total, None
        except StopIteration as end:
            latents = end.value
    if second is None:
        return _pictures_of(model, settings, latents, repainting, len(seeds))
    beginning = Beginning(latents, second.start, extra_noise=hires.extra_noise)
    place, words = (done, total), second_words(hires, words)
    latents = yield from second.run(second.noise(), beginning, place, steering, words)
    images = _pictures_of(model, settings, latents, None, len(seeds))
    return images if repainting is None else [repainting.correct(image) for image in images]


def _pictures_of(
    model: DiffusionModel,
    settings: TextToImageRequest,
    latents: torch.Tensor | None,
    repainting: Repainting | None,
    count: int,
) -> list[Image.Image]:
    """The pictures of latents (B, C, h, w), put back into what they are a part of.

    Args:
        latents: None where nothing was painted: what they began with.
    """
    if latents is None:
        return [repainting.whole] * count
    decoder = fast_decoder(model) if settings.decoder == "fast" else None
    pixels = decode(model, latents, decoder)  # (B, 3, H, W) in [0, 1]
    if not torch.isfinite(pixels).all():
        guided = settings.guidance > 1 and takes_guidance(model.pipe.unet.config)
        raise overflow(settings, guided)
    images = to_images(pixels)
    return images if repainting is None else [repainting.finish(image) for image in images]


def _count_chunks(model: DiffusionModel, picture: TextToImageRequest) -> tuple[int, ...]:
    """How many chunks the text encoders read of a picture's prompts, in each of its passes."""
    words = Words(picture.prompt, picture.negative_prompt)
    passes = [say_words(model, words, picture.steps)]
    if (hires := picture.hires) is not None:
        (later,) = second_words(hires, [words])
        passes.append(say_words(model, later, hires.steps or picture.steps, picture.steps))
    return tuple(count_chunks(model.pipe, [*set(said[0]), *set(said[1])]) for said in passes)


def _make_beginning(
    model: DiffusionModel,
    asked: FromPicture,
    repainting: Repainting,
    start: int,
    noise: torch.Tensor,
) -> Beginning:
    """What the denoising begins with; ``noise``: (B, C, h, w), each picture's own."""
    latents, below = encode_picture(model, repainting.base), None
    change = repainting.change(model.factor)
    if change is not None:
        change = change.to(model.device)
        if start or not inpaints(model.pipe.unet.config):  # those see the rest beside the noise
            below = latents_below(latents, change, noise, asked.masked_content, start)
    gradual = asked.gradual and asked.mask_blur > 0
    return Beginning(
        latents, start, change, gradual, below, asked.noise_multiplier, asked.extra_noise
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
    notes = list_left_out(settings.prompt, model.learned)
    notes += list_left_out(settings.negative_prompt, model.learned)
    if model.family in UNET_FAMILIES:
        guides, above = takes_guidance(model.pipe.unet.config), 1
        takes_negative = guides and model.entry.negative_prompt_used
    else:
        guides, above = False, diffusers_pipeline.guides_above(model)
        takes_negative = diffusers_pipeline.takes_negative_prompt(model)
        if is_weighted(without_tags(settings.prompt)):
            notes.append(Message("{model} reads brackets and BREAK as plain text.", model=title))
        if asked.clip_skip != settings.clip_skip:
            notes.append(_unused_note("clip_skip", title))
    notes += Wording(settings, Wildcards(model.home)).notes if asked.combinations else []
    if settings.negative_prompt and not takes_negative:
        notes.append(Message("{model} takes no negative prompt.", model=title))
    elif settings.negative_prompt and settings.guidance <= above:
        notes.append(_unguided_note("negative_prompt", settings.guidance, above))
    for field in GUIDED_ONLY:
        if getattr(asked, field) == TextToImageRequest.model_fields[field].default:
            continue
        if not guides:
            notes.append(_unused_note(field, title))
        elif settings.guidance <= above:
            notes.append(_unguided_note(field, settings.guidance, above))
    if asked.decoder == "fast" and settings.decoder != "fast":
        notes.append(_unused_note("decoder", title))
    elif (missing := missing_decoder(model, settings)) is not None:
        notes.append(
            Message(
                "Decoding takes most of the time. Set the decoder to fast once: {decoder} ({size}) "
                "is downloaded, and used for few steps from then on.",
                decoder=missing.title,
                size=format_bytes(missing.download_bytes),
            )
        )
    sampler = _sampler_of(model, settings)
    hires, begun = settings.hires, settings.from_picture
    kept = hires is not None and begun is not None and begun.strength == 0
    if begun is not None and not begun.edit and not kept:
        notes.append(_steps_run(settings, sampler))
    if hires is not None and hires.is_latent and hires.strength < LEAST_LATENT_STRENGTH:
        notes.append(
            Message(
                "{upscaler} leaves pictures blurred below a strength of {limit}, and it was "
                "{strength}. Raise it, or enlarge by Lanczos or a network.",
                upscaler=hires.upscaler,
                limit=LEAST_LATENT_STRENGTH,
                strength=hires.strength,
            )
        )
    if settings.eta is None and asked.eta not in (None, sampler and sampler.eta):
        by_sampler = sampler is not None and sampler.eta is None
        notes.append(_unused_note("eta", sampler.name if by_sampler else title))
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


def _unused_note(field: str, name: str) -> Message:
    return Message("{field} was left out: {name} does not use it.", field=_title(field), name=name)


def _unguided_note(field: str, guidance: float, above: float) -> Message:
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
