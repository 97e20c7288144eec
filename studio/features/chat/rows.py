"""The rows of conversations: read, added, changed and deleted inside a transaction."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterable, Mapping
from typing import Any

from studio.core.gallery.gallery import fold
from studio.features.chat.conversation_record import Conversation, conversation_of, no_conversation


def one(connection: sqlite3.Connection, owner: str, conversation_id: str) -> Conversation:
    """Raises NotFound when there is none, or it is another's."""
    row = None
    # Half an emoji would be no text to the database; ids are ASCII.
    if isinstance(conversation_id, str) and conversation_id.isascii():
        row = connection.execute(
            "SELECT * FROM conversations WHERE id = ? AND owner = ?", (conversation_id, owner)
        ).fetchone()
    if row is None:
        raise no_conversation(conversation_id)
    return conversation_of(row)


def lanes(connection: sqlite3.Connection, conversation: Conversation) -> list[Conversation]:
    """All conversations of its group, in their order."""
    found = connection.execute(
        "SELECT * FROM conversations WHERE group_id = ? ORDER BY lane", (conversation.group_id,)
    )
    return [conversation_of(row) for row in found]


def insert(
    connection: sqlite3.Connection,
    *,
    owner: str,
    group_id: str,
    lane: int,
    title: str,
    model: str,
    system_prompt: str,
    sampling: Mapping[str, Any],
    revision: int = 0,
    created: float | None = None,
    updated: float | None = None,
) -> str:
    """Adds a conversation without messages and returns its id; the values are checked already.

    Args:
        created, updated: seconds since 1970; None: now.
    """
    conversation_id, now = secrets.token_urlsafe(12), time.time()
    connection.execute(
        "INSERT INTO conversations (id, owner, group_id, lane, title, words, model, "
        "system_prompt, sampling, revision, created, updated) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            conversation_id, owner, group_id, lane, title, fold(title), model,
            system_prompt, json.dumps(sampling), revision, created or now, updated or now,
        ),
    )  # fmt: skip
    return conversation_id


def raise_revision(connection: sqlite3.Connection, group_id: str, said: bool) -> None:
    """Marks a group as changed; where something was ``said``, it goes to the top of the list."""
    connection.execute(
        "UPDATE conversations SET revision = revision + 1, updated = COALESCE(?, updated) "
        "WHERE group_id = ?",
        (time.time() if said else None, group_id),
    )


def set_leaf(connection: sqlite3.Connection, conversation_id: str, leaf: str | None) -> None:
    """Says which message is shown last."""
    connection.execute("UPDATE conversations SET leaf = ? WHERE id = ?", (leaf, conversation_id))


def set_title(connection: sqlite3.Connection, group_id: str, title: str) -> None:
    """Names all conversations of a group."""
    connection.execute(
        "UPDATE conversations SET title = ?, words = ? WHERE group_id = ?",
        (title, fold(title), group_id),
    )


def delete(connection: sqlite3.Connection, ids: Iterable[str]) -> None:
    """Deletes conversations with their messages, those that are being written too."""
    each = [(conversation_id,) for conversation_id in ids]
    connection.executemany(
        "DELETE FROM chat_pieces WHERE message IN "
        "(SELECT id FROM chat_messages WHERE conversation = ?)",
        each,
    )
    connection.executemany("DELETE FROM chat_messages WHERE conversation = ?", each)
    connection.executemany("DELETE FROM conversations WHERE id = ?", each)
