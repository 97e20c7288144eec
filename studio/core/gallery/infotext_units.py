"""What a picture was steered by, as lines of its metadata: ``ControlNet 0: "Module: canny, …"``.

ControlNets and T2I-Adapters are written alike, as A1111's extension does. Source of the form:
``ControlNetUnit.serialize`` in ``internal_controlnet/args.py`` of Mikubill's sd-webui-controlnet.
There is no room for the picture itself, and none for a comma or a colon.

Older forms are read as well. Until early 2024 a line was ``preprocessor: canny, model: …,
starting/ending: (0, 1), preprocessor params: (512, 100, 200)``; until spring 2023 each value was a
setting of its own, ``ControlNet-0 Module: canny, ControlNet-0 Model: …``. Some versions wrote the
names of Python's enumerations: ``Resize Mode: ResizeMode.OUTER_FIT``.

Models go by their files' names there, followed by a hash, and modules by names of the extension's;
those that mean something else here are read as ours only where Atelier has written them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel

from pipelines.core.errors import UserError, validate
from pipelines.core.matching import find_name
from pipelines.diffusion.control.catalog import ControlCatalog, shipped_entries
from pipelines.diffusion.control.requests import MAX_UNITS, ControlUnit
from pipelines.preprocessors import registry

NO_PICTURE = "0" * 32  # stands for the picture while the other fields are checked

_RESIZE_MODES = {"stretch": "Just Resize", "crop": "Crop and Resize", "pad": "Resize and Fill"}
_CONTROL_MODES = {
    "balanced": "Balanced",
    "prompt": "My prompt is more important",
    "control": "ControlNet is more important",
}
# What both modes are called in lines, in lower case: the extension's words, those of its older
# versions, the names of its enumerations, and their numbers.
_READ_RESIZE_MODES = {
    **{words.lower(): mode for mode, words in _RESIZE_MODES.items()},
    "inner fit (scale to fit)": "crop",
    "scale to fit (inner fit)": "crop",
    "outer fit (shrink to fit)": "pad",
    "envelope (outer fit)": "pad",
    **dict(zip(("resize", "inner_fit", "outer_fit"), _RESIZE_MODES, strict=True)),
    **dict(zip("012", _RESIZE_MODES, strict=True)),
}
_READ_CONTROL_MODES = {
    **{words.lower(): mode for mode, words in _CONTROL_MODES.items()},
    **{mode: mode for mode in _CONTROL_MODES},
    **dict(zip("012", _CONTROL_MODES, strict=True)),
}
_RESOLUTION = "Processor Res"  # what the module works at; the picture's own when pixel perfect
_PIXEL_PERFECT = "Pixel Perfect"
_ITSELF = "Same Picture"  # as the one that was begun from; our own
_LINE = "ControlNet {number}"
# A unit's line, with its number, or one value of a unit: "ControlNet-0 Module".
_ANY_LINE = re.compile(r"[Cc]ontrol[Nn]et(?:[ -](\d{1,6}))?(?: ([A-Z][A-Za-z ]*+))?")
_HALVES = ("-fp16", "_fp16")  # end the name of a file of the same model
# What older lines call the same, in lower case.
_OLD_NAMES = {
    "preprocessor": "Module",
    "guidance strength": "Guidance End",
    "starting/ending": "Guidance Start and End",
    "preprocessor params": "Processor Parameters",
    "preprocessor parameters": "Processor Parameters",
}
_PAIRS = {
    "Guidance Start and End": ("Guidance Start", "Guidance End"),
    "Processor Parameters": (_RESOLUTION, "Threshold A", "Threshold B"),
}
_HEXADECIMAL = set("0123456789abcdef")
_IN_BRACKETS = 3  # values at most: "(512, 100, 200)"
# The fields of a unit whose values a line gives, under the names there.
_FIELDS = {
    "weight": "Weight",
    "resize_mode": "Resize Mode",
    "start": "Guidance Start",
    "end": "Guidance End",
    "control_mode": "Control Mode",
    "crop_along": "Crop Along",  # our own
}

# The extension's modules, by their labels and by the names that its API takes, and what reads the
# same of a picture here. Source: scripts/preprocessor/ of sd-webui-controlnet.
_MODULES: dict[str, tuple[str, dict[str, Any]]] = {
    "lineart": ("lineart_hub", {"coarse": False}),
    "lineart_realistic": ("lineart_hub", {"coarse": False}),
    "lineart_coarse": ("lineart_hub", {"coarse": True}),
    "lineart_standard": ("lineart", {}),
    "lineart_standard (from white bg & black line)": ("lineart", {}),
    "invert": ("lineart", {}),  # of a drawing: its lines as they are, white on black
    "invert (from white bg & black line)": ("lineart", {}),
    "scribble_xdog": ("scribble", {}),
    "hed": ("softedge_hed", {"safe": False}),
    "hed_safe": ("softedge_hed", {"safe": True}),
    "softedge_hedsafe": ("softedge_hed", {"safe": True}),
    "pidinet": ("softedge_pidinet", {"safe": False}),
    "pidinet_safe": ("softedge_pidinet", {"safe": True}),
    "softedge_pidisafe": ("softedge_pidinet", {"safe": True}),
    "pidinet_sketch": ("sketch_pidinet", {}),
    "t2ia_sketch_pidi": ("sketch_pidinet", {}),
    "depth": ("depth_midas", {}),
    "depth_anything_v2": ("depth_anything", {}),
    "depth_leres++": ("depth_leres", {}),
    "openpose": ("openpose", {"hands": False, "face": False}),
    "openpose_hand": ("openpose", {"hands": True, "face": False}),
    "openpose_face": ("openpose", {"hands": False, "face": True}),
    "openpose_full": ("openpose", {"hands": True, "face": True}),
    "dw_openpose_full": ("dwpose", {"hands": True, "face": True}),
    "segmentation": ("seg_upernet", {}),
    "seg_ufade20k": ("seg_upernet", {}),
    "oneformer_ade20k": ("seg_upernet", {}),
    "seg_ofade20k": ("seg_upernet", {}),
    "mobile_sam": ("seg_sam", {}),
    "color": ("grid_colour", {}),
    "t2ia_color_grid": ("grid_colour", {}),
    "tile_resample": ("none", {}),  # which its model is given: the picture as it is
}
_SAME_THRESHOLDS = {"canny", "depth_leres"}
"""Of the preprocessors that the extension has too, those whose thresholds mean the same here."""


def unit_lines(
    units: Iterable[Mapping[str, Any]], size: tuple[int, int], painted: str | None = None
) -> dict[str, str]:
    """Name and value of each unit's line.

    Args:
        units: as ``ControlUnit.model_dump()`` gives them.
        size: width and height of the picture.
        painted: id of the picture that was begun from.
    """
    return {_LINE.format(number=n): _line(unit, size, painted) for n, unit in enumerate(units)}


def units_of(parameters: Mapping[str, Any], control: ControlCatalog) -> list[dict[str, Any]]:
    """The units that ``parameters`` speak of, without their pictures; read leniently.

    Args:
        parameters: as :func:`studio.core.gallery.metadata.parse_parameters` reads them; anyone can
            have written them.
        control: the control models that are here.

    Returns:
        Fields of :class:`ControlUnit` but the picture, each within its bounds; what cannot be used
        is left out.
    """
    own = _is_own(parameters)
    lines = _lines_of(parameters)[:MAX_UNITS]
    return [_unit(line.facts, control, own) for line in lines if line.facts]


def units_beside(parameters: Mapping[str, Any], control: ControlCatalog) -> list[dict[str, Any]]:
    """The units of a picture that was made from another one, as :func:`units_of` reads them.

    A unit that followed the picture which was changed has :data:`NO_PICTURE` as its ``picture``,
    one that followed a picture of its own has "". In files of other programs every unit is taken
    for one of the first kind.
    """
    own, units = _is_own(parameters), units_of(parameters, control)
    lines = [line for line in _lines_of(parameters)[:MAX_UNITS] if line.facts]
    along = [not own or line.facts.get(_ITSELF) == "True" for line in lines]
    return [
        {**unit, "picture": NO_PICTURE if same else ""}
        for unit, same in zip(units, along, strict=True)
    ]


def is_unit_name(name: str) -> bool:
    """Whether a setting of this name is a unit's line, or one value of a unit."""
    return _ANY_LINE.fullmatch(name) is not None


