"""Conversations as files: Markdown to read, JSON to bring in again, here or elsewhere."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, model_validator

from pipelines.chat.requests import MAX_TEXT, STARTER
from pipelines.errors import BadRequest, validated
from studio.chat import rows, tree
from studio.chat.checks import MAX_TITLE, check_room, check_size, checked_sampling
from studio.chat.conversation import (
    DONE,
    INTERRUPTED,
    STREAMING,
    Conversation,
    StoredMessage,
    message_of,
    title_of,
)
from studio.chat.conversations import MAX_LANES

if TYPE_CHECKING:
    import sqlite3

    from studio.settings import StoredSettings
    from studio.store import Store

MAX_FILE = 20_000_000  # bytes
FORMAT = "atelier-conversation"
MAX_FACTS, MAX_FACT = 40, 200

_Id = Annotated[str, Field(min_length=1, max_length=64)]
_Text = Annotated[str, Field(max_length=MAX_TEXT)]
_Fact = bool | int | FiniteFloat | Annotated[str, Field(max_length=MAX_FACT)] | None


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MessageInFile(_Part):
    """One message; the ids hold within the file only."""

    id: _Id
    twin: _Id
    parent: _Id | None
    role: Literal["user", "assistant"]
    # An answer may be longer than what a person may send.
    content: Annotated[str, Field(max_length=4 * MAX_TEXT)]
    state: Literal["done", "streaming", "stopped", "failed", "interrupted"] = DONE
    model: Annotated[str, Field(max_length=200)] | None = None
    facts: Annotated[dict[_Id, _Fact], Field(max_length=MAX_FACTS)] = {}
    error: Annotated[str, Field(max_length=10_000)] | None = None
    created: Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]


class LaneInFile(_Part):
    """One of the conversations that stand side by side, with all its branches."""

    model: Annotated[str, Field(max_length=200)]
    system_prompt: _Text = ""
    sampling: dict[str, JsonValue] = {}
    leaf: _Id | None
    messages: Annotated[tuple[MessageInFile, ...], Field(max_length=tree.MAX_TREE)]

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


class ConversationFile(_Part):
    """What the JSON file holds."""

    format: Literal["atelier-conversation"]
    version: Literal[1]
    title: Annotated[str, Field(max_length=MAX_TITLE)] = ""
    lanes: Annotated[tuple[LaneInFile, ...], Field(min_length=1, max_length=MAX_LANES)]


class _TextPart(BaseModel):
    type: Literal["text"]
    text: _Text


class OpenAIMessage(BaseModel):
    """A message as OpenAI's API has it; of its fields, those that a conversation keeps."""

    role: Literal["system", "developer", "user", "assistant"]
    content: _Text | tuple[_TextPart, ...]

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content)


class OpenAIMessages(BaseModel):
    """A list of messages, as it stands in the body of a request."""

    messages: Annotated[tuple[OpenAIMessage, ...], Field(min_length=1, max_length=tree.MAX_TREE)]


