"""Which image models there are: ``presets/models.yaml`` and what lies in ``<home>/models/``.

Only the catalog turns a name into a folder or a hub id; nothing that a client sends is ever part of
a path. No torch here: the page lists models before any heavy library is loaded.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from pipelines.core.engine import StrictModel
from pipelines.core.errors import NotFound, Refused, UserError, validate
from pipelines.core.files import read_yaml, readable_name, refused_name
from pipelines.core.matching import closest, find_name, same_name
from pipelines.core.messages import Message
from pipelines.core.paths import PRESETS, SINGLE_FILE_CONFIGS
from pipelines.core.sizes import in_bytes
from pipelines.models.local_models import (
    EDIT_ONLY,
    REFERENCES,
    cannot_be_read,
    inspect_file,
    inspect_folder,
)

OWN = "own:"
"""Before the id of a whole model in somebody's library: ``own:<id>`` is its name."""

EntryT = TypeVar("EntryT", bound=BaseModel)
Bytes = Annotated[int, BeforeValidator(lambda v: in_bytes(v) if isinstance(v, str) else v)]


class Source(StrictModel):
    """Where a model's files are: exactly one of the four.

    Attributes:
        asset: a folder that ships with Atelier, under ``assets/``.
        hub: a repository on the Hugging Face hub, ``"owner/name"``.
        folder: a diffusers folder in ``<home>/models/``.
        file: a single ``.safetensors`` checkpoint in ``<home>/models/``.
    """

    asset: str | None = None
    hub: str | None = None
    folder: Path | None = None
    file: Path | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Source:
        given = [name for name in ("asset", "hub", "folder", "file") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"give one of asset, hub, folder, file, not {given or 'none'}")
        return self


class Defaults(StrictModel):
    """What a model paints best with. None leaves sampler or schedule as the model's files say."""

    sampler: str | None = None
    schedule: str | None = None
    steps: int
    guidance: float


