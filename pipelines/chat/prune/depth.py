"""Depth pruning: whole transformer blocks taken out in one shot.

After Kim et al., "Shortened LLaMA: Depth Pruning for Large Language Models with Comparison of
Retraining Methods" (2024), section 3: the blocks are scored once, the least important ones go
together, and what is left is an ordinary shallower model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from pipelines.chat.prune.models import blocks_of, check_prunable, with_blocks
from pipelines.errors import BadRequest

FIRST, LAST = 4, 2  # blocks that the "+" variants never drop (section 3.1)


def guarded(blocks: int) -> set[int]:
    """The numbers that the "+" guard protects: the first four and the last two."""
    return {n for n in range(blocks) if n < FIRST or n >= blocks - LAST}


def check_count(k: int, blocks: int, guard: bool) -> None:
    """Refuses to drop more blocks than may go.

    Raises:
        BadRequest: names the number and the limit.
    """
    if k < 0:
        raise BadRequest("{count} blocks cannot be dropped; give 0 or more.", count=k)
    if guard and k > (most := blocks - len(guarded(blocks))):
        raise BadRequest(
            "{count} blocks cannot be dropped: the model has {blocks}, and with the guard for the "
            "first {first} and the last {last} at most {limit} may go. Ask for fewer, or without "
            "the guard.",
            count=k,
            blocks=blocks,
            first=FIRST,
            last=LAST,
            limit=most,
        )
    if k >= blocks:
        raise BadRequest(
            "{count} blocks cannot be dropped: the model has {blocks}, and at least one must stay.",
            count=k,
            blocks=blocks,
        )


def least_important(scores: Sequence[float], k: int, guard: bool) -> list[int]:
    """The ``k`` blocks of the lowest scores, in ascending order; of equal ones the later goes.

    Args:
        scores: one a block; the higher, the more important.
        guard: never the first four and the last two.

    Raises:
        BadRequest: more are asked for than may go.
    """
    check_count(k, len(scores), guard)
    kept = guarded(len(scores)) if guard else set()
    free = [n for n in range(len(scores)) if n not in kept]
    return sorted(sorted(free, key=lambda n: (scores[n], -n))[:k])


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