class Exchange:
    """Writes and reads the files of conversations.

    Args:
        store: the database.
        settings: how much a guest may keep.
    """

    def __init__(self, store: Store, settings: StoredSettings) -> None:
        self._store, self._settings = store, settings

    def markdown(self, owner: str, conversation_id: str) -> str:
        """What is shown of a conversation, and of those beside it.

        Raises:
            NotFound: there is none, or it is another's.
        """
        with self._store.reading() as connection:
            lanes = rows.lanes(connection, rows.one(connection, owner, conversation_id))
            parts = [f"# {lanes[0].title}"] if lanes[0].title else []
            for lane in lanes:
                if len(lanes) > 1:
                    parts.append(f"# {lane.model}")
                if lane.system_prompt:
                    parts.append(f"## system\n\n{lane.system_prompt}")
                for each in tree.path_to(connection, lane.id, lane.leaf):
                    who = f"{each.role} ({each.model})" if each.model else each.role
                    parts.append(f"## {who}\n\n{each.content}")
        return "\n\n".join(parts) + "\n"

    def json(self, owner: str, conversation_id: str) -> str:
        """All branches of a conversation, and of those beside it.

        Raises:
            NotFound: there is none, or it is another's.
        """
        with self._store.reading() as connection:
            lanes = rows.lanes(connection, rows.one(connection, owner, conversation_id))
            whole = ConversationFile.model_construct(
                format=FORMAT,
                version=1,
                title=lanes[0].title,
                lanes=tuple(_lane(connection, lane) for lane in lanes),
            )
        return whole.model_dump_json(indent=1)

    def read(self, owner: str, data: bytes, model: str = STARTER) -> Conversation:
        """Brings a file in as a new conversation of the owner's.

        Args:
            data: what :meth:`json` has written, or a list of OpenAI's messages, or an object with
                such a list as its ``messages``.
            model: who goes on with a list of messages.

        Raises:
            BadRequest: it is neither; the sentence says what is wrong.
            Busy: a guest keeps as much as is allowed.
        """
        content = _parsed(data)
        if isinstance(content, dict) and content.get("format") == FORMAT:
            file = validated(ConversationFile, content)
        else:
            listed = content if isinstance(content, dict) else {"messages": content}
            file = _from_openai(validated(OpenAIMessages, listed), model)
        sampling = [checked_sampling(lane.sampling, lane.model) for lane in file.lanes]
        group, twins = secrets.token_urlsafe(12), {}
        with self._store.transaction() as connection:
            check_room(connection, owner, self._settings.current)
            check_size(connection, owner, self._settings.current, len(data))
            ids = []
            for number, lane in enumerate(file.lanes):
                ids.append(
                    rows.insert(
                        connection,
                        owner=owner,
                        group_id=group,
                        lane=number,
                        title=" ".join(file.title.split()),
                        model=lane.model,
                        system_prompt=lane.system_prompt,
                        sampling=sampling[number],
                    )
                )
                _insert(connection, ids[-1], lane, twins)
            return rows.one(connection, owner, ids[0])


def _lane(connection: sqlite3.Connection, lane: Conversation) -> LaneInFile:
    found = [message_of(row) for row in connection.execute(tree.WHOLE, (lane.id,))]
    return LaneInFile.model_construct(
        model=lane.model,
        system_prompt=lane.system_prompt,
        sampling=lane.sampling,
        leaf=lane.leaf,
        messages=tuple(_message(each) for each in found),
    )


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


def _insert(
    connection: sqlite3.Connection, conversation: str, lane: LaneInFile, twins: dict[str, str]
) -> None:
    """Adds a lane's messages under new ids. Errors stay behind: a template is no one's to send."""
    ids: dict[str | None, str | None] = {None: None}
    for each in lane.messages:
        ids[each.id] = tree.insert(
            connection,
            conversation,
            ids[each.parent],
            each.role,
            each.content,
            twin=twins.setdefault(each.twin, secrets.token_urlsafe(12)),
            state=INTERRUPTED if each.state == STREAMING else each.state,
            model=each.model,
            facts=each.facts,
            created=each.created,
            counted=True,
        )
    rows.set_leaf(connection, conversation, ids[lane.leaf])


def _parsed(data: bytes) -> Any:
    if len(data) > MAX_FILE:
        raise BadRequest(
            "The file has {size} MB; at most {limit} MB are taken.",
            size=round(len(data) / 10**6, 1),
            limit=MAX_FILE // 10**6,
        )
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise BadRequest("The file is no text in UTF-8.") from None
    except RecursionError:
        raise BadRequest("The file is nested too deeply.") from None
    except ValueError as error:
        raise BadRequest("The file is not JSON: {reason}.", reason=str(error)) from None


def _from_openai(given: OpenAIMessages, model: str) -> ConversationFile:
    """The same messages as one branch; the first of the system becomes the system prompt."""
    first, *rest = given.messages
    prompt = ""
    if first.role in ("system", "developer"):
        prompt = first.text
    else:
        rest = [first, *rest]
    for number, each in enumerate(rest, start=len(given.messages) - len(rest) + 1):
        if each.role not in ("user", "assistant"):
            raise BadRequest(
                "Message {number} is the system's; only the first message may be.", number=number
            )
    said = next((each.text for each in rest if each.role == "user"), "")
    messages = tuple(
        MessageInFile(
            id=str(at),
            twin=str(at),
            parent=str(at - 1) if at else None,
            role=each.role,
            content=each.text,
            created=time.time(),
        )
        for at, each in enumerate(rest)
    )
    lane = LaneInFile(
        model=model,
        system_prompt=prompt,
        leaf=messages[-1].id if messages else None,
        messages=messages,
    )
    return ConversationFile(format=FORMAT, version=1, title=title_of(said), lanes=(lane,))
