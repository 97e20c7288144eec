"""From the parameters inside a picture back to the fields of a request, read leniently."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from pipelines.core.errors import UserError, validate
from pipelines.diffusion.control.catalog import ControlCatalog
from pipelines.diffusion.hires.requests import LATENT_MODES
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.samplers import Samplers
from pipelines.diffusion.styles import styles
from pipelines.diffusion.wording.dynamic_prompts import (
    HIRES_TEMPLATES,
    IN_TURN,
    NEGATIVE_TEMPLATE,
    TEMPLATE,
    Template,
)
from pipelines.diffusion.wording.wildcards import Wildcards
from pipelines.upscaling.catalog import Upscalers
from studio.core.gallery.infotext_change import NAMES as CHANGE_NAMES
from studio.core.gallery.infotext_change import change_of, unread_changes
from studio.core.gallery.infotext_details import NAMES as DETAIL_NAMES
from studio.core.gallery.infotext_details import detail_of, unread_details
from studio.core.gallery.infotext_parts import (
    DECODER,
    DENOISING,
    EXTRA_NOISE,
    HIRES,
    VARIATION,
    parts_of,
    size_in,
    whole,
)
from studio.core.gallery.infotext_units import is_unit_name, unused_lines

# Samplers of A1111's older versions carry the schedule in their name: "DPM++ 2M Karras".
_SCHEDULES = ("Karras", "Exponential", "Uniform", "SGM Uniform", "Beta")

_NUMBERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "Steps": ("steps", whole),
    "CFG scale": ("guidance", float),
    "CFG rescale": ("guidance_rescale", float),
    "CFG start": ("guidance_start", float),
    "CFG end": ("guidance_end", float),
    "Seed": ("seed", whole),
    "Clip skip": ("clip_skip", whole),
    "Eta DDIM": ("eta", float),
}
_WORDS = {"Sampler": "sampler", "Schedule type": "schedule", "Model": "model", "Style": "style"}
_TEMPLATES = {TEMPLATE: "prompt", NEGATIVE_TEMPLATE: "negative_prompt"}
# What a file tells of itself rather than of how to paint, and the lines that units are read from,
# which have a look of their own.
_FACTS = {"Version", "Script", "User", "Time", "Software"}
_FACTS |= {f"Postprocess {name}" for name in ("upscale by", "upscale to", "crop to", "upscaler",
           "upscaler 2", "upscaler 2 visibility")}  # fmt: skip
_FACTS |= {"Init image size", "ADetailer version"}
_FACTS |= {f"{axis} {part}" for axis in "XYZ" for part in ("Type", "Values")}


def _is_about_the_file(name: str) -> bool:
    return name in _FACTS or name.rpartition(" ")[2].lower() in ("hash", "hashes")


def fields_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a :class:`TextToImageRequest` that ``parameters`` speak of.

    Args:
        parameters: prompts and A1111's names, as
            :func:`studio.core.gallery.metadata.parse_parameters` reads them; anyone can have
            written them.

    Returns:
        Only fields whose value is within the request's bounds; the rest is left out. Names of
        models and samplers may be of things that are not here.
    """
    fields: dict[str, Any] = {
        name: str(parameters[name]) for name in ("prompt", "negative_prompt") if name in parameters
    }
    fields |= _template(parameters)
    for name, field in _WORDS.items():
        if name in parameters:
            fields[field] = str(parameters[name])
    for name, (field, number) in _NUMBERS.items():
        try:
            fields[field] = number(str(parameters[name]))
        except (KeyError, ValueError, OverflowError):  # not there, or written by hand
            continue
    if (size := size_in(parameters.get("Size"))) is not None:
        fields["width"], fields["height"] = size
    fields |= parts_of(parameters)
    if "hires" in fields:
        fields["hires"] |= _hires_templates(parameters)
    if (details := detail_of(parameters)) is not None:
        fields["detail_fix"] = details
    _split_sampler(fields)
    return {name: value for name, value in fields.items() if _fits(name, value)}


