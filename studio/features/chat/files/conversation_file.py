"""Atelier's own file of a conversation: what it holds, and how it is written piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, JsonValue, model_validator

from pipelines.chat.requests import MAX_ANSWER, MAX_TEXT
from pipelines.core.engine import StrictModel
from pipelines.core.errors import BadRequest
from studio.features.chat.checks import MAX_TITLE
from studio.features.chat.conversation_record import DONE, StoredMessage
from studio.features.chat.conversations import MAX_LANES
from studio.features.chat.tree import MAX_TREE

FORMAT = "atelier-conversation"
MAX_FACTS, MAX_FACT = 40, 200

_Id = Annotated[str, Field(min_length=1, max_length=64)]
_Text = Annotated[str, Field(max_length=MAX_TEXT)]
_Fact = bool | int | FiniteFloat | Annotated[str, Field(max_length=MAX_FACT)] | None


class MessageInFile(StrictModel):
    """One message; the ids hold within the file only."""

    id: _Id
    twin: _Id
    parent: _Id | None
    role: Literal["user", "assistant"]
    content: Annotated[str, Field(max_length=MAX_ANSWER)]
    state: Literal["done", "streaming", "stopped", "failed", "interrupted"] = DONE
    model: Annotated[str, Field(max_length=200)] | None = None
    facts: Annotated[dict[_Id, _Fact], Field(max_length=MAX_FACTS)] = {}  # noqa: RUF012
    error: Annotated[str, Field(max_length=10_000)] | None = None
    created: Annotated[float, Field(ge=0, le=1e11)]


class LaneInFile(StrictModel):
    """One of the conversations that stand side by side, with all its branches."""

    model: Annotated[str, Field(max_length=200)]
    system_prompt: _Text = ""
    sampling: dict[str, JsonValue] = {}  # noqa: RUF012
    leaf: _Id | None
    messages: Annotated[tuple[MessageInFile, ...], Field(max_length=MAX_TREE)]

    @model_validator(mode="after")
    def _is_tree(self) -> LaneInFile:
        known: set[str] = set()
        twins: set[str] = set()
        for message in self.messages:
            if message.id in known or message.twin in twins:
                raise BadRequest("Two messages in the file have the id {id}.", id=message.id)
            # What follows comes later, so that no message can follow itself in a circle.
            if message.parent is not None and message.parent not in known:
                raise BadRequest(
                    "In the file the message {id} follows {parent}, which does not come before it.",
                    id=message.id,
                    parent=message.parent,
                )
            known.add(message.id)
            twins.add(message.twin)
        if self.leaf not in known and (known or self.leaf is not None):
            raise BadRequest("The file does not say which message is shown last.")
        return self


class ConversationFile(StrictModel):
    """What the JSON file holds."""

    format: Literal["atelier-conversation"]
    version: Literal[1]
    title: Annotated[str, Field(max_length=MAX_TITLE)] = ""
    lanes: Annotated[tuple[LaneInFile, ...], Field(min_length=1, max_length=MAX_LANES)]


def json_pieces(
    title: str, lanes: Iterable[tuple[LaneInFile, Iterable[StoredMessage]]]
) -> Iterator[str]:
    """A :class:`ConversationFile` as JSON, message by message.

    Args:
        lanes: each without its messages, and these.
    """
    whole = ConversationFile.model_construct(format=FORMAT, version=1, title=title)
    yield _open(whole.model_dump_json(exclude={"lanes"})) + ',\n "lanes": [\n'
    for number, (lane, messages) in enumerate(lanes):
        yield (",\n" if number else "") + _open(lane.model_dump_json(exclude={"messages"}))
        yield ',\n "messages": ['
        for at, message in enumerate(messages):
            yield (",\n" if at else "\n") + _message(message).model_dump_json()
        yield "]}"
    yield "]}\n"


def _open(json: str) -> str:
    """A JSON object to which more is added."""
    return json.removesuffix("}")


def _message(each: StoredMessage) -> MessageInFile:
    facts = {name: fact for name, fact in each.facts.items() if _is_short(fact)}
    return MessageInFile.model_construct(
        id=each.id,
        twin=each.twin,
        parent=each.parent,
        role=each.role,
        content=each.content,
        state=each.state,
        model=each.model,
        facts=facts,
        error=str(each.error) if each.error else None,
        created=each.created,
    )


def _is_short(fact: Any) -> bool:
    return len(fact) <= MAX_FACT if isinstance(fact, str) else not isinstance(fact, list | dict)
