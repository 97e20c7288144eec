"""Which blocks may go, and which go first. No torch here: the page draws it.

After Kim et al., "Shortened LLaMA" (2024), section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.core.errors import BadRequest

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