def unused_lines(parameters: Mapping[str, Any], control: ControlCatalog) -> set[str]:
    """The names of the units' lines whose module or model is not here, or that are too many.

    Args:
        parameters, control: as :func:`units_of` takes them.
    """
    lines, own = _lines_of(parameters), _is_own(parameters)
    unused = {name for line in lines[MAX_UNITS:] for name in line.names}
    for line in lines[:MAX_UNITS]:
        if not {"preprocessor", "model"} <= _unit(line.facts, control, own).keys():
            unused.update(line.names)
    return unused


def unused_values(parameters: Mapping[str, Any], control: ControlCatalog) -> dict[str, list[str]]:
    """Of the units that can be used, the values that cannot: line → names of the values in it.

    Args:
        parameters, control: as :func:`units_of` takes them.
    """
    own, unused = _is_own(parameters), {}
    for line in _lines_of(parameters)[:MAX_UNITS]:
        unit = _unit(line.facts, control, own)
        left = [name for field, name in _FIELDS.items() if name in line.facts and field not in unit]
        if left and {"preprocessor", "model"} <= unit.keys():
            unused[line.names[0]] = left
    return unused


@dataclass(frozen=True, slots=True)
class _Line:
    """What is said of one unit.

    Attributes:
        names: of the settings that say it: of its line, or of each of its values.
        facts: what they say.
    """

    names: list[str]
    facts: dict[str, str]


