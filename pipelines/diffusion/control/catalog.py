"""Which control models there are: ``presets/control_models.yaml`` and ``<home>/control/``.

No torch here: the page lists them before any heavy library is loaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from pipelines.core.engine import StrictModel
from pipelines.core.errors import BadRequest, Refused
from pipelines.core.files import refused_name
from pipelines.core.matching import find_name, same_name
from pipelines.core.messages import Message
from pipelines.core.paths import ASSETS, HUB_FOLDER, PRESETS
from pipelines.diffusion.control import control_files
from pipelines.models.catalog import Bytes, ModelEntry, Source, read_entries, unknown_name
from pipelines.models.local_models import PICKLES, cannot_be_read, pickle_reason

FOLDER = "control"
_WEIGHTS = {".safetensors", *PICKLES}
CACHE_PREFIX = "control:"
"""In the model cache, control models have this before their name."""

Method = Literal["controlnet", "t2i_adapter"]
_METHODS: dict[str, Method] = {"ControlNetModel": "controlnet", "T2IAdapter": "t2i_adapter"}
_FAMILIES = {768: "sd1", 1024: "sd2", 2048: "sdxl"}  # by the width of the text that they attend to
_NAMELESS = "diffusion_pytorch_model"  # as diffusers calls all weights
_SD1_LEVELS = (320, 640, 1280, 1280)
_SD1_ADAPTERS = {_SD1_LEVELS, _SD1_LEVELS[:3]}  # light ones say the last width but once

Shape = tuple[int | None, tuple[int, ...]]
"""Width of the text that is attended to, None in adapters, and of the UNet's levels."""


class ControlEntry(StrictModel):
    """One control model that can be asked for by ``name``.

    Attributes:
        method: ``controlnet`` or ``t2i_adapter``.
        family: of the base models that it fits; "" where that is not known.
        base: the shipped base model that it fits, with all that was made from it, for bases of a
            shape of their own; None: the whole family.
        shape: of the base models that it fits, where the family is not known.
        condition: what its map is: canny, depth, scribble …; ``any`` where that is not known.
        preprocessor: the preprocessor that makes such maps of pictures.
        source, licence, licence_url, download_bytes, memory_bytes, gated: as a
            :class:`pipelines.models.catalog.ModelEntry` has them.
        weights: path of the weights in a repository on the hub.
        original: the weights are in their authors' own layout, without a config beside them.
    """

    name: str
    title: str
    method: Method
    family: str
    base: str | None = None
    shape: Annotated[Shape | None, Field(exclude=True)] = None
    condition: str = "any"
    preprocessor: str = "none"
    source: Source
    weights: str = f"{_NAMELESS}.fp16.safetensors"
    original: bool = False
    licence: str = "your own file"
    licence_url: str | None = None
    download_bytes: Bytes = 0
    memory_bytes: Bytes = 0
    gated: bool = False

    @property
    def files(self) -> list[str]:
        """What is needed of a repository on the hub."""
        config = PurePosixPath(self.weights).with_name("config.json")
        return [self.weights] if self.original else [str(config), self.weights]

    @property
    def usual_name(self) -> str:
        """What it is called where the name is that of its file.

        Where all files are called alike it is that of the folder or the repository.
        """
        if self.source.hub is None:
            return self.name
        path = PurePosixPath(self.weights)
        stem = path.name.partition(".")[0]
        if stem != _NAMELESS:
            return stem
        return path.parent.name or self.source.hub.partition("/")[2]

    def is_here(self, home: Path) -> bool:
        """Whether its files are on this machine."""
        from pipelines.models.downloads import find_files  # the hub's client takes its time

        hub = self.source.hub
        return hub is None or find_files(hub, self.files, home / HUB_FOLDER) is not None

    def fits(self, base: ModelEntry) -> bool:
        """Whether it steers ``base``, as far as names and families tell."""
        if self.base is not None:
            return base.shape_of == self.base
        if not self.family:
            return self.shape is not None and _alike(self.shape, _unet_shape(base))
        return base.family == self.family and base.shape_of is None


@cache
def shipped_entries(presets: Path = PRESETS) -> tuple[ControlEntry, ...]:
    """The entries of ``control_models.yaml``.

    Raises:
        UserError: it cannot be understood.
    """
    return read_entries(presets / "control_models.yaml", ControlEntry)


class _Refusal(NamedTuple):
    """A file or folder that cannot be used."""

    name: str
    reason: Message


