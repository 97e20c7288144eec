"""The messages of a conversation as a tree in SQL: what follows what, and what is shown."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Sequence
from typing import Any

from pipelines.core.errors import BadRequest
from pipelines.core.messages import Message
from studio.core.gallery.gallery import fold
from studio.features.chat.conversation_record import DONE, StoredMessage, message_of, no_message

MAX_TREE = 10_000  # messages of one conversation, all its branches together

# A message with the words that are kept piece by piece while it is written, and its place among
# those that follow the same one.
_WORDS = """
SELECT m.number, m.id, m.conversation, m.twin, m.parent, m.role, m.state, m.model, m.facts,
    m.error, m.created,
    m.content || CASE m.state WHEN 'streaming' THEN COALESCE((
        SELECT group_concat(text, '') FROM (
            SELECT text FROM chat_pieces WHERE message = m.id ORDER BY number)), '')
        ELSE '' END AS content,
"""
_MESSAGE = f"""
{_WORDS}
    (SELECT COUNT(*) FROM chat_messages s WHERE s.conversation = m.conversation
        AND s.parent IS m.parent) AS siblings,
    (SELECT COUNT(*) FROM chat_messages s WHERE s.conversation = m.conversation
        AND s.parent IS m.parent AND s.number <= m.number) AS place
FROM chat_messages m
"""
_UP = """
WITH RECURSIVE up (id, parent, depth) AS (
    SELECT id, parent, 0 FROM chat_messages WHERE id = ?1 AND conversation = ?2
    UNION ALL
    SELECT above.id, above.parent, up.depth + 1
    FROM up JOIN chat_messages above ON above.id = up.parent
)
"""
PATH = f"{_UP} {_MESSAGE} JOIN up ON up.id = m.id WHERE up.depth < ?3 ORDER BY up.depth DESC"
# Without the words, which may be many.
_OUTLINE = f"""
{_UP} SELECT m.number, m.facts FROM chat_messages m JOIN up ON up.id = m.id ORDER BY up.depth DESC
"""
ONE = f"{_MESSAGE} WHERE m.id = ?"
SIBLINGS = f"""
{_WORDS} COUNT(*) OVER () AS siblings, ROW_NUMBER() OVER (ORDER BY m.number) AS place
FROM chat_messages m WHERE m.conversation = ? AND m.parent IS ? ORDER BY m.number
"""
_NEIGHBOUR = """
SELECT id FROM chat_messages
WHERE conversation = ?1 AND parent IS ?2 AND ((?4 > 0 AND number > ?3) OR (?4 < 0 AND number < ?3))
ORDER BY number * ?4 LIMIT 1
"""
TWIN = f"{_MESSAGE} WHERE m.conversation = ? AND m.twin = ?"
_NUMBERS = "SELECT number FROM chat_messages WHERE conversation = ? ORDER BY number"
# Places are not asked for: to know those of all would be work with the square of their number.
_BY_NUMBER = f"""
{_WORDS} 1 AS siblings, 1 AS place FROM json_each(?) AS wanted
JOIN chat_messages m ON m.number = wanted.value ORDER BY wanted.key
"""
OF_OWNER = """
SELECT 1 FROM chat_messages m JOIN conversations c ON c.id = m.conversation
WHERE m.id = ? AND c.owner = ?
"""


def path_to(
    connection: sqlite3.Connection, conversation: str, leaf: str | None, latest: int = MAX_TREE
) -> list[StoredMessage]:
    """The messages from a first one to ``leaf``, in order; the last ``latest`` of them."""
    rows = connection.execute(PATH, (leaf, conversation, latest))
    return [message_of(row) for row in rows]


def facts_to(
    connection: sqlite3.Connection, conversation: str, leaf: str | None
) -> list[dict[str, Any]]:
    """The facts of each message from a first one to ``leaf``, without their words."""
    rows = connection.execute(_OUTLINE, (leaf, conversation))
    return [json.loads(row["facts"]) if row["facts"] else {} for row in rows]


def numbers_to(connection: sqlite3.Connection, conversation: str, leaf: str | None) -> list[int]:
    """The numbers of the messages from a first one to ``leaf``, in order."""
    return [row["number"] for row in connection.execute(_OUTLINE, (leaf, conversation))]


def all_numbers(connection: sqlite3.Connection, conversation: str) -> list[int]:
    """The numbers of all messages of a conversation, in order."""
    return [row["number"] for row in connection.execute(_NUMBERS, (conversation,))]


def by_number(connection: sqlite3.Connection, numbers: Sequence[int]) -> list[StoredMessage]:
    """The messages of these numbers, without their places among their siblings."""
    return [message_of(row) for row in connection.execute(_BY_NUMBER, (json.dumps(numbers),))]


def neighbour(connection: sqlite3.Connection, message: StoredMessage, step: int) -> str | None:
    """The id of the message before (−1) or after (1) this one in its place, or None."""
    values = (message.conversation, message.parent, message.number, step)
    row = connection.execute(_NEIGHBOUR, values).fetchone()
    return row["id"] if row else None


def message_at(connection: sqlite3.Connection, owner: str, message_id: str) -> StoredMessage:
    """Raises NotFound when there is none, or it is another's."""
    known = isinstance(message_id, str) and message_id.isascii()
    if not known or connection.execute(OF_OWNER, (message_id, owner)).fetchone() is None:
        raise no_message(message_id)
    return message_of(connection.execute(ONE, (message_id,)).fetchone())