def unused_settings(
    parameters: Mapping[str, Any],
    models: Collection[str],
    samplers: Samplers,
    control: ControlCatalog,
) -> set[str]:
    """The names in ``parameters`` whose values :func:`fields_of` or the page cannot take over.

    Args:
        parameters: as :func:`fields_of` takes them.
        models: what models are called here, by name or title.
        samplers: those that are here, and their schedules.
        control: the control models that are here.
    """
    fields = fields_of(parameters)
    here: dict[str, Collection[str | None]] = {
        "model": models,
        "sampler": {sampler.name for sampler in samplers},
        "schedule": samplers.schedules,
        "style": styles(),
    }
    found = {name: field for name, field in _WORDS.items() if name in parameters}
    left = {name for name, field in found.items() if fields.get(field) not in here[field]}
    if "schedule" not in fields:  # "Automatic", which leaves it to the model
        left.discard("Schedule type")
    left |= {name for name, (field, _) in _NUMBERS.items() if field not in fields}
    if "width" not in fields or "height" not in fields:
        left.add("Size")
    left |= set() if "variation" in fields else set(VARIATION)
    left |= set() if "decoder" in fields else {DECODER}
    left |= _unused_hires(fields.get("hires"), models, samplers, control)
    if not _is_ours(parameters):  # whose other facts are known
        known = {*_WORDS, *_NUMBERS, *VARIATION, *HIRES, *_TEMPLATES, *HIRES_TEMPLATES.values()}
        known |= {"Size", DECODER, "prompt", "negative_prompt"} | DETAIL_NAMES
        if change_of(parameters) is not None:
            known |= CHANGE_NAMES
        if "hires" in fields:
            known |= {DENOISING, EXTRA_NOISE}
        left |= {
            name
            for name in parameters
            if name not in known and not _is_about_the_file(name) and not is_unit_name(name)
        }
    left |= unused_lines(parameters, control) | unread_changes(parameters)
    left |= unread_details(parameters)
    return left & set(parameters)


def _template(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The prompts as they were typed, with the choices of which the picture shows one."""
    fields: dict[str, Any] = {}
    here = _is_ours(parameters)
    for name, field in _TEMPLATES.items():
        # Others' lists and variables are not here; what the picture shows can be painted.
        if (text := str(parameters.get(name, ""))) and (here or _can_be_chosen_from(text)):
            fields[field] = text
    if fields and str(parameters.get(IN_TURN)) == "True":
        fields["combinations"] = True
    return fields


def _hires_templates(parameters: Mapping[str, Any]) -> dict[str, str]:
    """The prompts of a second pass as they were typed."""
    texts = {field: str(parameters.get(name, "")) for field, name in HIRES_TEMPLATES.items()}
    return {field: text for field, text in texts.items() if text and _is_ours(parameters)}


def _can_be_chosen_from(template: str) -> bool:
    """Whether a template can be resolved here as it stands."""
    try:
        Template(template, Wildcards(None))
    except UserError:
        return False
    return True


def _is_ours(parameters: Mapping[str, Any]) -> bool:
    return str(parameters.get("Version", "")).startswith("Atelier")


def _unused_hires(
    hires: Mapping[str, Any] | None,
    models: Collection[str],
    samplers: Samplers,
    control: ControlCatalog,
) -> set[str]:
    """The names of a hires pass whose values cannot be taken over."""
    if hires is None:
        return set(HIRES)
    names = {*LATENT_MODES, *(entry.name for entry in Upscalers(control.home).list())}
    here: dict[str, tuple[str, Collection[str | None]]] = {
        "model": ("Hires checkpoint", models),
        "upscaler": ("Hires upscaler", names),
        "sampler": ("Hires sampler", {sampler.name for sampler in samplers}),
        "schedule": ("Hires schedule type", samplers.schedules),
    }
    return {name for field, (name, known) in here.items() if hires.get(field, None) not in
            {None, *known}}  # fmt: skip


def _split_sampler(fields: dict[str, Any]) -> None:
    name = fields.get("sampler", "")
    if fields.get("schedule") == "Automatic":
        del fields["schedule"]
    for schedule in sorted(_SCHEDULES, key=len, reverse=True):
        if "schedule" not in fields and name.endswith(f" {schedule}"):
            fields["sampler"] = name.removesuffix(f" {schedule}")
            fields["schedule"] = schedule


def _fits(name: str, value: Any) -> bool:
    try:
        validate(TextToImageRequest, {"prompt": "", name: value})
    except UserError:
        return False
    return True
