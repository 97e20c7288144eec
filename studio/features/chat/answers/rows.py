"""The rows of answers while they are written.

What comes is kept in pieces beside the message, and put together at the end: adding to a long
text in its row would write all of it again each time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import BadRequest
from studio.core.gallery.gallery import fold
from studio.features.chat import rows, tree
from studio.features.chat.conversation_record import (
    INTERRUPTED,
    STREAMING,
    Conversation,
    StoredMessage,
    check_ended,
    stale,
)

if TYPE_CHECKING:
    import sqlite3

    from pipelines.core.messages import Message
    from studio.core.store import Store


class AnswerRows:
    """Begins, fills and ends the rows of answers; their running is not its concern.

    Args:
        store: the database.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def begin(
        self, owner: str, conversation_id: str, parent: str, revision: int | None, model: str
    ) -> str:
        """Adds an empty answer to ``parent`` and shows it; returns its id.

        Args:
            revision: what the page has seen; None: ``parent`` must be the message that is shown
                last, or the one that this answers.

        Raises:
            NotFound: there is no such conversation or message of the owner's.
            Stale: the conversation has gone on.
            Busy: this is being answered already.
            BadRequest: ``parent`` is not the person's.
        """
        with self._store.transaction() as connection:
            now = rows.one(connection, owner, conversation_id)
            asked = tree.message_at(connection, owner, parent)
            _check_seen(connection, now, asked, revision)
            if asked.role != "user":
                raise BadRequest("Only what a person said can be answered.")
            answer = tree.insert(
                connection, now.id, asked.id, "assistant", "", state=STREAMING, model=model
            )
            rows.set_leaf(connection, now.id, answer)
            rows.raise_revision(connection, now.group_id, said=True)
            return answer

    def resume(self, owner: str, message_id: str, revision: int | None) -> StoredMessage:
        """Marks an answer as being written again; returns it as it was.

        Raises:
            NotFound: there is no such message of the owner's.
            BadRequest: it is no answer, or complete.
            Stale: it is not what is shown last.
        """
        with self._store.transaction() as connection:
            message = tree.message_at(connection, owner, message_id)
            now = rows.one(connection, owner, message.conversation)
            if now.leaf != message.id or revision not in (None, now.revision):
                raise stale()
            if not message.can_continue:
                raise BadRequest("This answer is complete. Ask for more in a new message.")
            connection.execute(
                "UPDATE chat_messages SET state = ?, error = NULL WHERE id = ?",
                (STREAMING, message.id),
            )
            rows.raise_revision(connection, now.group_id, said=True)
            return message

    def add(self, pieces: Mapping[str, str]) -> set[str]:
        """Keeps new words of several answers; returns the ids of those that are gone.

        An answer without new words is only looked for.
        """
        gone = set()
        with self._store.transaction() as connection:
            for message_id, text in pieces.items():
                there = connection.execute(
                    "SELECT 1 FROM chat_messages WHERE id = ? AND state = ?",
                    (message_id, STREAMING),
                ).fetchone()
                if there is None:
                    gone.add(message_id)
                elif text:
                    connection.execute(
                        "INSERT INTO chat_pieces (message, text) VALUES (?, ?)", (message_id, text)
                    )
        return gone

    def end(
        self,
        message_id: str,
        state: str,
        facts: Mapping[str, Any],
        error: Message | None = None,
        rest: str = "",
    ) -> None:
        """Puts an answer together, with the ``rest`` that was not kept yet; no error if it is gone.

        ``error`` is told with the state ``failed``.
        """
        with self._store.transaction() as connection:
            _put_together(connection, message_id, state, rest)
            connection.execute(
                "UPDATE chat_messages SET facts = ?, error = ? WHERE id = ?",
                (
                    json.dumps(dict(facts)) if facts else None,
                    json.dumps(error.to_json()) if error else None,
                    message_id,
                ),
            )

    def interrupt_all(self) -> int:
        """Ends what an earlier studio has left half written; returns how many there were."""
        with self._store.transaction() as connection:
            left = connection.execute(
                "SELECT id FROM chat_messages WHERE state = ?", (STREAMING,)
            ).fetchall()
            for row in left:
                _put_together(connection, row["id"], INTERRUPTED, "")
            connection.execute("DELETE FROM chat_pieces")  # also those whose message is gone
        return len(left)


def _check_seen(
    connection: sqlite3.Connection,
    now: Conversation,
    asked: StoredMessage,
    revision: int | None,
) -> None:
    """Raises Stale when the page that asks for an answer does not know what is shown."""
    if asked.conversation != now.id:
        raise stale()
    if revision is not None:
        if revision != now.revision:
            raise stale()
    elif now.leaf != asked.id:
        last = now.leaf and tree.message_at(connection, now.owner, now.leaf)
        if not last or last.parent != asked.id:
            raise stale()
        check_ended(last)  # as when a button is pressed twice


def _put_together(connection: sqlite3.Connection, message_id: str, state: str, rest: str) -> None:
    message = connection.execute(
        "SELECT conversation, content FROM chat_messages WHERE id = ? AND state = ?",
        (message_id, STREAMING),
    ).fetchone()
    kept = connection.execute(
        "SELECT text FROM chat_pieces WHERE message = ? ORDER BY number", (message_id,)
    ).fetchall()
    connection.execute("DELETE FROM chat_pieces WHERE message = ?", (message_id,))
    if message is None:
        return
    more = "".join(row["text"] for row in kept) + rest
    content = message["content"] + more
    connection.execute(
        "UPDATE chat_messages SET state = ?, content = ?, words = ? WHERE id = ?",
        (state, content, fold(content), message_id),
    )
    tree.add_bytes(connection, message["conversation"], more)
