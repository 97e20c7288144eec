"""Which control models there are: ``presets/control_models.yaml`` and ``<home>/control/``.

No torch here: the page lists them before any heavy library is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipelines.catalog import (
    HUB_FOLDER,
    PRESETS,
    Bytes,
    ModelEntry,
    Source,
    read_entries,
    unknown_name,
)
from pipelines.errors import BadRequest

FOLDER = "control"
CACHE_PREFIX = "control:"
"""In the model cache, control models have this before their name."""

Method = Literal["controlnet", "t2i_adapter"]
_METHODS: dict[str, Method] = {"ControlNetModel": "controlnet", "T2IAdapter": "t2i_adapter"}
_FAMILIES = {768: "sd1", 1024: "sd2", 2048: "sdxl"}  # by the width of the text that they attend to


class ControlEntry(BaseModel):
    """One control model that can be asked for by ``name``.

    Attributes:
        method: ``controlnet`` or ``t2i_adapter``.
        family: of the base models that it fits.
        base: the shipped base model that it fits, with all that was made from it, for bases of a
            shape of their own; None: the whole family.
        condition: what its map is: canny, depth, scribble …; ``any`` where that is not known.
        preprocessor: the annotator that makes such maps of pictures.
        source, licence, licence_url, download_bytes, memory_bytes, gated: as a
            :class:`pipelines.catalog.ModelEntry` has them.
        weights: path of the weights in a repository on the hub.
        original: the weights are in their authors' own layout, without a config beside them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    method: Method
    family: str
    base: str | None = None
    condition: str = "any"
    preprocessor: str = "none"
    source: Source
    weights: str = "diffusion_pytorch_model.fp16.safetensors"
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

    def is_here(self, home: Path) -> bool:
        """Whether its files are on this machine."""
        from pipelines.diffusion.downloads import find_files  # the hub's client takes its time

        hub = self.source.hub
        return hub is None or find_files(hub, self.files, home / HUB_FOLDER) is not None

    def fits(self, base: ModelEntry) -> bool:
        """Whether it steers ``base``, as far as names and families tell."""
        if self.base is not None:
            return base.shape_of == self.base
        return base.family == self.family and base.shape_of is None


class ControlCatalog:
    """All control models of one installation.

    Args:
        home: the home folder; ``<home>/control/`` is looked through at every call.
        presets: the folder with ``control_models.yaml``.

    Raises:
        UserError: ``control_models.yaml`` cannot be understood.
    """

    def __init__(self, home: Path, presets: Path = PRESETS) -> None:
        self.home = home
        self._shipped = read_entries(presets / "control_models.yaml", ControlEntry)

    def models(self) -> list[ControlEntry]:
        """Shipped entries first, then one's own folders by name."""
        entries = {entry.name: entry for entry in self._shipped}
        for entry in self._local():
            name = entry.name if entry.name not in entries else f"{entry.name} (local)"
            entries[name] = entry.model_copy(update={"name": name})
        return list(entries.values())

    def get(self, name: str) -> ControlEntry:
        """The entry called ``name``.

        Raises:
            NotFound: there is none; the sentence offers the closest names.
        """
        entries = {entry.name: entry for entry in self.models()}
        if name not in entries:
            raise unknown_name(name, entries)
        return entries[name]

    def fitting(self, base: ModelEntry) -> list[ControlEntry]:
        """Those that steer ``base``."""
        return [entry for entry in self.models() if entry.fits(base)]

    def check_fit(self, entry: ControlEntry, base: ModelEntry) -> None:
        """Raises BadRequest with the names of those that fit when ``entry`` does not."""
        if not entry.fits(base):
            raise does_not_fit(entry, base, self.fitting(base))

    def _local(self) -> Iterable[ControlEntry]:
        folder = self.home / FOLDER
        if not folder.is_dir():
            return
        for path in sorted(folder.iterdir()):
            try:
                config = json.loads((path / "config.json").read_text(encoding="utf-8"))
                method = _METHODS[config["_class_name"]]
            except (OSError, ValueError, KeyError, TypeError):
                continue  # not a diffusers folder of a control model
            weights = sum(file.stat().st_size for file in path.glob("*.safetensors"))
            if weights:
                yield ControlEntry(
                    name=path.name,
                    title=path.name,
                    method=method,
                    family=_family(method, config),
                    source=Source(folder=path),
                    memory_bytes=weights,
                )


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


def _family(method: Method, config: dict) -> str:
    if method == "controlnet":
        return _FAMILIES.get(config.get("cross_attention_dim"), "sd1")
    return "sdxl" if config.get("adapter_type") == "full_adapter_xl" else "sd1"
