"""One conversation and its messages, as their rows in the database have them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import Busy, NotFound
from pipelines.core.messages import Message
from studio.core.replies import Outdated

if TYPE_CHECKING:
    import sqlite3

# States of a message. A stopped answer was stopped by a person, an interrupted one by the studio's
# end; both keep the words that had come.
DONE, STREAMING = "done", "streaming"
STOPPED, FAILED, INTERRUPTED = "stopped", "failed", "interrupted"

TITLE_LENGTH = 60  # characters of a title that is made from a message


class Stale(Outdated):
    """The page has not seen what the conversation is by now; nothing was changed."""


def stale() -> Stale:
    return Stale(
        "This conversation has changed meanwhile, perhaps in another window. It is shown as it is "
        "now; look, then send yours again."
    )


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation with one model.

    Attributes:
        number: order of arrival.
        id: from ``secrets``.
        owner: whose it is.
        group_id: the same for the conversations that stand side by side.
        lane: its place among these; the list shows lane 0.
        title: empty until something is said.
        model: who answers next.
        system_prompt: what comes before all messages; may be empty.
        sampling: fields of :class:`pipelines.chat.requests.Generation` that were chosen; what is
            not in it, the model's file says.
        leaf: id of the message that is shown last, or None when nothing was said.
        revision: rises with each change of any lane; every change must name the one it knows.
        created, updated: seconds since 1970.
    """

    number: int
    id: str
    owner: str
    group_id: str
    lane: int
    title: str
    model: str
    system_prompt: str
    sampling: dict[str, Any]
    leaf: str | None
    revision: int
    created: float
    updated: float

    @property
    def cursor(self) -> str:
        """Where a list goes on after this conversation, even if it is deleted meanwhile."""
        return f"{self.updated!r}/{self.number}"


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message of a conversation's tree.

    Attributes:
        number: order of arrival.
        id: from ``secrets``.
        conversation: its conversation's id.
        twin: the same for one message of the person's in each lane of a group.
        parent: id of the message that it follows, or None.
        role: ``user`` or ``assistant``.
        content: what was said; of an answer that is being written, what has been kept so far.
        state: ``done``, ``streaming``, ``stopped``, ``failed`` or ``interrupted``.
        model: who answered; None for the person.
        facts: counts and times of an answer, as its engine told them; empty without.
        error: why it failed, or None.
        created: seconds since 1970.
        place, siblings: “2 of 3” among the messages that follow the same one.
    """

    number: int
    id: str
    conversation: str
    twin: str
    parent: str | None
    role: str
    content: str
    state: str
    model: str | None
    facts: dict[str, Any]
    error: Message | None
    created: float
    place: int
    siblings: int

    @property
    def can_continue(self) -> bool:
        """Whether it is an answer that ended before it was complete."""
        cut = self.state == DONE and self.facts.get("finish_reason") == "length"
        unfinished = self.state in (STOPPED, FAILED, INTERRUPTED)
        return self.role == "assistant" and (cut or unfinished)


def conversation_of(row: sqlite3.Row) -> Conversation:
    """The conversation in a row of the table ``conversations``."""
    values = {name: row[name] for name in Conversation.__slots__}
    return Conversation(**{**values, "sampling": json.loads(row["sampling"])})


def message_of(row: sqlite3.Row) -> StoredMessage:
    """The message in a row that :mod:`studio.features.chat.tree` has selected."""
    values = {name: row[name] for name in StoredMessage.__slots__}
    values["facts"] = json.loads(row["facts"]) if row["facts"] else {}
    values["error"] = Message.from_json(json.loads(row["error"])) if row["error"] else None
    return StoredMessage(**values)


def title_of(text: str) -> str:
    """The first words of the first line that has any, at most 60 characters."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    words = " ".join(line.split())
    if len(words) <= TITLE_LENGTH:
        return words
    whole = words[: TITLE_LENGTH - 1]
    # A text without spaces, such as Chinese, is cut anywhere.
    head, space, _ = whole.rpartition(" ")
    return f"{head if space and len(head) > TITLE_LENGTH // 2 else whole}…"


def no_conversation(conversation_id: str) -> NotFound:
    return NotFound("You have no conversation {id}.", id=str(conversation_id)[:60])


def no_message(message_id: str) -> NotFound:
    return NotFound("There is no message {id} in your conversations.", id=str(message_id)[:60])


def check_ended(message: StoredMessage) -> None:
    """Raises Busy while an answer is being written."""
    if message.state == STREAMING:
        raise Busy("An answer is still being written. Wait for its end, or stop it.")
