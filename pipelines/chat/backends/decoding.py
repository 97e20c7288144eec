"""From token to token in a transformers model: on a growing cache, or compiled on a fixed one.

A compiled step wants keys and values at one place and of one length (transformers' StaticCache).
So the longest answer that has been asked for sets the length, in powers of two, and the cache is
used again: another place would be compiled for anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

LEAST = 1024  # tokens of a fixed cache
BACKEND = "inductor"  # of torch.compile


class Steps(Protocol):
    """One answer's way through the model."""

    def read(self, ids: list[int]) -> torch.Tensor:
        """Logits (V,) after the last of some tokens of the prompt, float32, on the CPU."""

    def write(self, token: int) -> torch.Tensor:
        """The same after one token of the answer."""


class DynamicSteps:
    """Steps on a cache that grows with the tokens."""

    def __init__(self, model: Any) -> None:
        from transformers import DynamicCache

        self._model, self._cache = model, DynamicCache(config=model.config)

    def read(self, ids: list[int]) -> torch.Tensor:
        return _last(self._model, self._model, ids, self._cache)

    def read_all(self, ids: list[int]) -> torch.Tensor:
        """Logits (T, V) after each of some tokens of the prompt, float32, on the CPU."""
        import torch

        tokens = torch.tensor([ids], device=self._model.device)  # (1, T)
        out = self._model(tokens, past_key_values=self._cache, use_cache=True)
        return out.logits[0].float().cpu()

    def write(self, token: int) -> torch.Tensor:
        return self.read([token])


class StaticSteps:
    """Steps on a cache of fixed length, those of one token compiled. One answer at a time.

    Args:
        model: ``transformers.PreTrainedModel`` whose layers take a StaticCache.
        most: tokens that the cache will ever have to hold.
    """

    def __init__(self, model: Any, most: int) -> None:
        import torch

        self._model, self._most = model, most
        self._compiled: Callable[..., Any] = torch.compile(model, backend=BACKEND, dynamic=False)
        self._cache: Any = None
        self._length = 0

    def begin(self, tokens: int) -> StaticSteps:
        """An empty cache for a prompt and its answer of together so many tokens."""
        import torch
        from transformers import StaticCache

        if tokens > self._length:
            self._length = min(self._most, max(LEAST, 1 << (tokens - 1).bit_length()))
            self._cache = StaticCache(config=self._model.config, max_cache_len=self._length)
        else:
            with torch.inference_mode():  # in which it was filled
                self._cache.reset()
        return self

    def read(self, ids: list[int]) -> torch.Tensor:
        return _last(self._model, self._model, ids, self._cache)

    def write(self, token: int) -> torch.Tensor:
        return _last(self._model, self._compiled, [token], self._cache)


def _last(model: Any, forward: Callable[..., Any], ids: list[int], cache: Any) -> torch.Tensor:
    import torch

    tokens = torch.tensor([ids], device=model.device)  # (1, T)
    out = forward(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return out.logits[0, -1].float().cpu()