class ModelEntry(BaseModel):
    """One model that can be asked for by ``name``.

    Attributes:
        family: what decides how it is loaded and steered: ``sd1``, ``sd2``, ``sdxl``, ``sd3`` …
        licence: its usual short name; ``licence_url`` has the words.
        download_bytes: what the hub sends; 0 for what is here already.
        memory_bytes: what its weights take on a GPU in half precision, with room to paint in.
        native_size: pixels of the side of the square pictures that it was trained on.
        gated: the hub wants its licence accepted and a token.
        words: where its captions come from whose every word is known, so that a prompt's others
            can be named: ``toybox``; None for models that have read more than can be listed.
        autoencoder: the folder under ``assets/`` with one of factor 16 that stands in for the
            model's own of factor 8, for pictures of twice the size from the same latents.
        lora: the folder under ``assets/`` with a LoRA that is always in the U-Net's weights: what
            makes of a base a model of few steps.
        strengths: the file under ``assets/`` that says what each strength of image-to-image does
            to pictures of this model; None where nobody has measured it.
        negative_prompt_used: False for models without classifier-free guidance.
        references: how many pictures it is shown together with an instruction; 0 for models that
            do not edit by words.
        inpaints: made for inpainting: its U-Net is shown the mask and what is around it.
        shape_of: the shipped model whose UNet has this one's shape, where that is not its
            family's: control models of the family do not fit then.
        refused: why it is listed but cannot be used, or None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: str
    title: str
    family: str
    source: Source
    licence: str
    licence_url: str | None = None
    download_bytes: Bytes = 0
    memory_bytes: Bytes
    native_size: int
    defaults: Defaults
    gated: bool = False
    description: str = ""
    words: Literal["toybox"] | None = None
    autoencoder: str | None = None
    lora: str | None = None
    strengths: str | None = None
    negative_prompt_used: bool = True
    references: int = 0
    inpaints: bool = False
    shape_of: str | None = None
    refused: Message | None = None

    @property
    def edits(self) -> bool:
        """Whether it is shown pictures together with an instruction."""
        return self.references > 0

    @property
    def edits_only(self) -> bool:
        """Whether it paints nothing from words alone."""
        return self.family in EDIT_ONLY


# What a family usually wants, for files that say nothing about it.
FAMILY_DEFAULTS = {
    "sd1": Defaults(sampler="DPM++ 2M", schedule="Karras", steps=25, guidance=7.0),
    "sd2": Defaults(sampler="DPM++ 2M", schedule="Karras", steps=25, guidance=7.0),
    "sdxl": Defaults(sampler="DPM++ 2M", schedule="Karras", steps=30, guidance=6.0),
}
_OTHER_DEFAULTS = Defaults(steps=28, guidance=4.0)


class OwnModel(Protocol):
    """What was trained or merged here; see :class:`pipelines.diffusion.lora.record.LoraRecord`."""

    name: str
    kind: str
    base: str | None


class OwnModels(Protocol):
    """The library of own models; see :class:`pipelines.diffusion.lora.library.LoraLibrary`."""

    def by_id(self, id: str) -> OwnModel: ...

    def path(self, record: Any) -> Path: ...


class Catalog:
    """All models of one installation.

    Args:
        home: the home folder; ``<home>/models/`` is looked through at every call.
        presets: the folder with ``models.yaml``.
        configs: a folder for each family of single files with the configurations that they lack.
        own: the whole models that were trained or merged here; without it there are none.

    Raises:
        UserError: ``models.yaml`` cannot be understood; names the entry and the reason.
    """

    def __init__(
        self,
        home: Path,
        presets: Path = PRESETS,
        configs: Path = SINGLE_FILE_CONFIGS,
        own: OwnModels | None = None,
    ) -> None:
        self.home, self._configs, self._own_models = home, configs, own
        self._shipped = read_entries(presets / "models.yaml", ModelEntry)

    def models(self) -> list[ModelEntry]:
        """Shipped entries first, then folders and files by name; refused ones are among them."""
        entries = {entry.name: entry for entry in self._shipped}
        for path in self._local():
            name = path.stem if path.suffix.lower() == ".safetensors" else path.name
            if same_name(name, entries) is not None:
                name = f"{path.name} (local)"
            if (refused := refused_name(path) or _taken_name(path)) is not None:
                entry = _refused_entry(readable_name(path), path, refused)
            else:
                entry = _readable_entry(name, path, self.home / "models", self._configs)
            entries[entry.name] = entry
        return list(entries.values())

    def get(self, name: str) -> ModelEntry:
        """The entry called ``name``.

        Raises:
            NotFound: there is none; the sentence offers the closest names.
            Refused: it is listed, but must not be loaded; the sentence says why.
        """
        if name.startswith(OWN):
            return self._own(name)
        return entry_called(name, self.models())

    def _own(self, name: str) -> ModelEntry:
        """A whole model that was trained or merged here; whose it is, the studio checks."""
        id = name.removeprefix(OWN)
        if self._own_models is None:
            raise NotFound("The LoRA {id} is no longer in the library.", id=id[:60])
        record = self._own_models.by_id(id)
        if record.kind != "model":
            raise NotFound("{name} is a LoRA; it needs a model to work on.", name=record.name)
        path = self._own_models.path(record)
        entry = _local_entry(name, path, path.parent, self._configs)
        made_from = self._find_shipped(record.base)
        update: dict[str, Any] = {"title": record.name}
        if made_from is not None:
            inherited = ("defaults", "shape_of", "negative_prompt_used")
            update |= {name: getattr(made_from, name) for name in inherited}
        return entry.model_copy(update=update)

    def _find_shipped(self, base: str | None) -> ModelEntry | None:
        """The shipped model at the root of what was trained or merged, as far as that is known."""
        if base is not None and base.startswith(OWN):
            with contextlib.suppress(UserError):  # deleted meanwhile
                return self._own(base)
        return next((entry for entry in self._shipped if entry.name == base), None)

    def _local(self) -> list[Path]:
        folder = self.home / "models"
        if not folder.is_dir() or not os.access(folder, os.R_OK | os.X_OK):
            return []
        shown = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
        folders = [path for path in shown if path.is_dir()]
        # A link that leads nowhere is listed; a pipe or socket is no model, and opening it waits.
        files = [path for path in shown if path.is_file() or not path.exists()]
        return folders + [path for path in files if _is_weights(path)]


def _taken_name(path: Path) -> Message | None:
    """Why a file or folder cannot be asked for by a name that stands for other things, or None."""
    if not path.name.startswith(OWN):
        return None
    return Message(
        "{file} begins with {prefix}, as the names of models do that were made here. Rename it.",
        file=path.name,
        prefix=OWN,
    )


def _is_weights(path: Path) -> bool:
    return path.suffix.lower() in {".safetensors", ".ckpt", ".pt", ".pth", ".bin"}


def read_entries(path: Path, kind: type[EntryT]) -> tuple[EntryT, ...]:
    """The entries of a YAML list.

    Raises:
        UserError: names the entry and what is wrong with it.
    """
    data = read_yaml(path)
    if not isinstance(data, list):
        raise UserError("{file} must be a list of models.", file=path.name)
    entries = []
    for number, fields in enumerate(data, start=1):
        try:
            entries.append(validate(kind, fields))
        except UserError as error:
            name = fields.get("name", number) if isinstance(fields, dict) else number
            raise UserError(
                "{file}, entry {entry}: {reason}", file=path.name, entry=name, reason=error.message
            ) from None
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise UserError("{file} has two models called {entry}.", file=path.name, entry=name)
    return tuple(entries)


LONGEST_NAME = 200  # characters of what was asked for, in the answer


class Listed(Protocol):
    """What a catalog lists."""

    name: str
    refused: Message | None


L = TypeVar("L", bound=Listed)


def entry_called(name: str, listed: Iterable[L]) -> L:
    """The entry that a name means.

    Raises:
        NotFound: there is none; the sentence offers the closest names.
        Refused: it must not be loaded; the sentence says why.
    """
    entries = {entry.name: entry for entry in listed}
    known = find_name(name, entries)
    if known is None:
        raise unknown_name(name, entries)
    entry = entries[known]
    if entry.refused is not None:
        raise Refused(entry.refused.template, **entry.refused.values)
    return entry


def unknown_name(name: str, entries: Iterable[str]) -> NotFound:
    """The sentence for a name that stands for no model, with the closest ones that do."""
    name = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
    if close := closest(name, entries, least=0.5):
        return NotFound(
            "There is no model called {model}. Did you mean {close}?",
            model=name,
            close=close,
        )
    return NotFound("There is no model called {model}. See the list of models.", model=name)


def _readable_entry(name: str, path: Path, models: Path, configs: Path) -> ModelEntry:
    """As :func:`_local_entry`; what cannot be read is refused with the reason."""
    try:
        return _local_entry(name, path, models, configs)
    except OSError as error:
        reason = error.strerror or "?"
        refused = Message("{file} cannot be read: {reason}.", file=path.name, reason=reason)
        return _refused_entry(name, path, refused)


def _refused_entry(name: str, path: Path, refused: Message) -> ModelEntry:
    return ModelEntry(
        name=name,
        title=name,
        family="",
        source=Source(file=path.with_name(name)),
        licence="your own file",
        memory_bytes=0,
        native_size=512,
        defaults=_OTHER_DEFAULTS,
        refused=refused,
    )


def _local_entry(name: str, path: Path, models: Path, configs: Path) -> ModelEntry:
    is_file = not path.is_dir()
    try:
        finding = inspect_file(path, models, configs) if is_file else inspect_folder(path, models)
    except OSError as error:  # one bad file must not hide the others
        finding = cannot_be_read(path, error)
    return ModelEntry(
        name=name,
        title=name,
        family=finding.family,
        source=Source(file=path) if is_file else Source(folder=path),
        licence="your own file",
        memory_bytes=finding.nbytes * 6 // 5,
        native_size=finding.native_size,
        defaults=FAMILY_DEFAULTS.get(finding.family, _OTHER_DEFAULTS),
        references=REFERENCES.get(finding.family, 0),
        inpaints=finding.inpaints,
        refused=finding.refused,
    )
