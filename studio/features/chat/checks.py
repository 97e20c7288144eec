"""What may stand in a conversation; the bounds are those of the request's fields."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from pipelines.chat.requests import ChatMessage, Generation
from pipelines.core.errors import BadRequest, Busy, validate
from pipelines.core.sizes import format_bytes
from studio.core.accounts.accounts import is_guest
from studio.core.settings import Settings

MAX_TITLE = 200
_NOT_SAMPLING = {"model", "logprobs"}


def check_sampling(sampling: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The fields of ``sampling`` that are not left to the model's file, as JSON.

    Raises:
        BadRequest: a value, or the model's name, is out of bounds.
    """
    checked = validate(Generation, {**sampling, "model": model})
    chosen = {name for name, value in sampling.items() if value is not None}
    return checked.model_dump(mode="json", include=chosen - _NOT_SAMPLING)


def checked_message(text: str) -> str:
    """Raises BadRequest when a message is empty or too long."""
    content = validate(ChatMessage, {"role": "user", "content": text}).content
    if not content.strip():
        raise BadRequest("The message is empty. Write something.")
    return content


def checked_prompt(text: str) -> str:
    """Raises BadRequest when a system prompt is too long."""
    return validate(ChatMessage, {"role": "system", "content": text}).content


def checked_title(text: str) -> str:
    """A title in one line.

    Raises:
        BadRequest: it is empty or too long.
    """
    title = " ".join(text.encode(errors="replace").decode().split())
    if not 1 <= len(title) <= MAX_TITLE:
        raise BadRequest(
            "A title has 1 to {limit} characters; this one has {count}.",
            limit=MAX_TITLE,
            count=len(title),
        )
    return title


def check_room(connection: sqlite3.Connection, owner: str, settings: Settings) -> None:
    """Raises Busy when a guest may not begin another conversation."""
    if not is_guest(owner):
        return
    (count,) = connection.execute(
        "SELECT COUNT(*) FROM conversations WHERE owner = ? AND lane = 0", (owner,)
    ).fetchone()
    if count >= (limit := settings.guest_conversations):
        raise Busy(
            "You keep {count} conversations; a guest may keep {limit}. Delete some first.",
            count=count,
            limit=limit,
        )
    check_size(connection, owner, settings)


def check_size(
    connection: sqlite3.Connection, owner: str, settings: Settings, more: int = 0
) -> None:
    """Raises Busy when a guest's conversations, and ``more`` bytes, are beyond the quota."""
    if not is_guest(owner):
        return
    (used,) = connection.execute(
        "SELECT COALESCE(SUM(bytes), 0) FROM conversations WHERE owner = ?", (owner,)
    ).fetchone()
    if used + more >= (limit := settings.guest_quota_mb * 10**6):
        raise Busy(
            "Your conversations take {used}; a guest may keep {limit}. Delete some first.",
            used=format_bytes(used + more),
            limit=format_bytes(limit),
        )
