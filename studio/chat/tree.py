"""The messages of a conversation as a tree in SQL: what follows what, and what is shown."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from typing import Any

from pipelines.errors import BadRequest
from pipelines.messages import Message
from studio.chat.conversation import DONE, StoredMessage, message_of, no_message
from studio.gallery import folded

MAX_TREE = 10_000  # messages of one conversation, all its branches together

# A message with the words that are kept piece by piece while it is written, and its place among
# those that follow the same one.
_MESSAGE = """
SELECT m.number, m.id, m.conversation, m.twin, m.parent, m.role, m.state, m.model, m.facts,
    m.error, m.created,
    m.content || CASE m.state WHEN 'streaming' THEN COALESCE((
        SELECT group_concat(text, '') FROM (
            SELECT text FROM chat_pieces WHERE message = m.id ORDER BY number)), '')
        ELSE '' END AS content,
    (SELECT COUNT(*) FROM chat_messages s WHERE s.conversation = m.conversation
        AND s.parent IS m.parent) AS siblings,
    (SELECT COUNT(*) FROM chat_messages s WHERE s.conversation = m.conversation
        AND s.parent IS m.parent AND s.number <= m.number) AS place
FROM chat_messages m
"""
PATH = f"""
WITH RECURSIVE up (id, parent, depth) AS (
    SELECT id, parent, 0 FROM chat_messages WHERE id = ?1 AND conversation = ?2
    UNION ALL
    SELECT above.id, above.parent, up.depth + 1
    FROM up JOIN chat_messages above ON above.id = up.parent
)
{_MESSAGE} JOIN up ON up.id = m.id ORDER BY up.depth DESC
"""
ONE = f"{_MESSAGE} WHERE m.id = ?"
SIBLINGS = f"{_MESSAGE} WHERE m.conversation = ? AND m.parent IS ? ORDER BY m.number"
TWIN = f"{_MESSAGE} WHERE m.conversation = ? AND m.twin = ?"
WHOLE = f"{_MESSAGE} WHERE m.conversation = ? ORDER BY m.number"
OF_OWNER = """
SELECT 1 FROM chat_messages m JOIN conversations c ON c.id = m.conversation
WHERE m.id = ? AND c.owner = ?
"""


def path_to(
    connection: sqlite3.Connection, conversation: str, leaf: str | None
) -> list[StoredMessage]:
    """The messages from a first one to ``leaf``, in order."""
    rows = connection.execute(PATH, (leaf, conversation)).fetchall()
    return [message_of(row) for row in rows]


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
    twin: str | None = None,
    state: str = DONE,
    model: str | None = None,
    facts: dict[str, Any] | None = None,
    error: Message | None = None,
    created: float | None = None,
    counted: bool = False,
) -> str:
    """Adds a message and returns its id; whose the conversation is, the caller has checked.

    Args:
        counted: the caller knows that there is room for it.

    Raises:
        BadRequest: the conversation has as many messages as it may.
    """
    if not counted:
        check_room(connection, conversation)
    message_id = secrets.token_urlsafe(12)
    connection.execute(
        "INSERT INTO chat_messages (id, conversation, twin, parent, role, content, words, state, "
        "model, facts, error, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            message_id,
            conversation,
            twin or message_id,
            parent,
            role,
            content,
            folded(content),
            state,
            model,
            json.dumps(facts) if facts else None,
            json.dumps(error.to_json()) if error else None,
            created or time.time(),
        ),
    )
    add_bytes(connection, conversation, content)
    return message_id


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
