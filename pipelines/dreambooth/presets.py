"""Settings to begin with: ``presets/training.yaml``, by base model, memory and method."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from pipelines.core.engine import StrictModel
from pipelines.core.errors import NotFound, UserError, validate
from pipelines.core.files import read_yaml
from pipelines.core.matching import find_name
from pipelines.core.paths import PRESETS
from pipelines.dreambooth.requests import Method, TrainingRequest
from pipelines.models.catalog import Bytes, ModelEntry

_FIXED = {"subject", "training", "owner", "model", "name", "identifier", "class_word", "method"}

OneOrMore = Annotated[tuple[str, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)]


class Case(StrictModel):
    """Settings for where all that is given holds.

    Attributes:
        model: names of base models; those whose UNet has the shape of one are meant as well.
        family: families of base models.
        method: methods.
        memory_below, memory_from: bytes that the device has.
        settings: of :class:`TrainingRequest`.
    """

    model: OneOrMore = ()
    family: OneOrMore = ()
    method: OneOrMore = ()
    memory_below: Bytes | None = None
    memory_from: Bytes | None = None
    settings: dict[str, Any]

    def holds(self, entry: ModelEntry, method: Method, memory: int) -> bool:
        return (
            (not self.model or not {entry.name, entry.shape_of}.isdisjoint(self.model))
            and (not self.family or entry.family in self.family)
            and (not self.method or method in self.method)
            and (self.memory_below is None or memory < self.memory_below)
            and (self.memory_from is None or memory >= self.memory_from)
        )


class Preset(StrictModel):
    """One preset.

    Attributes:
        name: what requests and tests call it.
        title, description: by language, ``en`` at least.
        settings: for every base.
        cases: applied in order on top of them.
    """

    name: str
    title: dict[str, str]
    description: dict[str, str]
    settings: dict[str, Any] = {}  # noqa: RUF012  a model copies it
    cases: tuple[Case, ...] = ()


def presets(folder: Path = PRESETS) -> tuple[Preset, ...]:
    """All of them, in the file's order.

    Raises:
        UserError: the file cannot be understood; names the preset and the reason.
    """
    return _read(folder / "training.yaml")


def settings_for(
    name: str,
    entry: ModelEntry,
    method: Method,
    memory: int,
    photos: int | None = None,
) -> dict[str, Any]:
    """Every setting that a preset decides, those that it leaves alone at their defaults.

    Args:
        memory: bytes that the device has.
        photos: of the subject; the batch is not larger. None: not counted yet.

    Raises:
        NotFound: there is no such preset.
    """
    known = {preset.name: preset for preset in presets()}
    meant = find_name(name, known)
    if meant is None:
        raise NotFound(
            "There is no preset called {name}. There are: {names}.",
            name=name[:60],
            names=", ".join(known),
        )
    preset = known[meant]
    values = {
        field: info.get_default()
        for field, info in TrainingRequest.model_fields.items()
        if field not in _FIXED
    }
    values |= preset.settings
    for case in preset.cases:
        if case.holds(entry, method, memory):
            values |= case.settings
    if photos is not None:
        values["batch_size"] = max(1, min(values["batch_size"], photos))
    return values


@cache
def _read(path: Path) -> tuple[Preset, ...]:
    data = read_yaml(path)
    found = []
    for number, fields in enumerate(data if isinstance(data, list) else [], start=1):
        name = fields.get("name", number) if isinstance(fields, dict) else number
        try:
            preset = validate(Preset, fields)
            for settings in (preset.settings, *(case.settings for case in preset.cases)):
                _check(settings)
        except UserError as error:
            raise UserError(
                "{file}, entry {entry}: {reason}", file=path.name, entry=name, reason=error.message
            ) from None
        found.append(preset)
    if not found:
        raise UserError("{file} must be a list of presets.", file=path.name)
    return tuple(found)


def _check(settings: dict[str, Any]) -> None:
    """Raises BadRequest when these could not stand in a request."""
    if fixed := sorted(settings.keys() & _FIXED):
        raise UserError("A preset cannot decide {settings}.", settings=", ".join(fixed))
    some = {"subject": "0" * 32, "training": "0" * 32, "name": "x", "class_word": "x"}
    validate(TrainingRequest, some | settings)
