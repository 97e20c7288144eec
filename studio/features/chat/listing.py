"""The list of an owner's conversations, and the search in it."""

from __future__ import annotations

import sqlite3

from pipelines.core.errors import BadRequest
from studio.core.gallery.gallery import search_words
from studio.features.chat.records import Conversation, conversation_of

# Each word must be in the title, or in a message of any lane.
_SEARCH = """
SELECT * FROM conversations c
WHERE owner = :owner AND lane = 0
AND (:updated IS NULL OR (updated, number) < (:updated, :number))
AND NOT EXISTS (
    SELECT 1 FROM json_each(:words) AS word
    WHERE NOT instr(c.words, word.value) AND NOT EXISTS (
        SELECT 1 FROM conversations l JOIN chat_messages m ON m.conversation = l.id
        WHERE l.group_id = c.group_id AND instr(m.words, word.value)))
ORDER BY updated DESC, number DESC LIMIT :limit
"""


def listed(
    connection: sqlite3.Connection, owner: str, text: str, limit: int, before: str | None
) -> list[Conversation]:
    """See :meth:`studio.features.chat.conversations.Conversations.search`."""
    updated, number = _place(before)
    values = {
        "owner": owner,
        "words": search_words(text),
        "updated": updated,
        "number": number,
        "limit": limit,
    }
    return [conversation_of(row) for row in connection.execute(_SEARCH, values)]


def _place(cursor: str | None) -> tuple[float | None, int]:
    if cursor is None:
        return None, 0
    updated, _, number = cursor.partition("/")
    try:
        return float(updated), min(int(number), 2**62)
    except ValueError:
        raise BadRequest("{cursor} is no place in the list.", cursor=cursor[:60]) from None
