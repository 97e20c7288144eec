"""Rows of the database that tests write themselves."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

from studio.core.jobs.job_uses import add_job_uses
from studio.core.store import uses_in

if TYPE_CHECKING:
    from studio.core.store import Store


def add_job(
    store: Store,
    owner: str,
    kind: str,
    request: dict[str, Any],
    state: str = "done",
    id: str | None = None,
    created: float = 0.0,
) -> str:
    """A job as if it had been queued and had come so far; its request may be a part of one.

    Returns:
        Its id.
    """
    id, text = id or secrets.token_hex(8), json.dumps(request)
    with store.transaction() as connection:
        connection.execute(
            "INSERT INTO jobs (id, owner, kind, request, state, created) VALUES (?, ?, ?, ?, ?, ?)",
            (id, owner, kind, text, state, created),
        )
        add_job_uses(connection, id, uses_in(text))
    return id
