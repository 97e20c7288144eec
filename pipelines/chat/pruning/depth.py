"""Depth pruning: whole transformer blocks taken out in one shot.

After Kim et al., "Shortened LLaMA: Depth Pruning for Large Language Models with Comparison of
Retraining Methods" (2024), section 3: the blocks are scored once, the least important ones go
together, and what is left is an ordinary shallower model.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from pipelines.chat.pruning.blocks import check_count
from pipelines.chat.pruning.models import blocks_of, check_prunable, with_blocks
from pipelines.core.errors import BadRequest


def drop_blocks(model: nn.Module, dropped: Iterable[int]) -> nn.Module:
    """The model without the blocks ``dropped``: an ordinary one, only shallower.

    ``config.num_hidden_layers`` (and ``layer_types``) and the blocks' places in the KV cache are
    those of a shallower model, so it saves, loads and generates as any other.

    Args:
        model: is left as it is. The weights of the new model are its own, in the same memory.
        dropped: numbers of blocks, from 0.

    Raises:
        BadRequest: a number is of no block, or none would be left.
    """
    check_prunable(model)
    blocks, gone = len(blocks_of(model)), set(dropped)
    for number in sorted(gone):
        if not 0 <= number < blocks:
            raise BadRequest(
                "There is no block {number}; the model's are 0 to {last}.",
                number=number,
                last=blocks - 1,
            )
    check_count(len(gone), blocks, guard=False)
    return with_blocks(model, [n for n in range(blocks) if n not in gone])
