"""LoRAs that stay at work from one picture of a job to the next, where both want the same ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pipelines.core.cache import ModelCache
from pipelines.diffusion.loading import DiffusionModel
from pipelines.diffusion.lora.apply import Applied, apply_loras
from pipelines.diffusion.lora.use import LoraUse

Apply = Callable[[DiffusionModel, Sequence[LoraUse], Path | None], AbstractContextManager[Applied]]


class LoraSession:
    """Applies LoRAs as :func:`apply_loras` does, and takes them back when others are wanted.

    To change the weights of a large model and to change them back takes longer than some pictures.

    Args:
        cache: has the models; the one whose weights are changed stays leased.
    """

    def __init__(self, cache: ModelCache) -> None:
        self._cache = cache
        self._held = ExitStack()
        self._wanted: tuple[Any, ...] | None = None  # the model and the LoRAs that are at work
        self._applied: Applied | None = None

    def __enter__(self) -> LoraSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> None:
        """Takes back what is at work; the weights are then the same bits as before."""
        self._wanted = self._applied = None
        self._held.close()

    def expect(self, name: str) -> None:
        """Takes back what is at work unless the next picture is of the model ``name``.

        Before that is loaded: there may not be room for both.
        """
        if self._wanted is not None and self._wanted[0] != name:
            self.end()

    @contextmanager
    def apply(
        self, model: DiffusionModel, uses: Sequence[LoraUse], home: Path | None
    ) -> Iterator[Applied]:
        """As :func:`apply_loras`, whose errors it raises; what it has applied stays."""
        wanted = (model.entry.name, *(use for use in uses if use.works))
        if len(wanted) == 1:
            self.end()
            with apply_loras(model, uses, home) as applied:
                yield applied
            return
        if wanted != self._wanted:
            self.end()
            with ExitStack() as held:
                held.enter_context(self._cache.lease(model.entry.name))
                self._applied = held.enter_context(apply_loras(model, uses, home))
                self._held = held.pop_all()
            self._wanted = wanted
        yield self._applied
