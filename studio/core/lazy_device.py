"""The device of this machine and the model cache on it, both known only once torch is loaded."""

from __future__ import annotations

import logging
import threading
import warnings
from pathlib import Path
from typing import Any

from pipelines.core.cache import Entry, ModelCache
from pipelines.core.engine import IMPORTING
from pipelines.models.catalog import Catalog


class Device:
    """Chooses the device when it is first asked for, because only torch can tell what there is.


    Args:
        catalog: turns a model's name into what can be loaded.
        home: the home folder.
        device: as given by ``--device``, or None: the fastest there is.
        budget: bytes that models may take on the device, or None: most of what is free.
        offline: never ask the hub.
    """

    def __init__(
        self,
        catalog: Catalog,
        home: Path,
        device: str | None = None,
        budget: int | None = None,
        offline: bool = False,
    ) -> None:
        self._catalog = catalog
        self.home = home
        self._wanted = device
        self._budget = budget
        self._offline = offline
        self._lock = threading.Lock()
        self._cache: ModelCache | None = None
        self._description = ""
        self.cache = CacheOnDemand(self)

    def prepare(self) -> ModelCache:
        """Loads torch and chooses the device, the first time.

        Raises:
            UserError: the wanted device is not there.
        """
        with self._lock:
            if self._cache is None:
                self._cache = self._make()
            return self._cache

    def status(self) -> dict[str, Any]:
        """What the page's header shows; bytes. Only ``ready`` before torch is loaded."""
        if self._cache is None:
            return {"ready": False}
        from pipelines.core.devices import free_memory, total_memory

        device = self._cache.device
        return {
            "ready": True,
            "device": device,
            "description": self._description,
            "memory_free": free_memory(device),
            "memory_total": total_memory(device),
            "budget": self._cache.budget_bytes,
        }

    def list_loaded(self) -> list[Entry]:
        """The models in memory now."""
        return self._cache.list_loaded() if self._cache else []

    def close(self, collect: bool = True) -> None:
        """Lets go of the models.

        Args:
            collect: as for :meth:`pipelines.core.cache.ModelCache.clear`.
        """
        if self._cache:
            self._cache.clear(collect)

    def _make(self) -> ModelCache:
        with IMPORTING:
            from pipelines.core.devices import describe, free_memory, pick_device

        device = pick_device(self._wanted)  # or its error, before the longer imports
        with IMPORTING:
            from pipelines.loading import Loader
        _quieten()

        self._description = describe(device)
        on_gpu = device.startswith("cuda")
        # On a CPU the models share the RAM with everything else that runs on the machine.
        budget = self._budget or int(free_memory(device) * (0.9 if on_gpu else 0.6))
        loader = Loader(self._catalog, self.home, self._offline, budget)
        return ModelCache(
            loader.load,
            device,
            budget,
            ram_budget_bytes=int(free_memory("cpu") * 0.5) if on_gpu else 0,
            expected_bytes=lambda name: loader.expected_bytes(name, device),
            files_of=loader.files_of,
            home=self.home,
            offline=self._offline,
        )


class CacheOnDemand:
    """A :class:`ModelCache` in all it does, made at the first use that needs it."""

    def __init__(self, device: Device) -> None:
        self._device = device

    @property
    def home(self) -> Path:
        return self._device.home

    def list_loaded(self) -> list[Entry]:
        return self._device.list_loaded()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device.prepare(), name)


def _quieten() -> None:
    """Keeps the libraries' progress bars and remarks off the terminal; the page has its own."""
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        return
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module="diffusers")
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="diffusers")