def deepest(connection: sqlite3.Connection, message: StoredMessage) -> str:
    """The id of the message that one comes to by always taking the newest that follows."""
    at = message.id
    while True:
        row = connection.execute(
            "SELECT id FROM chat_messages WHERE conversation = ? AND parent = ? "
            "ORDER BY number DESC LIMIT 1",
            (message.conversation, at),
        ).fetchone()
        if row is None:
            return at
        at = row["id"]


def insert(
    connection: sqlite3.Connection,
    conversation: str,
    parent: str | None,
    role: str,
    content: str,
    *,
    counted: bool = False,
    **values: Any,
) -> str:
    """Adds a message and returns its id; whose the conversation is, the caller has checked.

    Args:
        counted: the caller knows that there is room for it.
        **values: as for :func:`new_row`.

    Raises:
        BadRequest: the conversation has as many messages as it may.
    """
    if not counted:
        check_room(connection, conversation)
    row = new_row(parent, role, content, **values)
    insert_rows(connection, conversation, [row])
    return row["id"]


def new_row(
    parent: str | None,
    role: str,
    content: str,
    *,
    twin: str | None = None,
    state: str = DONE,
    model: str | None = None,
    facts: dict[str, Any] | None = None,
    error: Message | None = None,
    created: float | None = None,
) -> dict[str, Any]:
    """A message as :func:`insert_rows` takes it, with a new id."""
    message_id = secrets.token_urlsafe(12)
    return {
        "id": message_id,
        "twin": twin or message_id,
        "parent": parent,
        "role": role,
        "content": content,
        "words": fold(content),
        "state": state,
        "model": model,
        "facts": json.dumps(facts) if facts else None,
        "error": json.dumps(error.to_json()) if error else None,
        "created": created or time.time(),
        "bytes": len(content.encode()),
    }


def insert_rows(
    connection: sqlite3.Connection, conversation: str, added: Sequence[dict[str, Any]]
) -> None:
    """Adds messages that :func:`new_row` has made; that there is room, the caller has checked."""
    connection.executemany(
        "INSERT INTO chat_messages (id, conversation, twin, parent, role, content, words, state, "
        "model, facts, error, created) VALUES (:id, :conversation, :twin, :parent, :role, "
        ":content, :words, :state, :model, :facts, :error, :created)",
        ({**row, "conversation": conversation} for row in added),
    )
    connection.execute(
        "UPDATE conversations SET bytes = bytes + ? WHERE id = ?",
        (sum(row["bytes"] for row in added), conversation),
    )


def add_bytes(connection: sqlite3.Connection, conversation: str, text: str) -> None:
    """Counts words that a conversation has got."""
    connection.execute(
        "UPDATE conversations SET bytes = bytes + ? WHERE id = ?",
        (len(text.encode()), conversation),
    )


def check_room(connection: sqlite3.Connection, conversation: str) -> None:
    """Raises BadRequest when a conversation has as many messages as it may."""
    (count,) = connection.execute(
        "SELECT COUNT(*) FROM chat_messages WHERE conversation = ?", (conversation,)
    ).fetchone()
    if count >= MAX_TREE:
        raise BadRequest(
            "This conversation has {count} messages, all branches counted; at most {limit} are "
            "kept. Begin a new one.",
            count=count,
            limit=MAX_TREE,
        )
