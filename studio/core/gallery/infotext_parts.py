"""Parts of a request in A1111's words, written and read: a second seed, a hires pass, the decoder.

``Size`` is that of the first pass, as in A1111. ``Hires strength`` and ``Hires extra noise`` are
ours, of pictures whose first pass began from a picture as well: A1111 has one ``Denoising
strength`` and one ``Extra noise``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

DENOISING = "Denoising strength"
_STRENGTH = "Variation seed strength"
VARIATION = ("Variation seed", _STRENGTH, "Variation strength", "Seed resize from")
_HIRES = {
    "model": "Hires checkpoint",
    "upscaler": "Hires upscaler",
    "steps": "Hires steps",
    "sampler": "Hires sampler",
    "schedule": "Hires schedule type",
    "guidance": "Hires CFG Scale",
    "prompt": "Hires prompt",
    "negative_prompt": "Hires negative prompt",
}
OWN_STRENGTH = "Hires strength"
EXTRA_NOISE, OWN_EXTRA_NOISE = "Extra noise", "Hires extra noise"
_SCALE, _RESIZE = "Hires upscale", "Hires resize"
DECODER = "VAE Decoder"
_DECODERS = {"full": "Full", "fast": "TAESD"}
HIRES = (_SCALE, _RESIZE, OWN_STRENGTH, OWN_EXTRA_NOISE, *_HIRES.values())
_AS_FIRST = ("Use same checkpoint", "Use same sampler", "Use same scheduler", "Automatic")
_HASH = re.compile(r" \[[0-9a-f]+\]$")  # that A1111 writes behind the name of a checkpoint
_TIMES = str.maketrans("×X*", "xxx")


def part_lines(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What is written of a request's variation, hires pass and decoder."""
    facts: dict[str, Any] = {}
    variation, hires = fields.get("variation"), fields.get("hires")
    if variation is not None and variation["strength"] > 0:
        facts["Variation seed"] = variation["seed"]
        facts[_STRENGTH] = variation["strength"]
    if variation is not None and variation["width"] is not None:
        facts["Seed resize from"] = f"{variation['width']}x{variation['height']}"
    if hires is not None:
        begun = fields.get("from_picture") is not None
        facts[OWN_STRENGTH if begun else DENOISING] = hires["strength"]
        if hires["width"] or hires["height"]:
            facts[_RESIZE] = f"{hires['width'] or 0}x{hires['height'] or 0}"
        else:
            facts[_SCALE] = hires["scale"]
        facts |= {name: hires[field] for field, name in _HIRES.items() if hires.get(field)}
        if hires.get("extra_noise"):
            facts[OWN_EXTRA_NOISE if begun else EXTRA_NOISE] = hires["extra_noise"]
        if hires["guidance"] is not None:
            facts["Hires CFG Scale"] = hires["guidance"]
    if (decoder := _DECODERS.get(fields.get("decoder"))) is not None:
        facts[DECODER] = decoder
    return facts


def parts_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that ``parameters`` speak of, not yet checked."""
    named = str(parameters.get(DECODER, "")).lower()
    decoders = [field for field, name in _DECODERS.items() if name.lower() == named]
    parts = {"variation": _variation(parameters), "hires": _hires(parameters)}
    parts["decoder"] = next(iter(decoders), None)
    return {name: part for name, part in parts.items() if part}


def size_in(text: Any) -> tuple[int, int] | None:
    """Width and height in a text such as ``512x768``."""
    sides = str(text).translate(_TIMES).split("x")
    if len(sides) == 2 and all(side.strip().isdecimal() and len(side) < 10 for side in sides):
        return int(sides[0]), int(sides[1])
    return None


def whole(text: str) -> int:
    """A whole number, be it written as ``20.0``."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise
        return int(number)


def _variation(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """As A1111 or SD.Next name it."""
    found: dict[str, Any] = {}
    strength = _number(parameters, _STRENGTH)
    strength = _number(parameters, "Variation strength") if strength is None else strength
    seed = _number(parameters, "Variation seed", whole)
    if strength and strength > 0 and seed is not None:
        found |= {"seed": seed, "strength": strength}
    if (size := size_in(parameters.get("Seed resize from"))) is not None:
        found["width"], found["height"] = size
    return found


def _hires(parameters: Mapping[str, Any]) -> dict[str, Any]:
    size = size_in(parameters.get(_RESIZE))
    if _SCALE not in parameters and size is None:
        return {}
    found: dict[str, Any] = {}
    if size is not None:
        found["width"], found["height"] = (side or None for side in size)
    elif (scale := _number(parameters, _SCALE)) is not None:
        found["scale"] = scale
    begun = OWN_STRENGTH in parameters
    if (strength := _number(parameters, OWN_STRENGTH if begun else DENOISING)) is not None:
        found["strength"] = strength
    if noise := _number(parameters, OWN_EXTRA_NOISE if begun else EXTRA_NOISE):
        found["extra_noise"] = noise
    for field in ("steps", "guidance"):
        # A1111 writes 0 for as many as in the first pass.
        if number := _number(parameters, _HIRES[field], whole if field == "steps" else float):
            found[field] = number
    for field in ("model", "upscaler", "sampler", "schedule", "prompt", "negative_prompt"):
        text = str(parameters.get(_HIRES[field], ""))
        if field == "model":
            text = _HASH.sub("", text)
        if text and text not in _AS_FIRST:
            found[field] = text
    return found


def _number(
    parameters: Mapping[str, Any], name: str, number: Callable[[str], Any] = float
) -> Any | None:
    """What is written under a name, or None where it is no number."""
    try:
        return number(str(parameters[name]))
    except (KeyError, ValueError, OverflowError):  # not there, or written by hand
        return None
