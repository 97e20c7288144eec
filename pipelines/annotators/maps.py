"""Finished maps, kept so that the same picture is not read twice."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from PIL import Image

from pipelines.annotators import registry
from pipelines.cache import ModelCache
from pipelines.errors import validated
from pipelines.events import Progress

Key = tuple[str, str, str]


class MapCache:
    """The maps made last, within a budget. Safe to use from many threads.

    Args:
        budget_bytes: of all maps together; one that is larger is not kept.
    """

    def __init__(self, budget_bytes: int = 256_000_000) -> None:
        self.budget_bytes = budget_bytes
        self._maps: OrderedDict[Key, Image.Image] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get_or_make(
        self,
        name: str,
        picture: Image.Image,
        parameters: dict[str, Any],
        cache: ModelCache,
        stop: threading.Event,
    ) -> Iterator[Progress | Image.Image]:
        """As :func:`pipelines.annotators.registry.annotate`; at once where the map is kept."""
        annotator = registry.get(name)
        asked = validated(annotator.parameters, parameters)
        pixels = hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()
        key = (pixels, name, asked.model_dump_json())
        with self._lock:
            if (kept := self._maps.get(key)) is not None:
                self._maps.move_to_end(key)
        if kept is not None:
            yield kept.copy()
            return
        for made in registry.annotate(name, picture, parameters, cache, stop):
            if isinstance(made, Progress):
                yield made
            else:
                self._keep(key, made.copy())  # whoever gets it may draw on it
                yield made

    def _keep(self, key: Key, made: Image.Image) -> None:
        with self._lock:
            if key not in self._maps:  # two may have made it at the same time
                self._maps[key] = made
                self._bytes += _nbytes(made)
            while self._bytes > self.budget_bytes:
                _, oldest = self._maps.popitem(last=False)
                self._bytes -= _nbytes(oldest)


def _nbytes(picture: Image.Image) -> int:
    return picture.width * picture.height * 3