class ControlCatalog:
    """All control models of one installation.

    Args:
        home: the home folder; ``<home>/control/`` is looked through at every call.

    Raises:
        UserError: one of them cannot be understood.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._shipped = shipped_entries(PRESETS)
        bases = read_entries(PRESETS / "models.yaml", ModelEntry)
        self._of_own_shape = [base for base in bases if base.shape_of == base.name]

    def models(self) -> list[ControlEntry]:
        """Shipped entries first, then one's own folders and files by name."""
        entries = {entry.name: entry for entry in self._shipped}
        for entry in self._local():
            if isinstance(entry, _Refusal):
                continue
            known = same_name(entry.name, entries) is not None
            name = f"{entry.name} (local)" if known else entry.name
            entries[name] = entry.model_copy(update={"name": name})
        return list(entries.values())

    def get(self, name: str) -> ControlEntry:
        """The entry called ``name``.

        Raises:
            NotFound: there is none; the sentence offers the closest names.
            Refused: it is a file or folder that cannot be used; the sentence says why.
        """
        entries = {entry.name: entry for entry in self.models()}
        known = find_name(name, entries)
        if known is not None:
            return entries[known]
        refused = {each.name: each.reason for each in self._local() if isinstance(each, _Refusal)}
        if (own := find_name(name, refused)) is not None:
            raise Refused(refused[own].template, **refused[own].values)
        raise unknown_name(name, entries)

    def list_refusals(self) -> list[Message]:
        """Why files and folders of one's own cannot be used, by their names."""
        return [each.reason for each in self._local() if isinstance(each, _Refusal)]

    def list_fitting(self, base: ModelEntry) -> list[ControlEntry]:
        """Those that steer ``base``."""
        return [entry for entry in self.models() if entry.fits(base)]

    def check_fit(self, entry: ControlEntry, base: ModelEntry) -> None:
        """Raises BadRequest with the names of those that fit when ``entry`` does not."""
        if not entry.fits(base):
            raise does_not_fit(entry, base, self.list_fitting(base))

    def _local(self) -> Iterator[ControlEntry | _Refusal]:
        folder = self.home / FOLDER
        if not folder.is_dir() or not os.access(folder, os.R_OK | os.X_OK):
            return
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            name = path.name if path.is_dir() else path.stem
            try:
                reason = refused_name(path)
                found = self._inspect(path) if reason is None else reason
            except OSError as error:  # one bad file must not hide the others
                found = cannot_be_read(path, error).refused
            if isinstance(found, Message):
                yield _Refusal(name, found)
            elif found is not None:
                yield ControlEntry(name=name, title=name, **found)

    def _inspect(self, path: Path) -> dict[str, Any] | Message | None:
        """Fields of an entry, or why there is none; None of what is no weights at all."""
        if path.is_dir():
            return self._inspect_folder(path)
        # A link that leads nowhere is looked at; a pipe is no model, and reading it waits.
        suffix = path.suffix.lower()
        if suffix not in _WEIGHTS or (path.exists() and not path.is_file()):
            return None
        if suffix in PICKLES:
            return pickle_reason(path)
        found = control_files.inspect(path)
        if isinstance(found, Message):
            return found
        return {**found, "source": Source(file=path), "memory_bytes": path.stat().st_size}

    def _inspect_folder(self, path: Path) -> dict[str, Any] | Message:
        try:
            config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Message(
                "{folder} has no config.json, so it is no diffusers folder of a control model. "
                "Single .safetensors files are put into control/ itself.",
                folder=path.name,
            )
        except (ValueError, RecursionError):
            return Message("The config.json in {folder} cannot be read.", folder=path.name)
        method = config.get("_class_name") if isinstance(config, dict) else None
        method = _METHODS.get(method) if isinstance(method, str) else None
        if method is None:
            return Message(
                "{folder} holds another kind of model than a ControlNet or a T2I-Adapter.",
                folder=path.name,
            )
        weights = sum(file.stat().st_size for file in path.glob("*.safetensors"))
        if not weights:
            if any(file.suffix.lower() in PICKLES for file in path.iterdir()):
                return pickle_reason(path)
            return Message(
                "{folder} has no weights: a .safetensors file has to lie beside its config.json.",
                folder=path.name,
            )
        fit = self._fit(method, config)
        return {**fit, "method": method, "source": Source(folder=path), "memory_bytes": weights}

    def _fit(self, method: Method, config: dict[str, Any]) -> dict[str, Any]:
        """What a config tells of the base models that fit, as fields of an entry."""
        if family := _family(method, config):
            return {"family": family}
        shape = _shape(method, config)
        for base in self._of_own_shape if shape else ():
            if _alike(shape, _unet_shape(base)):
                return {"family": base.family, "base": base.name}
        return {"family": "", "shape": shape}


def does_not_fit(
    entry: ControlEntry, base: ModelEntry, fitting: Iterable[ControlEntry]
) -> BadRequest:
    """The sentence for a control model that cannot steer ``base``."""
    names = ", ".join(each.name for each in fitting)
    if not names:
        return BadRequest(
            "{control} does not fit {model}, and no other control model here does. "
            "Choose another base model.",
            control=entry.title,
            model=base.title,
        )
    return BadRequest(
        "{control} does not fit {model}. These do: {names}.",
        control=entry.title,
        model=base.title,
        names=names,
    )


def _family(method: Method, config: dict[str, Any]) -> str:
    """The family of a published size that a config is of, or ""."""
    if method == "controlnet":
        text = config.get("cross_attention_dim")
        return _FAMILIES.get(text, "") if isinstance(text, int) else ""
    if config.get("adapter_type") == "full_adapter_xl":
        return "sdxl"
    return "sd1" if _levels(config.get("channels", _SD1_LEVELS)) in _SD1_ADAPTERS else ""


def _shape(method: Method, config: dict[str, Any]) -> Shape | None:
    if method == "t2i_adapter":
        levels = _levels(config.get("channels"))
        return (None, levels) if levels else None
    text, levels = config.get("cross_attention_dim"), _levels(config.get("block_out_channels"))
    return (text, levels) if isinstance(text, int) and levels else None


def _unet_shape(base: ModelEntry) -> Shape | None:
    """Of the UNet of a base model whose files are in a folder here."""
    source = base.source
    folder = ASSETS / source.asset if source.asset else source.folder
    if folder is None:
        return None
    try:
        config = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
        return _shape("controlnet", config)  # which has a UNet's names for both
    except (OSError, ValueError, AttributeError):
        return None


def _alike(own: Shape, unet: Shape | None) -> bool:
    """Whether a control model suits a UNet; adapters may have no map for its deepest levels."""
    if unet is None:
        return False
    (text, levels), (unet_text, unet_levels) = own, unet
    return text in (None, unet_text) and levels == unet_levels[: len(levels)]


def _levels(widths: Any) -> tuple[int, ...]:
    """What a config says of widths; () where it says something else."""
    plain = isinstance(widths, list | tuple) and all(isinstance(width, int) for width in widths)
    return tuple(widths) if plain else ()
