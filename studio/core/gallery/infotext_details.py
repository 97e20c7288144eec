"""How details were fixed, by the names of A1111's extension ADetailer, and read back from there.

"ADetailer parts" and what follows it, and "ADetailer order", are our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pipelines.core.errors import UserError, validate
from pipelines.diffusion.details.requests import DetailFix, Finder

_MODEL = "ADetailer model"
_NAMES = {
    "ADetailer prompt": "prompt",
    "ADetailer negative prompt": "negative_prompt",
    "ADetailer confidence": "confidence",
    "ADetailer order": "order",
    "ADetailer mask only top k": "most",
    "ADetailer dilate erode": "grow",
    "ADetailer mask blur": "mask_blur",
    "ADetailer denoising strength": "strength",
    "ADetailer inpaint padding": "padding",
}
_ONLY_MASKED = "ADetailer inpaint only masked"
NAMES = {_MODEL, *_NAMES, _ONLY_MASKED}
_WHERE_USED = {"prompt": "", "negative_prompt": "", "order": "confidence", "most": 0}


def detail_lines(asked: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a file says of the fields of a :class:`DetailFix`."""
    if asked is None:
        return {}
    facts: dict[str, Any] = {_MODEL: asked["finder"]}
    for name, field in _NAMES.items():
        if asked[field] != _WHERE_USED.get(field):
            facts[name] = asked[field]
    return {**facts, _ONLY_MASKED: True}


def detail_of(parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """The fields of a :class:`DetailFix` that a file speaks of; None where it speaks of none.

    Whatever found the parts elsewhere, here they are found by what there is. What is beyond the
    bounds is left out.
    """
    if _MODEL not in parameters:
        return None
    found: dict[str, Any] = {}
    for name, field in _NAMES.items():
        if name in parameters and _fits(field, str(parameters[name])):
            found[field] = getattr(DetailFix(**{field: str(parameters[name])}), field)
    return found


def unread_details(parameters: Mapping[str, Any]) -> set[str]:
    """The names of what a file says of details and :func:`detail_of` does not follow."""
    if (details := detail_of(parameters)) is None:
        return set()
    beyond = {name for name, field in _NAMES.items() if field not in details}
    if parameters[_MODEL] not in get_args(Finder):  # what finds faces elsewhere finds toys here
        beyond.add(_MODEL)
    if str(parameters.get(_ONLY_MASKED, True)) != "True":
        beyond.add(_ONLY_MASKED)
    return beyond & parameters.keys()


def _fits(field: str, value: str) -> bool:
    try:
        validate(DetailFix, {field: value})
    except UserError:
        return False
    return True
