"""A preprocessor's networks, as the model cache keeps them, and how their files are opened."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from pipelines.core.devices import empty_cache


class Networks:
    """What one entry of the weights table has loaded.

    Attributes:
        reader: what the preprocessor's module calls; None once closed.
        device: where its networks are.
        one_at_a_time: to be held by those that cannot serve two at once.
    """

    def __init__(self, reader: Any, modules: Iterable[torch.nn.Module], device: str) -> None:
        self.reader = reader
        self.one_at_a_time = threading.Lock()
        self._modules = tuple(module.float().eval().requires_grad_(False) for module in modules)
        self.device = device
        self.to(device)

    @property
    def nbytes(self) -> int:
        """Bytes of all weights."""
        return sum(
            tensor.nbytes
            for module in self._modules
            for tensor in {*module.parameters(), *module.buffers()}
        )

    def to(self, device: str) -> None:
        """Move all weights."""
        for module in self._modules:
            module.to(device)
        left, self.device = self.device, device
        empty_cache(left)

    def close(self) -> None:
        """Let go of everything."""
        self.reader, self._modules = None, ()
        gc.collect()
        empty_cache(self.device)


def tensors(path: Path, within: str | None = None) -> dict[str, torch.Tensor]:
    """The tensors in a ``.pth`` file; a pickle that holds anything else is not opened.

    Args:
        within: the key under which the file keeps them.
    """
    # Always given, never left to the default: an environment variable can turn the default off.
    data = torch.load(path, map_location="cpu", weights_only=True)
    data = data[within] if within else data
    return {name.removeprefix("module."): tensor for name, tensor in data.items()}
