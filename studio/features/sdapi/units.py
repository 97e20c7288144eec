"""Units as sd-webui-controlnet's API takes them, in ``alwayson_scripts.controlnet.args``.

They are read as the lines that the extension writes into pictures: names of modules, models, modes
and thresholds mean the same there. Source: its wiki, page API, and its file
``internal_controlnet/args.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import BadRequest, NotFound
from studio.core.gallery.infotext_units import units_of

if TYPE_CHECKING:
    from pipelines.diffusion.control.catalog import ControlCatalog

SCRIPT = "controlnet"
_NAMES = {
    "module": "Module",
    "model": "Model",
    "weight": "Weight",
    "resize_mode": "Resize Mode",
    "processor_res": "Processor Res",
    "threshold_a": "Threshold A",
    "threshold_b": "Threshold B",
    "guidance_start": "Guidance Start",
    "guidance_end": "Guidance End",
    "pixel_perfect": "Pixel Perfect",
    "control_mode": "Control Mode",
}
_PICTURES = ("image", "input_image")


@dataclass(frozen=True, slots=True)
class SentUnit:
    """A unit of a body.

    Attributes:
        fields: of a :class:`~pipelines.diffusion.control.requests.ControlUnit` but the picture.
        picture: in base64; None: it follows the picture that is changed.
    """

    fields: dict[str, Any]
    picture: str | None


def units_in(scripts: Mapping[str, Any], control: ControlCatalog) -> list[SentUnit]:
    """The units of ``alwayson_scripts`` that are switched on.

    Raises:
        BadRequest: what stands there is no list of units, or a module is not known.
        NotFound: there is no such control model.
    """
    given = next((each for name, each in scripts.items() if name.lower() == SCRIPT), None)
    if given is None:
        return []
    units = given.get("args") if isinstance(given, Mapping) else None
    if not isinstance(units, list):
        raise BadRequest("{field} must be a list of units.", field=f"{SCRIPT}.args")
    asked = [each for each in units if isinstance(each, Mapping) and each.get("enabled", True)]
    return [_unit(each, control) for each in asked if str(each.get("model")) != "None"]


def _unit(given: Mapping[str, Any], control: ControlCatalog) -> SentUnit:
    values = {"module": "none"}
    values |= {name: given[name] for name in _NAMES if given.get(name) is not None}
    line = ", ".join(f"{_NAMES[name]}: {_plain(value)}" for name, value in values.items())
    module, model = str(values["module"]), str(values.get("model", "none"))
    (fields,) = units_of({"ControlNet 0": line}, control)
    if "model" not in fields:
        raise NotFound(
            "There is no control model called {name}. There are {names}.",
            name=model[:100],
            names=", ".join(entry.name for entry in control.models()),
        )
    if "preprocessor" not in fields:
        raise BadRequest("There is no module called {name}.", name=module[:100])
    picture = next((given[name] for name in _PICTURES if given.get(name)), None)
    if isinstance(picture, Mapping):  # with a mask, which units have none of here
        picture = picture.get("image")
    return SentUnit(fields, None if picture is None else str(picture))


def _plain(value: Any) -> str:
    """A value as a line has it, whose commas would begin another one."""
    return str(value)[:200].replace(",", " ").replace(":", " ")
