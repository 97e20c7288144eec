"""The request for the next answer of a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.chat.requests import MAX_MESSAGES, ChatRequest, Generation
from pipelines.core.errors import validate
from studio.features.chat.conversation_record import Conversation, StoredMessage

# What is added up when an answer is gone on with.
_SUMS = ("completion_tokens", "seconds")


def request_for(
    conversation: Conversation,
    path: Sequence[StoredMessage],
    overrides: Mapping[str, Any],
    model: str | None = None,
) -> tuple[ChatRequest, int]:
    """The request that answers the last message of ``path``, or goes on with it.

    Args:
        overrides: fields of :class:`~pipelines.chat.requests.Generation` that count before the
            conversation's own; None leaves one to the model's file.
        model: counts before the conversation's.

    Returns:
        The request, and how many of the oldest messages were left out because a request does not
        take as many. The engine leaves out more where the context is short.

    Raises:
        BadRequest: a value out of bounds, or nothing that can be answered.
    """
    chosen = {"model": model or conversation.model, **conversation.sampling, **overrides}
    # Checked alone first: the messages are not for overriding.
    validate(Generation, chosen)
    # An answer that never came has no words, and templates take none that are empty.
    said = [each for each in path if each.role == "user" or each.content.strip()]
    kept = newest(said, MAX_MESSAGES - 1)
    prompt = conversation.system_prompt
    messages = [{"role": "system", "content": prompt}] if prompt.strip() else []
    messages += [{"role": each.role, "content": each.content} for each in kept]
    going_on = bool(kept) and kept[-1].role == "assistant"
    data = {**chosen, "messages": messages, "continue_last": going_on}
    return validate(ChatRequest, data), len(said) - len(kept)


def newest(messages: Sequence[StoredMessage], limit: int) -> Sequence[StoredMessage]:
    """At most ``limit`` of the last messages, from a person's on; all where they are fewer."""
    if len(messages) <= limit:
        return messages
    kept = messages[-limit:]
    first = next((at for at, each in enumerate(kept) if each.role == "user"), 0)
    return kept[first:]


def add_up(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of an answer in two parts: counts and times together, the rest of the second."""
    facts = dict(now)
    if not before:
        return facts
    for name in _SUMS:
        if name not in now or now[name] is not None:  # another server may not have told it
            facts[name] = (before.get(name) or 0) + now.get(name, 0)
    if facts.get("seconds") and facts.get("completion_tokens") is not None:
        facts["tokens_per_second"] = facts["completion_tokens"] / facts["seconds"]
    return facts
