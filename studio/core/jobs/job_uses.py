"""What jobs and pictures were made with: the tables ``job_uses`` and ``picture_uses``.

Whether something is in use is asked here, and nowhere of a request's JSON.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pipelines.core.engine import Use
from studio.core.jobs.record import QUEUED, RUNNING

if TYPE_CHECKING:
    import sqlite3

    from studio.core.store import Store

_UNFINISHED = f"jobs.state IN ('{QUEUED}', '{RUNNING}')"


def add_job_uses(connection: sqlite3.Connection, job_id: str, uses: Iterable[Use]) -> None:
    """Writes what a job's request names; it goes when the job's row goes."""
    connection.executemany(
        "INSERT OR IGNORE INTO job_uses (job, kind, item) VALUES (?, ?, ?)",
        [(job_id, *use) for use in uses],
    )


def is_at_work(store: Store, owner: str | None, use: Use) -> bool:
    """Whether a job that is waiting or running uses a thing; of any owner's where that is None."""
    return (
        store.row(
            # In this order: few jobs are unfinished, and thousands may have used the same thing.
            "SELECT 1 FROM jobs CROSS JOIN job_uses ON job_uses.job = jobs.id "
            "WHERE job_uses.kind = ? AND job_uses.item = ? "
            f"AND (?3 IS NULL OR jobs.owner = ?3) AND {_UNFINISHED}",
            (*use, owner),
        )
        is not None
    )


def used_by_jobs(table: str, kind: str, unfinished: bool = False) -> str:
    """An SQL condition on a row of ``table``: a job of the row's owner uses the thing of its id.

    Args:
        table: has the columns ``id`` and ``owner``.
        kind: of use.
        unfinished: only jobs that wait or run are meant.
    """
    return (
        "EXISTS (SELECT 1 FROM job_uses JOIN jobs ON jobs.id = job_uses.job "
        f"WHERE job_uses.kind = '{kind}' AND job_uses.item = {table}.id "
        f"AND jobs.owner = {table}.owner{f' AND {_UNFINISHED}' if unfinished else ''})"
    )
