"""How important is each block?

The criteria of Kim et al., "Shortened LLaMA" (2024), section 3.1, over the seven linear matrices
W of a block (q, k, v, o, gate, up, down; its norms do not count):

- **magnitude**: Σ|W|.
- **Taylor**: Σ|W · ∂L/∂W|, element by element: the product of each weight with its own gradient,
  then its absolute value, then the sum. (The paper sums over each output neuron's row first, and
  the rows then: the same number.) L is the mean next-token cross entropy over all of the
  calibration batches, so that gradients of batches are added before the absolute value is taken.
- **perplexity**: of the calibration text, with only this block skipped.

The higher the score, the more important the block. Magnitude and Taylor with the guard of
:mod:`pipelines.chat.pruning.depth` are the paper's Mag+ and Taylor+; it uses perplexity without.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.chat.pruning.models import blocks_of, check_prunable, linears_of, with_blocks
from pipelines.core.errors import Stopped
from pipelines.core.events import Progress
from pipelines.core.messages import Message

Criterion = Literal["magnitude", "taylor", "perplexity"]


def scores(
    model: nn.Module, batches: Sequence[Tensor], criterion: Criterion, stop: threading.Event
) -> Iterator[Progress | list[float]]:
    """Yields progress and, last, one score a block.

    Args:
        model: is left as it is.
        batches: calibration tokens (B, T) int64; magnitude does not read them.

    Raises:
        Stopped: ``stop`` was set; seen at every block and batch.
        BadRequest: the model cannot be pruned.
    """
    check_prunable(model)
    of = {"magnitude": _magnitude, "taylor": _taylor, "perplexity": _perplexity}[criterion]
    yield from of(model, batches, stop)


def _magnitude(model, batches, stop) -> Iterator[Progress | list[float]]:
    blocks, found = blocks_of(model), []
    for number, block in enumerate(blocks):
        yield _at_block(number, len(blocks), stop)
        sums = [
            linear.weight.detach().abs().sum(dtype=torch.float64)
            for linear in linears_of(block).values()
        ]
        found.append(float(sum(sums)))
    yield found


def _taylor(model, batches, stop) -> Iterator[Progress | list[float]]:
    products = yield from taylor_products(model, batches, stop)
    yield [
        float(sum(product.abs().sum(dtype=torch.float64) for product in block.values()))
        for block in products
    ]


def taylor_products(
    model: nn.Module, batches: Sequence[Tensor], stop: threading.Event
) -> Iterator[Progress]:
    """Yields progress, one a batch; returns W · ∂L/∂W of every block's matrices.

    Returns:
        For each block, ``{name of the matrix: tensor of its weight's shape}``. They take as much
        memory as the blocks do.
    """
    own = with_blocks(model, range(len(blocks_of(model))))
    learning = [
        linear.weight for block in own.model.layers for linear in linears_of(block).values()
    ]
    for weight in learning:
        weight.requires_grad_(True)
    predicted = sum(batch.shape[0] * (batch.shape[1] - 1) for batch in batches)
    for number, batch in enumerate(batches):
        if stop.is_set():
            raise Stopped
        note = Message("Gradients: batch {number} of {total}", number=number + 1,
                       total=len(batches))  # fmt: skip
        yield Progress(number, len(batches), note=note)
        with torch.enable_grad():
            (next_token_loss(own, batch).sum() / predicted).backward()
    with torch.no_grad():
        return [
            {name: linear.weight * linear.weight.grad for name, linear in linears_of(block).items()}
            for block in own.model.layers
        ]


@torch.no_grad()
def _perplexity(model, batches, stop) -> Iterator[Progress | list[float]]:
    """Without block n, all before it is as it was: their outputs are computed once."""
    blocks = len(blocks_of(model))
    own = with_blocks(model, range(blocks))
    reached, settings = [], []
    for batch in batches:
        if stop.is_set():
            raise Stopped
        yield Progress(0, blocks, note=Message("Reading the calibration text"))
        inputs, how = _inputs_of_blocks(own, batch)
        reached.append(inputs)
        settings.append(how)
    found = []
    for number in range(blocks):
        yield _at_block(number, blocks, stop)
        total, count = 0.0, 0
        for batch, inputs, how in zip(batches, reached, settings, strict=True):
            if stop.is_set():
                raise Stopped
            hidden = inputs[number]
            for later in range(number + 1, blocks):
                hidden = own.model.layers[later](hidden, **how[later])
            loss = loss_of_hidden(own, own.model.norm(hidden), batch)
            total, count = total + float(loss.sum(dtype=torch.float64)), count + loss.numel()
        found.append(exp_or_largest(total / count))
    yield found


def _inputs_of_blocks(own: nn.Module, batch: Tensor) -> tuple[list[Tensor], list[dict[str, Any]]]:
    """What each block reads, (B, T, H), and what else it is told: mask, places, angles."""
    inputs: list[Tensor] = []
    how: list[dict[str, Any]] = []

    def note(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs.append(args[0])
        how.append(kwargs)

    hooks = [block.register_forward_pre_hook(note, with_kwargs=True) for block in own.model.layers]
    try:
        own.model(input_ids=batch.to(own.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return inputs, how


_CHUNK = 256  # positions whose logits are there at once: they are as wide as the vocabulary


def next_token_loss(model: nn.Module, batch: Tensor) -> Tensor:
    """(B, T − 1) float32: −ln p of each token but the first, given those before it.

    Args:
        batch: (B, T) int64.
    """
    hidden = model.model(input_ids=batch.to(model.device), use_cache=False).last_hidden_state
    return loss_of_hidden(model, hidden, batch)


def loss_of_hidden(model: nn.Module, hidden: Tensor, batch: Tensor) -> Tensor:
    """As :func:`next_token_loss`, from what the last norm gave, (B, T, H)."""
    targets = batch.to(hidden.device)[:, 1:]
    losses = []
    for start in range(0, targets.shape[1], _CHUNK):
        part = slice(start, min(start + _CHUNK, targets.shape[1]))
        logits = model.lm_head(hidden[:, part]).float()
        losses.append(F.cross_entropy(logits.transpose(1, 2), targets[:, part], reduction="none"))
    return torch.cat(losses, dim=1)


def _at_block(number: int, blocks: int, stop: threading.Event) -> Progress:
    if stop.is_set():
        raise Stopped
    note = Message("Scoring block {number} of {total}", number=number + 1, total=blocks)
    return Progress(number, blocks, note=note)


def exp_or_largest(loss: float) -> float:
    """A perplexity; the largest float where it is beyond that or no number: JSON has no others."""
    return math.exp(loss) if loss < math.log(sys.float_info.max) else sys.float_info.max
