"""What a picture was steered by, as lines of its metadata: ``ControlNet 0: "Module: canny, …"``.

ControlNets and T2I-Adapters are written alike, as A1111's extension does. Source of the form:
``ControlNetUnit.serialize`` in ``internal_controlnet/args.py`` of Mikubill's sd-webui-controlnet.
There is no room for the picture itself, and none for a comma or a colon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from pipelines.annotators import registry
from pipelines.diffusion.control.catalog import ControlCatalog
from pipelines.diffusion.control.requests import MAX_UNITS, ControlUnit
from pipelines.errors import UserError, validated

NO_PICTURE = "0" * 32  # stands for the picture while the other fields are checked

_RESIZE_MODES = {"stretch": "Just Resize", "crop": "Crop and Resize", "pad": "Resize and Fill"}
_CONTROL_MODES = {
    "balanced": "Balanced",
    "prompt": "My prompt is more important",
    "control": "ControlNet is more important",
}
# Names of older versions of the extension, which it still reads itself.
_OLD_RESIZE_MODES = {
    "Inner Fit (Scale to Fit)": "crop",
    "Scale to Fit (Inner Fit)": "crop",
    "Outer Fit (Shrink to Fit)": "pad",
    "Envelope (Outer Fit)": "pad",
}
_RESOLUTION = "Processor Res"  # what the module works at; the picture's own when pixel perfect
_LINE = "ControlNet {number}"


def unit_lines(units: Iterable[Mapping[str, Any]], size: tuple[int, int]) -> dict[str, str]:
    """Name and value of each unit's line.

    Args:
        units: as ``ControlUnit.model_dump()`` gives them.
        size: width and height of the picture.
    """
    return {_LINE.format(number=n): _line(unit, size) for n, unit in enumerate(units)}


def units_of(parameters: Mapping[str, Any], control: ControlCatalog) -> list[dict[str, Any]]:
    """The units that ``parameters`` speak of, without their pictures; read leniently.

    Args:
        parameters: as :func:`studio.metadata.parse_parameters` reads them; anyone can have written
            them.
        control: the control models that are here.

    Returns:
        Fields of :class:`ControlUnit` but the picture, each within its bounds; what cannot be used
        is left out.
    """
    lines = (parameters.get(_LINE.format(number=n)) for n in range(MAX_UNITS))
    return [_unit(str(line), control) for line in lines if line]


def _line(unit: Mapping[str, Any], size: tuple[int, int]) -> str:
    parameters = _parameters(unit)
    facts = {
        "Module": unit["preprocessor"],
        "Model": unit["model"],
        "Weight": float(unit["weight"]),
        "Resize Mode": _RESIZE_MODES[unit["resize_mode"]],
        "Processor Res": min(size),
        "Threshold A": -1,  # the module has no such number
        "Threshold B": -1,
        "Guidance Start": float(unit["start"]),
        "Guidance End": float(unit["end"]),
        "Pixel Perfect": _RESOLUTION not in parameters,
        "Control Mode": _CONTROL_MODES[unit["control_mode"]],
    } | parameters
    return ", ".join(f"{name}: {_plain(value)}" for name, value in facts.items())


def _parameters(unit: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of a unit's preprocessor under their names in the line."""
    try:
        model = registry.get(unit["preprocessor"]).parameters
        values = validated(model, unit["parameters"]).model_dump(mode="json")
    except UserError:  # of another version of Atelier
        return {}
    return {title: values[name] for name, title in _titles(model).items()}


def _titles(model: type[BaseModel]) -> dict[str, str]:
    """Parameter of a preprocessor → its name in the line: the first two numbers are thresholds."""
    titles, free = {}, ["Threshold A", "Threshold B"]
    for name, field in model.model_fields.items():
        is_number = isinstance(field.default, int | float) and not isinstance(field.default, bool)
        if name == "resolution":
            titles[name] = _RESOLUTION
        else:
            titles[name] = free.pop(0) if free and is_number else name.replace("_", " ").title()
    return titles


def _plain(value: Any) -> str:
    """Text that neither commas nor colons take apart."""
    return re.sub(r"[,:\s]+", " ", str(value))


def _unit(line: str, control: ControlCatalog) -> dict[str, Any]:
    facts = {}
    for item in line.split(","):
        name, _, value = item.partition(":")
        facts[name.strip()] = value.strip()
    models = {_plain(entry.name): entry.name for entry in control.models()}
    resize_modes = {words: mode for mode, words in _RESIZE_MODES.items()} | _OLD_RESIZE_MODES
    control_modes = {words: mode for mode, words in _CONTROL_MODES.items()}
    unit = {
        "model": models.get(facts.get("Model")),
        "weight": facts.get("Weight"),
        "resize_mode": resize_modes.get(facts.get("Resize Mode")),
        "start": facts.get("Guidance Start"),
        "end": facts.get("Guidance End"),
        "control_mode": control_modes.get(facts.get("Control Mode")),
    }
    unit = _within_bounds(ControlUnit, unit, {"picture": NO_PICTURE, "model": ""})
    module = _module(facts.get("Module", ""))
    if module is not None:
        titles = _titles(module.parameters)
        values = {name: facts.get(title) for name, title in titles.items()}
        unit["preprocessor"] = module.name
        unit["parameters"] = _within_bounds(module.parameters, values, {})
    return unit


def _module(name: str) -> registry.Annotator | None:
    """The preprocessor of this name; of another studio's ``lineart_realistic``, our ``lineart``."""
    for known in (name, name.partition("_")[0]):
        if known in registry.ANNOTATORS:
            return registry.get(known)
    return None


def _within_bounds(
    model: type[BaseModel], values: Mapping[str, Any], needed: dict[str, Any]
) -> dict[str, Any]:
    """Those of ``values`` that ``model`` takes, in their own types."""
    taken: dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            continue
        try:
            checked = validated(model, {**needed, **taken, name: value})
        except UserError:  # written by hand, or by a studio with other bounds
            continue
        taken[name] = getattr(checked, name)
    return taken
