"""What fits into a model's context, and what goes first when it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipelines.chat.requests import ChatMessage
from pipelines.core.errors import BadRequest

ROOM = 256  # tokens kept free for the answer where the request asks for no length


class ContextExceeded(BadRequest):
    """The prompt is longer than the model's context (OpenAI's ``context_length_exceeded``)."""


def context_exceeded(tokens: int, limit: int) -> ContextExceeded:
    """The sentence for a prompt of ``tokens`` tokens where there is room for ``limit``."""
    return ContextExceeded(
        "The prompt has {tokens} tokens; this model's context holds {limit}, the answer included. "
        "Shorten it, or choose a model with a longer context.",
        tokens=tokens,
        limit=limit,
    )


def fit(
    messages: Sequence[ChatMessage],
    count: Callable[[Sequence[ChatMessage]], int],
    limit: int,
    answer: int | None,
) -> tuple[tuple[ChatMessage, ...], int]:
    """As many of the newest turns as fit, the system prompt always; and how many messages went.

    A turn begins with a user's message, or with the system messages right before it; it goes as a
    whole, so that no answer stands without its question. Asks ``count`` about log₂(turns) times.

    Args:
        count: tokens of a conversation's prompt.
        limit: tokens of the context.
        answer: the longest answer in tokens, or None; at most half the context is kept for it.

    Raises:
        ContextExceeded: not even the last turn fits.
    """
    room = min(answer or ROOM, limit // 2)
    start = 1 if messages[0].role == "system" else 0
    system, rest = tuple(messages[:start]), tuple(messages[start:])
    starts = [0, *(at for at in range(1, len(rest)) if _begins_turn(rest, at))]

    def fits(index: int) -> bool:
        return count(system + rest[starts[index] :]) + room <= limit

    low, high = 0, len(starts) - 1  # the first turn that is kept lies in between
    if fits(low):
        return tuple(messages), 0
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    kept = system + rest[starts[low] :]
    if (tokens := count(kept)) + 1 > limit:
        raise context_exceeded(tokens, limit)
    return kept, starts[low]


def _begins_turn(messages: Sequence[ChatMessage], at: int) -> bool:
    """Whether a turn begins at a message that is not the first."""
    if messages[at - 1].role == "system" or messages[at].role == "assistant":
        return False
    following = next((each for each in messages[at:] if each.role != "system"), None)
    return following is not None and following.role == "user"
