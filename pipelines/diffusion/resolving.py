"""From what was asked to what is painted: every setting that was left open gets its value.

No torch here: a request can be checked, and refused, before it is queued.
"""

from __future__ import annotations

import secrets
from typing import Any, TypeVar

from pydantic import BaseModel

from pipelines.core.errors import BadRequest, validate
from pipelines.core.matching import find_name
from pipelines.diffusion.from_picture.editing import resolve_picture
from pipelines.diffusion.from_picture.sizes import size_step
from pipelines.diffusion.hires.requests import Hires
from pipelines.diffusion.picture_sides import LARGEST_SIDE, check_sides
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.samplers import UNET_FAMILIES, Sampler, Samplers, check_fit
from pipelines.diffusion.seeds import MAX_SEED, RANDOM, Variation
from pipelines.diffusion.styles import get_style
from pipelines.models.catalog import ModelEntry

RequestT = TypeVar("RequestT", bound=BaseModel)

FALLBACK_SAMPLER = "Euler"  # works with every UNet model and every schedule
FALLBACK_SCHEDULE = "Uniform"
GUIDED_ONLY = ("guidance_rescale", "guidance_start", "guidance_end")
"""Fields without effect where nothing is guided."""
_UNET_ONLY = ("clip_skip", "eta", *GUIDED_ONLY)  # what Atelier's own loop alone takes


def resolve(
    request: TextToImageRequest,
    entry: ModelEntry,
    samplers: Samplers,
    second: ModelEntry | None = None,
) -> TextToImageRequest:
    """The request with size, steps, guidance, sampler, schedule, eta and seed filled in.

    Settings without effect go back to their defaults, so that pictures do not speak of them.
    The style is worked into the prompts, so that the picture can be made again after the style has
    been changed. Sampler and schedule stay None for a model that keeps its own scheduler and has no
    picker entry for it.

    Args:
        second: of the model of the second pass, where that has one of its own.

    Raises:
        NotFound: a sampler, schedule or style that does not exist.
        BadRequest: sampler, schedule, steps and model do not go together, or the model does not
            take a picture in this way, or paints no second pass.
    """
    from_picture = resolve_picture(request.from_picture, entry)
    defaults = entry.defaults
    values = {
        "model": entry.name,
        "width": request.width or entry.native_size,
        "height": request.height or entry.native_size,
        "steps": request.steps or defaults.steps,
        "guidance": defaults.guidance if request.guidance is None else request.guidance,
        "seed": with_seed(request).seed,
        "variation": _effective(request),
        "from_picture": from_picture,
        "eta": None,
    }
    sampler = _sampler(request, entry, samplers)
    if sampler is not None:
        schedule = samplers.schedule(_schedule(request, entry, samplers, sampler))
        check_fit(samplers, sampler, schedule, values["steps"], entry.family, defaults.sampler)
        values |= {"sampler": sampler.name, "schedule": schedule.name}
        if sampler.eta is not None:
            values["eta"] = sampler.eta if request.eta is None else request.eta
    elif request.schedule is not None:
        raise _own_schedule(entry, request.schedule)
    if entry.family not in UNET_FAMILIES:
        values |= {name: _default(name) for name in _UNET_ONLY}
    elif values["guidance"] <= 1:
        values |= {name: _default(name) for name in GUIDED_ONLY}
    if request.hires is not None:
        values["hires"] = _resolved_hires(request, entry, samplers, values, second or entry)
    if entry.family in UNET_FAMILIES:  # others' patches are known when they are here
        check_sides(entry.title, size_step(entry), values["width"], values["height"])
    if request.style is not None:
        prompt, negative = get_style(request.style).apply(request.prompt, request.negative_prompt)
        values |= {"style": None, "prompt": prompt, "negative_prompt": negative}
    # Validated again: a style may have made the prompt too long.
    return validate(type(request), {**request.model_dump(), **values})


def _resolved_hires(
    request: TextToImageRequest,
    entry: ModelEntry,
    samplers: Samplers,
    values: dict[str, Any],
    second: ModelEntry,
) -> Hires:
    """The hires pass with the names of model, sampler and schedule as they are written here.

    Args:
        values: what is known of the first pass.
        second: of the model of the second one; of another family it has its own defaults.

    Raises:
        NotFound, BadRequest: as :func:`resolve` does.
    """
    hires, asked = request.hires, request.from_picture
    for each in (entry, second):
        if each.edits_only:
            raise BadRequest(
                "{model} only edits pictures by words, so there is no second pass. Make its result "
                "larger afterwards.",
                model=each.title,
            )
    if asked is not None and (asked.mask is not None or asked.outpaint is not None):
        raise BadRequest(
            "A mask, or new sides, and a second pass do not go together: the second one would "
            "change what stays. Paint first, then make the result larger."
        )
    changes: dict[str, Any] = {}
    if second.name != entry.name:
        changes["model"] = second.name
    elif hires.model is not None and find_name(hires.model, [entry.name]) is not None:
        changes["model"] = None
    width, height = hires.size_for(values["width"], values["height"])
    step = size_step(second)
    if (width % step or height % step) and not (hires.width or hires.height):
        # Not every size that a scale gives is one of the model's patches.
        width, height = hires.size_for(values["width"], values["height"], step)
        changes |= {"width": width, "height": height}
    elif second.family in UNET_FAMILIES:
        check_sides(second.title, step, width, height)
    if max(width, height) > LARGEST_SIDE:
        raise BadRequest(
            "The second pass would have {width}×{height} pixels; at most {limit} on each side can "
            "be painted. Lower its scale or size.",
            width=width,
            height=height,
            limit=LARGEST_SIDE,
        )
    if second.family != entry.family:
        return hires.model_copy(update=changes | _own_solver(request, second, samplers))
    name = hires.sampler or values.get("sampler")
    if name is None:
        if hires.schedule is not None:
            raise _own_schedule(entry, hires.schedule)
        return hires.model_copy(update=changes)
    sampler = samplers.get(name)
    schedule = samplers.schedule(hires.schedule or values.get("schedule") or FALLBACK_SCHEDULE)
    steps = hires.steps or values["steps"]
    check_fit(samplers, sampler, schedule, steps, entry.family, entry.defaults.sampler)
    if hires.sampler is not None:
        changes["sampler"] = sampler.name
    if hires.schedule is not None:
        changes["schedule"] = schedule.name
    return hires.model_copy(update=changes)


