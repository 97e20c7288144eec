"""One job, as its row in the database has it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.core.messages import Message

if TYPE_CHECKING:
    import sqlite3

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it was when it was looked at.

    Attributes:
        id: from ``secrets``.
        owner: whose it is.
        kind: of engine.
        request: its fields, JSON.
        state: queued, running, done, failed or cancelled.
        step, total: progress; 0 of 0 before it is known.
        note: what is being done besides the main work, or None.
        result: the engine's facts, once done.
        error: why it failed.
        created, started, finished: seconds since 1970, or None.
    """

    id: str
    owner: str
    kind: str
    request: dict[str, Any]
    state: str
    step: int
    total: int
    note: Message | None
    result: dict[str, Any] | None
    error: Message | None
    created: float
    started: float | None
    finished: float | None

    @property
    def ended(self) -> bool:
        return self.state in (DONE, FAILED, CANCELLED)


def job_of(row: sqlite3.Row) -> Job:
    """The job in a row of the table ``jobs``."""
    values = {name: row[name] for name in Job.__slots__}
    for name in ("request", "result"):
        values[name] = json.loads(row[name]) if row[name] else None
    for name in ("note", "error"):
        values[name] = Message.from_json(json.loads(row[name])) if row[name] else None
    return Job(**values)
