"""Width pruning: whole coupled structures taken out of every block, the same number in each.

After Ma et al., "LLM-Pruner: On the Structural Pruning of Large Language Models" (2023), section 3:
weights that only make sense together are removed together.

- **A kv-group**: one kv head with its query heads: their rows of q_proj, its rows of k_proj and
  v_proj, and the query heads' columns of o_proj.
- **A feed-forward channel**: its rows of gate_proj and up_proj and its column of down_proj.

A structure's score is the sum over its weights, Σ|W| or Σ|W · ∂L/∂W| (their element-wise variant),
and in each block those of the lowest scores go. Unlike in LLM-Pruner, every block loses as many, so
that shapes stay equal and the result is of an ordinary config. transformers' LlamaConfig wants
the hidden width to be a multiple of the number of heads, so the number of kv-groups that stay is
the nearest that fulfils it.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.chat.pruning.models import (
    ATTENTION,
    FEED_FORWARD,
    blocks_of,
    check_prunable,
    linears_of,
    model_from,
)
from pipelines.chat.pruning.scores import taylor_products
from pipelines.core.errors import BadRequest, Stopped
from pipelines.core.events import Progress
from pipelines.core.messages import Message

MOST = 0.9  # share that may go
_MULTIPLE = 8  # of the channels that stay, where there are that many: odd widths are slow


@dataclass(frozen=True, slots=True)
class Kept:
    """What stays of one block, in ascending order.

    Attributes:
        groups: numbers of kv heads; each stays with its query heads.
        channels: numbers of feed-forward channels.
    """

    groups: tuple[int, ...]
    channels: tuple[int, ...]


def counts_kept(config: Any, share: float) -> tuple[int, int]:
    """How many kv-groups and channels of each block stay when ``share`` of them is to go.

    Raises:
        BadRequest: the share is below 0 or beyond 0.9.
    """
    if not 0 <= share <= MOST:
        raise BadRequest(
            "A share of {share} cannot be taken out; give 0 to {limit}.", share=share, limit=MOST
        )
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    fit = [n for n in range(1, groups + 1) if config.hidden_size % (n * heads // groups) == 0]
    # The model is of such a config itself, so that there is one that fits.
    kept_groups = min(fit, key=lambda n: (abs(n - groups * (1 - share)), -n))
    channels = config.intermediate_size
    kept = channels * (1 - share)
    rounded = round(kept / _MULTIPLE) * _MULTIPLE
    return kept_groups, channels if share == 0 else min(channels, rounded or max(1, round(kept)))


def structure_scores(
    model: nn.Module,
    batches: Sequence[Tensor],
    criterion: str,
    stop: threading.Event,
) -> Iterator[Progress | list[tuple[Tensor, Tensor]]]:
    """Yields progress and, last, for each block the scores of its kv-groups and channels, float64.

    Args:
        batches: calibration tokens (B, T) int64; magnitude does not read them.

    Raises:
        BadRequest: the model cannot be pruned, or the criterion is of blocks only.
        Stopped: ``stop`` was set; seen at every block and batch.
    """
    check_prunable(model)
    if criterion not in ("magnitude", "taylor"):
        raise BadRequest(
            "{criterion} scores whole blocks only. For heads and channels choose magnitude or "
            "taylor.",
            criterion=criterion,
        )
    blocks = blocks_of(model)
    if criterion == "taylor":
        products = yield from taylor_products(model, batches, stop)
    else:
        products = [
            {name: linear.weight.detach() for name, linear in linears_of(block).items()}
            for block in blocks
        ]
    found = []
    for number, weights in enumerate(products):
        if stop.is_set():
            raise Stopped
        note = Message("Scoring block {number} of {total}", number=number + 1, total=len(blocks))
        yield Progress(number, len(blocks), note=note)
        groups = model.config.num_key_value_heads
        by_row = [_by_row(weights[name]).view(groups, -1).sum(1) for name in ATTENTION[:3]]
        by_column = _by_row(weights["o_proj"].T).view(groups, -1).sum(1)
        channels = _by_row(weights["gate_proj"]) + _by_row(weights["up_proj"])
        found.append((sum(by_row) + by_column, channels + _by_row(weights["down_proj"].T)))
    yield found


def _by_row(weight: Tensor) -> Tensor:
    """Σ|·| of each row, float64."""
    return weight.abs().sum(dim=1, dtype=torch.float64)


def keep_best(scores: Sequence[tuple[Tensor, Tensor]], groups: int, channels: int) -> list[Kept]:
    """The ``groups`` and ``channels`` of the highest scores, for each block."""
    return [Kept(_best(of_groups, groups), _best(of_channels, channels))
            for of_groups, of_channels in scores]  # fmt: skip


def _best(scores: Tensor, count: int) -> tuple[int, ...]:
    best = torch.sort(scores, descending=True, stable=True).indices[:count]
    return tuple(sorted(best.tolist()))


def keep_structures(model: nn.Module, kept: Sequence[Kept]) -> nn.Module:
    """The model with only what is kept of each block: its matrices are really smaller.

    Args:
        model: is left as it is; what has not become smaller is the same memory in both.
        kept: for every block; the same numbers of groups and channels in each, not none.

    Raises:
        BadRequest: of the number of blocks, of groups or of channels.
    """
    check_prunable(model)
    config = copy.deepcopy(model.config)
    groups, channels = _equal_counts(kept, len(blocks_of(model)))
    queries = config.num_attention_heads // config.num_key_value_heads
    width = blocks_of(model)[0].self_attn.head_dim
    config.head_dim = width
    if config.hidden_size % (groups * queries):
        raise BadRequest(
            "{heads} heads cannot stay: the model's width, {width}, is no multiple of that.",
            heads=groups * queries,
            width=config.hidden_size,
        )
    config.num_attention_heads = groups * queries
    config.num_key_value_heads = groups
    config.intermediate_size = channels
    tensors = dict(model.state_dict())
    for number, stays in enumerate(kept):
        kv = _spread(stays.groups, width)
        for name, rows, columns in (
            ("q_proj", _spread(stays.groups, queries * width), None),
            ("k_proj", kv, None),
            ("v_proj", kv, None),
            ("o_proj", None, _spread(stays.groups, queries * width)),
            ("gate_proj", torch.tensor(stays.channels), None),
            ("up_proj", torch.tensor(stays.channels), None),
            ("down_proj", None, torch.tensor(stays.channels)),
        ):
            part = "mlp" if name in FEED_FORWARD else "self_attn"
            where = f"model.layers.{number}.{part}.{name}"
            tensors[f"{where}.weight"] = _slice_rows(tensors[f"{where}.weight"], rows, columns)
            if rows is not None and f"{where}.bias" in tensors:
                tensors[f"{where}.bias"] = _slice_rows(tensors[f"{where}.bias"], rows, None)
    return model_from(model, config, tensors)


def _equal_counts(kept: Sequence[Kept], blocks: int) -> tuple[int, int]:
    counts = {(len(each.groups), len(each.channels)) for each in kept}
    if len(kept) != blocks or len(counts) != 1 or 0 in (only := next(iter(counts))):
        raise BadRequest(
            "Every one of the {blocks} blocks must keep as many heads and channels as the others, "
            "and at least one of each.",
            blocks=blocks,
        )
    return only


def _spread(numbers: Sequence[int], each: int) -> Tensor:
    """The rows of structures that have ``each`` rows side by side."""
    starts = torch.tensor(numbers)[:, None] * each
    return (starts + torch.arange(each)).flatten()


def _slice_rows(tensor: Tensor, rows: Tensor | None, columns: Tensor | None) -> Tensor:
    for dim, chosen in ((0, rows), (1, columns)):
        if chosen is not None and len(chosen) < tensor.shape[dim]:
            tensor = tensor.index_select(dim, chosen.to(tensor.device))
    return tensor
