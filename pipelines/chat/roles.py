"""Other ways to put a conversation that a chat template does not take as it is.

OpenAI's protocol lets system messages stand anywhere, and one role follow itself. Many templates
want at most one system message, at the beginning, and the two sides in turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.chat.requests import ChatMessage


def arrangements(messages: Sequence[ChatMessage]) -> Iterator[Sequence[ChatMessage]]:
    """The conversation as it is, then as more and more templates take it; words are never lost.

    A system message that is not the first becomes part of the user's message behind it, or else of
    the one before it. Then messages of one role in a row become one, and empty answers go.
    """
    yield messages
    given = [*messages]
    folded = _fold_instructions(given)
    if folded != given:
        yield folded
    joined = _alternate(folded)
    if joined != folded:
        yield joined


def _fold_instructions(messages: list[ChatMessage]) -> list[ChatMessage]:
    start = 1 if len(messages) > 1 and messages[0].role == "system" else 0
    if all(message.role == "system" for message in messages):
        start = 0
    result, waiting = messages[:start], []
    for message in messages[start:]:
        if message.role == "system":
            waiting.append(message)
        elif message.role == "user" and waiting:
            result.append(_join("user", [*waiting, message]))
            waiting = []
        else:
            _put_before_answer(result, waiting)
            result.append(message)
            waiting = []
    _put_before_answer(result, waiting)
    return result


def _put_before_answer(result: list[ChatMessage], waiting: list[ChatMessage]) -> None:
    """Adds instructions that no question follows to the question before them."""
    if not waiting:
        return
    if result and result[-1].role == "user":
        waiting = [result.pop(), *waiting]
    result.append(_join("user", waiting))


def _alternate(messages: list[ChatMessage]) -> list[ChatMessage]:
    result: list[ChatMessage] = []
    for at, message in enumerate(messages):
        is_last = at == len(messages) - 1
        if message.role == "assistant" and not message.content.strip() and not is_last:
            continue
        if result and result[-1].role == message.role:
            result[-1] = _join(message.role, [result[-1], message])
        else:
            result.append(message)
    return result


def _join(role: str, messages: Sequence[ChatMessage]) -> ChatMessage:
    content = "\n\n".join(message.content for message in messages)
    # Not checked: together they may be longer than one message may be.
    return ChatMessage.model_construct(role=role, content=content)
