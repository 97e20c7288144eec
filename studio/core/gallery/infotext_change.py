"""How a picture was changed, as A1111 writes it into files, and read back from there.

A file does not hold the picture that was begun from, nor the mask: only how they were used.
"Outpaint", "Gradual edges", "Resize mode", "All steps", "Edit by words", "Further pictures" and
"Background color" are our own; "Color correction" is SD.Next's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipelines.core.errors import UserError, validate
from pipelines.core.pictures.inputs import WHITE
from pipelines.diffusion.from_picture.requests import FromPicture, Outpaint
from studio.core.gallery.infotext_parts import OWN_STRENGTH

_STRENGTH, _EDIT = "Denoising strength", "Edit by words"
_WEIGHT = "Conditional mask weight"
_MULTIPLIER, _EXTRA = "Noise multiplier", "Extra noise"
_CORRECTION, _BACKGROUND = "Color correction", "Background color"
_CONTENTS = {"fill": "fill", "noise": "latent noise", "nothing": "latent nothing"}
_AREAS = {"masked": "Only masked"}
_MODES = {True: "Inpaint not masked"}
_SIDES = ("left", "top", "right", "bottom")
_SIDE = re.compile(r"(left|top|right|bottom) (\d{1,4})( ?%)?")
NAMES = {
    *(_STRENGTH, _EDIT, "Further pictures", "Mask blur", "Mask mode", "Inpaint area"),
    *("Masked area padding", "Masked content", "Outpaint", "Gradual edges", "Resize mode"),
    *("All steps", _WEIGHT, _MULTIPLIER, _EXTRA, _CORRECTION, _BACKGROUND),
}
# What of them is read as a field, and what as one of a few words.
_FIELDS = {_STRENGTH: "strength", "Mask blur": "mask_blur", "Masked area padding": "padding",
           _WEIGHT: "mask_weight", "Resize mode": "fit", "Outpaint": "outpaint",
           _MULTIPLIER: "noise_multiplier", _EXTRA: "extra_noise",
           _BACKGROUND: "background"}  # fmt: skip
_WORDS = {
    "Masked content": {"original", *_CONTENTS.values()},
    "Inpaint area": {"Whole picture", *_AREAS.values()},
    "Mask mode": {"Inpaint masked", *_MODES.values()},
    _CORRECTION: {"True", "False"},
}
_ANY_INPUT = "0" * 32  # in the place of a picture's id, where only the other fields are checked


def change_lines(asked: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a file says of the fields of a :class:`FromPicture`; defaults are not written."""
    if asked is None:
        return {}
    if asked.get("edit"):
        facts: dict[str, Any] = {_EDIT: True}
        if further := asked.get("references"):
            facts["Further pictures"] = len(further)
    else:
        facts = {_STRENGTH: asked["strength"]}
    if asked.get("all_steps") is not None:
        facts["All steps"] = asked["all_steps"]
    if asked.get("fit", "crop") != "crop":
        facts["Resize mode"] = asked["fit"]
    if asked.get("noise_multiplier", 1.0) != 1:
        facts[_MULTIPLIER] = asked["noise_multiplier"]
    if asked.get("extra_noise"):
        facts[_EXTRA] = asked["extra_noise"]
    if asked.get("colour_correction"):
        facts[_CORRECTION] = True
    if asked.get("background", WHITE) != WHITE:
        facts[_BACKGROUND] = asked["background"]
    outpaint = asked.get("outpaint")
    if outpaint is not None:
        facts["Outpaint"] = _outpaint_line(outpaint)
    if asked.get("mask") is None and outpaint is None:
        return facts
    facts["Mask blur"] = asked["mask_blur"]
    if asked.get("gradual"):
        facts["Gradual edges"] = True
    if asked["invert_mask"]:
        facts["Mask mode"] = _MODES[True]
    if asked["area"] == "masked":
        facts |= {"Inpaint area": _AREAS["masked"], "Masked area padding": asked["padding"]}
    if asked["masked_content"] != "original":
        facts["Masked content"] = _CONTENTS[asked["masked_content"]]
    if asked.get("mask_weight", 1.0) != 1:
        facts[_WEIGHT] = asked["mask_weight"]
    return facts


def paints_a_part(request: Mapping[str, Any]) -> bool:
    """Whether what was painted is another part of the result than all of it."""
    asked = request.get("from_picture")
    return asked is not None and FromPicture.model_construct(**asked).paints_a_part


def change_of(parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """The fields of a :class:`FromPicture` that a file speaks of, without picture and mask.

    None where the picture was not begun from another: the denoising strength is that of a hires
    pass, unless this one has a strength of its own. What is beyond the bounds is left out.
    """
    enlarged = any(name.startswith("Hires ") for name in parameters)
    if not {_STRENGTH, _EDIT} & parameters.keys() or (enlarged and OWN_STRENGTH not in parameters):
        return None
    words = {name: str(value) for name, value in parameters.items()}
    contents = {line: content for content, line in _CONTENTS.items()}
    fields: dict[str, Any] = {
        "strength": words.get(_STRENGTH),
        "edit": True if words.get(_EDIT) == "True" else None,
        "mask_blur": words.get("Mask blur", words.get("Mask blur x")),
        "invert_mask": words.get("Mask mode") == _MODES[True],
        "area": "masked" if words.get("Inpaint area") == _AREAS["masked"] else "whole",
        "padding": words.get("Masked area padding"),
        "mask_weight": words.get(_WEIGHT),
        "masked_content": contents.get(words.get("Masked content", ""), "original"),
        "gradual": words.get("Gradual edges") == "True",
        "fit": words.get("Resize mode"),
        "all_steps": {"True": True, "False": False}.get(words.get("All steps", "")),
        "outpaint": _outpaint(words.get("Outpaint", "")),
        "noise_multiplier": words.get(_MULTIPLIER),
        "extra_noise": words.get(_EXTRA),
        "colour_correction": words.get(_CORRECTION) == "True",
        "background": words.get(_BACKGROUND),
    }
    given = {name: _check(name, value) for name, value in fields.items()}
    return {name: value for name, value in given.items() if value is not None}


def unread_changes(parameters: Mapping[str, Any]) -> set[str]:
    """The names of what a file says of a change and no form can take."""
    if (change := change_of(parameters)) is None:
        return set()
    beyond = {name for name, field in _FIELDS.items() if field not in change}
    other = {name for name, known in _WORDS.items() if str(parameters.get(name)) not in known}
    return (beyond | other) & parameters.keys()


def _outpaint_line(outpaint: Mapping[str, Any]) -> str:
    unit = "%" if outpaint["unit"] == "percent" else ""
    return ", ".join(f"{side} {outpaint[side]}{unit}" for side in _SIDES if outpaint[side])


def _outpaint(line: str) -> dict[str, Any] | None:
    found = _SIDE.findall(line)
    if not found:
        return None
    unit = "percent" if any(percent for *_, percent in found) else "pixels"
    sides = {side: int(number) for side, number, _ in found}
    return Outpaint.model_construct(**sides, unit=unit).model_dump()


def _check(name: str, value: Any) -> Any:
    """The value as the field's type; None where there is none, or it is out of bounds."""
    if value is None:
        return None
    try:
        change = validate(FromPicture, {"picture": _ANY_INPUT, name: value})
    except UserError:
        return None
    return change.model_dump()[name]