def _lines_of(parameters: Mapping[str, Any]) -> list[_Line]:
    """The units that are spoken of, by their numbers; those that were switched off are left out."""
    lines: dict[int, _Line] = {}
    for name, value in parameters.items():
        if not (match := _ANY_LINE.fullmatch(name)):
            continue
        line = lines.setdefault(int(match[1] or 0), _Line([], {}))
        line.names.append(name)
        line.facts.update(_facts(f"{match[2]}: {value}" if match[2] else value))
    numbers = sorted(lines)
    return [lines[n] for n in numbers if lines[n].facts.get("Enabled", "").lower() != "false"]


def _is_own(parameters: Mapping[str, Any]) -> bool:
    return str(parameters.get("Version", "")).startswith("Atelier")


def _line(unit: Mapping[str, Any], size: tuple[int, int], painted: str | None) -> str:
    parameters = _parameters(unit)
    if pixel_perfect := not parameters.get(_RESOLUTION):
        parameters.pop(_RESOLUTION, None)
    facts = {
        "Module": unit["preprocessor"],
        "Model": _usual_names().get(unit["model"], unit["model"]),
        "Weight": float(unit["weight"]),
        "Resize Mode": _RESIZE_MODES[unit["resize_mode"]],
        _RESOLUTION: min(size),
        "Threshold A": -1,  # the module has no such number
        "Threshold B": -1,
        "Guidance Start": float(unit["start"]),
        "Guidance End": float(unit["end"]),
        _PIXEL_PERFECT: pixel_perfect,
        "Control Mode": _CONTROL_MODES[unit["control_mode"]],
    } | parameters
    if unit.get("crop_along") is not None:  # nor is it in what older versions have stored
        facts[_FIELDS["crop_along"]] = unit["crop_along"]
    if painted and unit.get("picture") == painted:
        facts[_ITSELF] = True
    return ", ".join(f"{name}: {_plain(value)}" for name, value in facts.items())