def _own_solver(
    request: TextToImageRequest, second: ModelEntry, samplers: Samplers
) -> dict[str, Any]:
    """Sampler, schedule and guidance of a second pass by a model of another family.

    Those of the first pass mean something else there, or nothing.

    Raises:
        NotFound, BadRequest: as :func:`resolve` does.
    """
    hires = request.hires
    if request.detail_fix is not None:
        raise BadRequest(
            "Details cannot be fixed after a second pass by {model}, a model of another family. "
            "Fix them afterwards, or choose a second model of the same family.",
            model=second.title,
        )
    asked = request.model_copy(update={"sampler": hires.sampler, "schedule": hires.schedule})
    sampler = _sampler(asked, second, samplers)
    changes: dict[str, Any] = {}
    if hires.guidance is None:
        changes["guidance"] = second.defaults.guidance
    if sampler is not None:
        schedule = samplers.schedule(_schedule(asked, second, samplers, sampler))
        steps = hires.steps or request.steps or second.defaults.steps
        check_fit(samplers, sampler, schedule, steps, second.family, second.defaults.sampler)
        changes |= {"sampler": sampler.name, "schedule": schedule.name, "steps": steps}
    elif hires.schedule is not None:
        raise _own_schedule(second, hires.schedule)
    return changes


def _own_schedule(entry: ModelEntry, schedule: str) -> BadRequest:
    return BadRequest(
        "{model} keeps its own scheduler and schedule; leave {schedule} out.",
        model=entry.title,
        schedule=schedule,
    )


def with_seed(request: RequestT) -> RequestT:
    """The request with its seeds drawn, for itself or its base, where it leaves them open.

    Drawn before it is queued: what is begun again after a crash must go on with the same ones.
    """
    if (base := getattr(request, "base", None)) is not None:
        return request.model_copy(update={"base": with_seed(base)})
    drawn: dict[str, Any] = {}
    if getattr(request, "seed", None) == RANDOM:
        drawn["seed"] = secrets.randbelow(MAX_SEED + 1)
    if (variation := getattr(request, "variation", None)) and variation.seed == RANDOM:
        seed = secrets.randbelow(MAX_SEED + 1)
        drawn["variation"] = variation.model_copy(update={"seed": seed})
    return request.model_copy(update=drawn) if drawn else request


def seeds_of(request: TextToImageRequest, batch: int) -> list[int]:
    """The seeds of one batch of a resolved request: they count up from its seed, through zero.

    Where a variation is mixed in they are all the same, and its seed counts.
    """
    if _counts_variations(request):
        return [request.seed] * request.batch_size
    first = request.seed + batch * request.batch_size
    return [(first + i) % (MAX_SEED + 1) for i in range(request.batch_size)]


def of_batch(request: TextToImageRequest, batch: int) -> TextToImageRequest:
    """The resolved request with the variation seed of the first picture of one batch."""
    return _vary(request, batch * request.batch_size)


def alone(request: TextToImageRequest, seed: int, place: int = 0) -> TextToImageRequest:
    """The request that makes the picture of ``seed`` and nothing else.

    Args:
        request: :func:`of_batch`.
        place: of the picture in its batch.
    """
    changes = {"seed": seed, "batch_count": 1, "batch_size": 1}
    return _vary(request, place).model_copy(update=changes)


def _effective(request: TextToImageRequest) -> Variation | None:
    """The request's variation with its seed drawn; None where it would change nothing."""
    variation = with_seed(request).variation
    if variation is None or (variation.strength == 0 and variation.width is None):
        return None
    return variation


def _counts_variations(request: TextToImageRequest) -> bool:
    return request.variation is not None and request.variation.strength > 0


def _vary(request: TextToImageRequest, further: int) -> TextToImageRequest:
    """The request with a variation seed so much further on, through zero."""
    if not further or not _counts_variations(request):
        return request
    seed = (request.variation.seed + further) % (MAX_SEED + 1)
    variation = request.variation.model_copy(update={"seed": seed})
    return request.model_copy(update={"variation": variation})


def _default(name: str) -> Any:
    return TextToImageRequest.model_fields[name].default


def _sampler(request: TextToImageRequest, entry: ModelEntry, samplers: Samplers) -> Sampler | None:
    name = request.sampler or entry.defaults.sampler
    if name is None and entry.family in UNET_FAMILIES:
        name = FALLBACK_SAMPLER
    return None if name is None else samplers.get(name)


def _schedule(
    request: TextToImageRequest, entry: ModelEntry, samplers: Samplers, sampler: Sampler
) -> str:
    """What was asked, else the model's default where the sampler can follow it, else Uniform."""
    if request.schedule is not None:
        return request.schedule
    default = entry.defaults.schedule
    # What an own sampler's class can follow is not known before it is imported.
    fits = sampler.source is None and default in samplers.schedules_of(sampler, entry.family)
    return default if fits else FALLBACK_SCHEDULE
