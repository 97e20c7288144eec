"""What the model cache loads, by name: base models, control models,
language models, upscalers and preprocessors' weights."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pipelines.chat import loading as chat
from pipelines.core.cache import Loaded, Notes
from pipelines.core.errors import Unavailable
from pipelines.core.paths import HUB_FOLDER
from pipelines.diffusion import loading
from pipelines.diffusion.control import loading as control
from pipelines.diffusion.control.catalog import CACHE_PREFIX as CONTROL_PREFIX
from pipelines.diffusion.control.catalog import ControlCatalog
from pipelines.diffusion.latents.decoders import FEW_STEPS, decoder_of, download_decoder
from pipelines.models.catalog import Catalog, ModelEntry
from pipelines.models.downloads import find_model
from pipelines.preprocessors import weights
from pipelines.upscaling.catalog import CACHE_PREFIX as UPSCALER_PREFIX
from pipelines.upscaling.catalog import UpscalerEntry, Upscalers

_READ = ("*.safetensors", "*.json")  # of a diffusers folder


class Loader:
    """``load``, ``expected_bytes``, ``files_of`` of a :class:`pipelines.core.cache.ModelCache`.

    Args:
        catalog: of the base models.
        home: the home folder.
        offline: never ask the hub.
        budget_bytes: of the device; on CUDA a base model that takes more is offloaded to RAM.
    """

    def __init__(self, catalog: Catalog, home: Path, offline: bool, budget_bytes: int) -> None:
        self.catalog, self.control = catalog, ControlCatalog(home)
        self.home, self.offline, self.budget_bytes = home, offline, budget_bytes

    def load(self, name: str, device: str, notes: Notes) -> Loaded:
        """Bring ``name`` to ``device``.

        Raises:
            UserError: there is no such name, or its files cannot be had.
        """
        if name.startswith(CONTROL_PREFIX):
            entry = self.control.get(name[len(CONTROL_PREFIX) :])
            return control.load(entry, device, notes, self.offline, self.home)
        if name.startswith(chat.PREFIXES):
            return chat.load(name, device, notes, self.offline, self.home)
        if name.startswith(weights.CACHE_PREFIX):
            model = name[len(weights.CACHE_PREFIX) :]
            return weights.load(model, device, notes, self.offline, self.home)
        if name.startswith(UPSCALER_PREFIX):
            from pipelines.upscaling import networks  # spandrel takes its time

            return networks.load(self._upscaler(name), device)
        return self._load_base(self.catalog.get(name), device, notes)

    def _load_base(self, entry: ModelEntry, device: str, notes: Notes) -> Loaded:
        """A base model; with one that paints in few steps its fast decoder is downloaded, too."""
        hub = entry.source.hub
        is_new = hub is not None and find_model(hub, self.home / HUB_FOLDER) is None
        model = loading.load(
            entry,
            device,
            notes,
            offline=self.offline,
            home=self.home,
            budget_bytes=self.budget_bytes,
        )
        decoder = decoder_of(entry.family)
        few = entry.defaults.steps <= FEW_STEPS
        if is_new and few and device == "cpu" and decoder is not None:
            with contextlib.suppress(Unavailable):  # the model has one of its own
                download_decoder(decoder, self.home, notes, self.offline)
        return model

    def expected_bytes(self, name: str, device: str) -> int:
        """What :meth:`load` will take on ``device``, about."""
        if name.startswith(CONTROL_PREFIX):
            return control.expected_bytes(self.control.get(name[len(CONTROL_PREFIX) :]), device)
        if name.startswith(chat.PREFIXES):
            return chat.expected_bytes(name, self.home)
        if name.startswith(weights.CACHE_PREFIX):
            return weights.expected_bytes(name[len(weights.CACHE_PREFIX) :])
        if name.startswith(UPSCALER_PREFIX):
            return self._upscaler(name).path.stat().st_size
        return loading.expected_bytes(self.catalog.get(name), device, self.budget_bytes)

    def files_of(self, name: str) -> list[Path]:
        """What :meth:`load` reads that somebody may replace: of one's own models and upscalers.

        Raises:
            UserError: there is no such name.
        """
        if name.startswith((*chat.PREFIXES, weights.CACHE_PREFIX)):
            return []
        if name.startswith(UPSCALER_PREFIX):
            return [self._upscaler(name).path]
        if name.startswith(CONTROL_PREFIX):
            source = self.control.get(name[len(CONTROL_PREFIX) :]).source
        else:
            source = self.catalog.get(name).source
        if source.file is not None:
            return [source.file]
        if source.folder is not None:
            return [path for kind in _READ for path in sorted(source.folder.rglob(kind))]
        return []

    def _upscaler(self, name: str) -> UpscalerEntry:
        return Upscalers(self.home).get(name[len(UPSCALER_PREFIX) :])
