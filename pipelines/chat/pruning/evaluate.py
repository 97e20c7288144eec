"""What a model is worth and what it costs: perplexity, speed, size, memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.chat.pruning.models import bytes_of, parameters_of
from pipelines.chat.pruning.scores import exp_or_largest, next_token_loss
from pipelines.chat.pruning.texts import HELD_OUT, tokens_of
from pipelines.core.errors import BadRequest, Stopped
from pipelines.core.events import Progress
from pipelines.core.messages import Message

WINDOW = 1024  # tokens read at once, or the model's context where that is less
TOKENS = 8192  # of the held-out text: half a minute for 135 million parameters on two cores
SPEED_TOKENS, SPEED_RUNS, PROMPT_TOKENS = 128, 3, 32


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of one model.

    Attributes:
        perplexity: exp of the mean −ln p of the held-out text's tokens.
        tokens: how many were predicted for it; the same for each model with the same tokenizer.
        tokens_per_second: of greedy generation after the prompt, the best of three runs.
        parameters: tied ones count once.
        bytes: of the weights as they are in memory, and as a file has them.
        peak_bytes: weights and the most that came on top while the figures were taken.
    """

    perplexity: float
    tokens: int
    tokens_per_second: float
    parameters: int
    bytes: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Attributes:
        tokens: of the held-out text.
        new_tokens: generated in each of ``runs``.
    """

    tokens: int = TOKENS
    new_tokens: int = SPEED_TOKENS
    runs: int = SPEED_RUNS


def figures(
    model: nn.Module, tokenizer: Any, stop: threading.Event, effort: Effort | None = None
) -> Iterator[Progress | Figures]:
    """Yields progress and, last, the figures.

    Raises:
        Stopped: ``stop`` was set; seen at every window and token.
    """
    effort = effort or Effort()
    ids = tokens_of(tokenizer, HELD_OUT)
    with PeakMemory(str(model.device)) as memory:
        text = yield from outcome(perplexity(model, ids[: effort.tokens], stop))
        best = 0.0
        prompt = ids[None, : min(PROMPT_TOKENS, context_of(model) // 2)]
        room = context_of(model) - prompt.shape[1]
        for run in range(effort.runs):
            note = Message("Measuring speed: run {number} of {total}", number=run + 1,
                           total=effort.runs)  # fmt: skip
            yield Progress(run, effort.runs, note=note)
            times = []
            for _ in greedy(model, prompt, min(effort.new_tokens, room)):
                if stop.is_set():
                    raise Stopped
                times.append(time.perf_counter())
            if len(times) > 1:
                best = max(best, (len(times) - 1) / (times[-1] - times[0]))
    value, count = text
    weights = bytes_of(model)
    yield Figures(value, count, best, parameters_of(model), weights, weights + memory.bytes)


@torch.no_grad()
def perplexity(
    model: nn.Module, ids: Tensor, stop: threading.Event, window: int = WINDOW
) -> Iterator[Progress | tuple[float, int]]:
    """Yields progress and, last, the perplexity and of how many tokens it is.

    The text is read in windows side by side, each from an empty context; a window's first token is
    given, not predicted.

    Args:
        ids: (T,) int64.
        window: tokens; no more than the model's context.

    Raises:
        BadRequest: there is nothing to predict.
        Stopped: ``stop`` was set; seen at every window.
    """
    window = min(window, context_of(model))
    pieces = [piece for piece in ids.split(window) if len(piece) > 1]
    if not pieces:
        raise BadRequest("The text has {tokens} tokens; {needed} are needed.",
                         tokens=len(ids), needed=2)  # fmt: skip
    total, count = 0.0, 0
    for number, piece in enumerate(pieces):
        if stop.is_set():
            raise Stopped
        note = Message("Reading the held-out text: {number} of {total}", number=number + 1,
                       total=len(pieces))  # fmt: skip
        yield Progress(number, len(pieces), note=note)
        loss = next_token_loss(model, piece[None])
        total, count = total + float(loss.sum(dtype=torch.float64)), count + loss.numel()
    yield exp_or_largest(total / count), count


@torch.no_grad()
def greedy(model: nn.Module, prompt: Tensor, tokens: int) -> Iterator[int]:
    """The likeliest token, again and again, with the KV cache; no token ends it.

    Args:
        prompt: (1, T) int64.
    """
    from transformers import DynamicCache

    past, ids = DynamicCache(config=model.config), prompt.to(model.device)
    for _ in range(tokens):
        out = model(input_ids=ids, past_key_values=past, use_cache=True, logits_to_keep=1)
        ids = out.logits[:, -1].argmax(-1, keepdim=True)
        yield int(ids)


def context_of(model: nn.Module) -> int:
    """How many tokens the model reads at most."""
    return model.config.max_position_embeddings


def outcome(events: Iterator[Any]) -> Iterator[Progress]:
    """Passes progress on and returns what came last."""
    value = None
    for event in events:
        if isinstance(event, Progress):
            yield event
        else:
            value = event
    return value


_SECONDS = 0.01  # between two looks, where nobody keeps count


class PeakMemory:
    """``with PeakMemory(device) as memory: …``; then ``memory.bytes``.

    On CUDA the allocator's own count. Elsewhere the process's resident memory, looked at every
    hundredth of a second; what the process had reserved before and uses again is not seen.
    """

    def __init__(self, device: str) -> None:
        self.device, self.bytes = device, 0

    def __enter__(self) -> PeakMemory:
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
            return self
        import psutil

        self._process = psutil.Process()
        self._before = self._process.memory_info().rss
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="peak memory", daemon=True)
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.device.startswith("cuda"):
            import torch

            self.bytes = torch.cuda.max_memory_allocated(self.device) - self._before
            return
        self._over.set()
        self._watcher.join()
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(_SECONDS):
            self._look()

    def _look(self) -> None:
        self.bytes = max(self.bytes, self._process.memory_info().rss - self._before)