def _parameters(unit: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of a unit's preprocessor under their names in the line."""
    try:
        model = registry.get(unit["preprocessor"]).parameters
        values = validate(model, unit["parameters"]).model_dump(mode="json")
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


@cache
def _usual_names() -> dict[str, str]:
    """Shipped control model → the name that it has elsewhere, where that is its alone."""
    names: dict[str, str] = {}
    for entry in shipped_entries():
        if entry.usual_name not in names.values():
            names[entry.name] = entry.usual_name
    return names


def _facts(line: Any) -> dict[str, str]:
    """Name → value of a unit's line, under the extension's newer names."""
    facts: dict[str, str] = {}
    items = iter(str(line).split(","))
    for item in items:
        if not item.strip():
            continue
        name, _, value = item.partition(":")
        name, values = name.strip(), [value.strip()]
        if value.lstrip().startswith("("):  # "(0.1, 0.9)": its commas are no ends
            while not values[-1].endswith(")") and len(values) < _IN_BRACKETS:
                values.append(next(items, ")").strip())
        name = _OLD_NAMES.get(name.lower(), name.replace("_", " ").title())
        if parts := _PAIRS.get(name):
            values = [each.strip("() ") for each in values]
            facts.update(dict(zip(parts, values, strict=False)))
        else:
            facts[name] = ", ".join(values)
    return facts


def _unit(facts: Mapping[str, str], control: ControlCatalog, own: bool) -> dict[str, Any]:
    unit = {
        "model": _model(facts.get("Model", ""), control),
        "weight": facts.get("Weight"),
        "resize_mode": _READ_RESIZE_MODES.get(_enumeration(facts.get("Resize Mode", ""))),
        "start": facts.get("Guidance Start"),
        "end": facts.get("Guidance End"),
        "control_mode": _READ_CONTROL_MODES.get(_enumeration(facts.get("Control Mode", ""))),
        "crop_along": facts.get("Crop Along"),
    }
    unit = _within_bounds(ControlUnit, unit, {"picture": NO_PICTURE, "model": ""})
    name, meant = facts.get("Module", ""), {}
    if not own:
        bare = name.partition(" (")[0]  # "depth_leres (LeRes depth estimation)"
        name, meant = _MODULES.get(name) or _MODULES.get(bare) or (bare, {})
    if (known := find_name(name, registry.PREPROCESSORS)) is not None:
        module = registry.get(known)
        values = meant | _values(module, facts, own)
        unit["preprocessor"] = known
        unit["parameters"] = _within_bounds(module.parameters, values, {})
    return unit


def _enumeration(value: str) -> str:
    """A mode in lower case, without the name of its enumeration: ``ResizeMode.RESIZE``."""
    return value.removeprefix("ResizeMode.").removeprefix("ControlMode.").strip().lower()


def _values(module: registry.Preprocessor, facts: Mapping[str, str], own: bool) -> dict[str, Any]:
    """What a line says of the parameters of ``module``."""
    titles = _titles(module.parameters)
    if not own and module.name not in _SAME_THRESHOLDS:
        titles = {name: title for name, title in titles.items() if title == _RESOLUTION}
    values: dict[str, Any] = {
        name: facts[title] for name, title in titles.items() if title in facts
    }
    if "resolution" in titles and facts.get(_PIXEL_PERFECT, "").lower() == "true":
        values["resolution"] = 0
    return values


def _model(name: str, control: ControlCatalog) -> str | None:
    """The control model that a line calls ``name``: one of this name, else one of such a file."""
    bare, entries = _without_hash(name), control.models()
    own = {_plain(entry.name): entry.name for entry in entries}
    usual = {_usual(entry.usual_name): entry.name for entry in reversed(entries)}
    return own.get(_plain(name)) or own.get(_plain(bare)) or usual.get(_usual(_plain(bare)))


def _without_hash(name: str) -> str:
    """A model's name without the hash behind it: ``control_v11p_sd15_canny [d14c016b]``."""
    before, opening, digits = name.removesuffix("]").rpartition("[")
    is_hash = opening and name.endswith("]") and digits and not set(digits) - _HEXADECIMAL
    return before.rstrip() if is_hash else name


def _usual(name: str) -> str:
    name = name.lower()
    return name[:-5] if name.endswith(_HALVES) else name


def _within_bounds(
    model: type[BaseModel], values: Mapping[str, Any], needed: dict[str, Any]
) -> dict[str, Any]:
    """Those of ``values`` that ``model`` takes, in their own types."""
    taken: dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            continue
        try:
            checked = validate(model, {**needed, **taken, name: value})
        except UserError:  # written by hand, or by a studio with other bounds
            continue
        taken[name] = getattr(checked, name)
    return taken
