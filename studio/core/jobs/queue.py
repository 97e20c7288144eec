"""Everything that computes is a job: a row in the database, run in turn by the device's worker.

The page and the API only write and read rows. A job therefore survives a closed browser, and what
was queued or running when the studio stopped is queued again when it starts.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipelines.core.engine import Use, uses_of
from pipelines.core.errors import BadRequest, Busy, NotFound, UserError, validate_stored
from pipelines.core.messages import Message
from studio.core.jobs.job_uses import add_job_uses
from studio.core.jobs.record import CANCELLED, DONE, FAILED, QUEUED, RUNNING, Job, job_of
from studio.core.jobs.waiting import seconds_to_turn, usual_seconds
from studio.core.jobs.worker import CLOSE_SECONDS, Worker
from studio.core.quota import Keeper

if TYPE_CHECKING:
    import sqlite3

    from PIL import Image
    from pydantic import BaseModel

    from studio.core.gallery.gallery import Gallery
    from studio.core.jobs.worker import Running
    from studio.core.quota import Quota
    from studio.core.settings import StoredSettings
    from studio.core.store import Store


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What a studio that closes leaves for its next start.

    Attributes:
        running: kind of the job that was running, or None.
        queued: how many jobs wait behind it.
        ending: whether what ran is a process of its own that has not ended yet, as a trainer that
            saves what it has learnt.
    """

    running: str | None
    queued: int
    ending: bool = False


# Jobs of one owner that were cancelled or failed, without any picture: to be sent again.
KEPT_IN_VAIN, KEPT_IN_VAIN_BYTES = 100, 1_000_000
REMEMBERED = 200  # finished jobs that are looked at for how long each kind takes


class Jobs(Keeper):
    """The queue, the worker of one device, and one for work that needs no device.

    Args:
        store, cache, engines, gallery, quota: as for :class:`~studio.core.jobs.worker.Worker`.
        settings: the queue limit.
        chores: engines of the work that needs no device and waits for none.
    """

    def __init__(
        self,
        store: Store,
        cache: Any,
        engines: Mapping[str, Any],
        gallery: Gallery,
        settings: StoredSettings,
        quota: Quota,
        chores: Mapping[str, Any] | None = None,
    ) -> None:
        self._store, self._settings, self._quota = store, settings, quota
        self._kinds = dict(chores or {})
        self._engines = engines
        self._worker = Worker(
            store, cache, engines, gallery, quota, takes=lambda kind: kind not in self._kinds
        )
        self._chores = Worker(
            store, cache, self._kinds, gallery, quota, takes=self._kinds.__contains__
        )
        self._usual: tuple[int, dict[str, float]] = (-1, {})  # as of how many endings

    def recover(self) -> None:
        """Takes up what an earlier studio has left; no worker may be at work yet."""
        self._worker.recover(self._chores.resumable_kinds)

    def start(self) -> None:
        """Takes up what an earlier studio has left, and starts the workers."""
        self.recover()
        self._worker.start()
        if self._kinds:
            self._chores.start()

    def close(self, seconds: float = CLOSE_SECONDS) -> Unfinished:
        """Stops the worker; the running job goes back to the queue for the next start.

        Returns:
            What the next start will go on with.
        """
        running, queued = self._worker.running, 0
        with contextlib.suppress(UserError):
            queued = self.counts()[QUEUED]
        self._chores.close(seconds)
        self._worker.close(seconds)
        resumes = running is not None and getattr(
            self._worker.engine(running.kind), "resumes", False
        )
        return Unfinished(running and running.kind, queued, self._worker.busy and resumes)

    @property
    def busy(self) -> bool:
        """Whether the worker is at work, or waits for some."""
        return self._worker.busy

    @contextlib.contextmanager
    def on_job_end(self, tell: Callable[[], object]) -> Iterator[None]:
        """``tell()`` is called in the worker's thread whenever a job has ended; must not raise."""
        with self._worker.on_job_end(tell), self._chores.on_job_end(tell):
            yield

    def lend_device(
        self, stop: threading.Event, seconds: float
    ) -> contextlib.AbstractContextManager[bool]:
        """As :meth:`studio.core.jobs.worker.Worker.lend` of the device's worker."""
        return self._worker.lend(stop, seconds)

    # --- what owners do ---------------------------------------------------------------------

    def submit(self, owner: str, kind: str, request: BaseModel) -> Job:
        """Queues a checked request.

        Raises:
            NotFound: there is no such kind.
            Busy: the owner's queue is full, or there is no room for more pictures.
        """
        worker = self._worker_of(kind)
        worker.engine(kind)
        if worker is self._worker:  # the others make room
            self._quota.check_room(owner)
        limit = self._settings.current.queue_limit
        job_id = secrets.token_urlsafe(12)
        with self._store.transaction() as connection:
            (mine,) = connection.execute(
                "SELECT COUNT(*) FROM jobs WHERE owner = ? AND state IN (?, ?) "
                "AND (kind IN (SELECT value FROM json_each(?))) = ?",
                (owner, QUEUED, RUNNING, json.dumps([*self._kinds]), kind in self._kinds),
            ).fetchone()
            if mine >= limit:
                raise Busy(
                    "You have {count} jobs waiting or running; {limit} are allowed. "
                    "Wait for one to finish, or cancel one.",
                    count=mine,
                    limit=limit,
                )
            connection.execute(
                "INSERT INTO jobs (id, owner, kind, request, state, created) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (job_id, owner, kind, request.model_dump_json(), QUEUED, time.time()),
            )
            add_job_uses(connection, job_id, uses_of(request))
            self._forget_oldest(connection, owner)
        worker.wake()
        return self.get(owner, job_id)

    def _forget_oldest(self, connection: sqlite3.Connection, owner: str) -> None:
        """Deletes the owner's oldest jobs that came to nothing, beyond what is worth keeping.

        Somebody who sends and cancels in a loop would fill the disk. What can be gone on with, or
        has pictures, stays.
        """
        resumed = [kind for kind in self._engines if getattr(self._engines[kind], "resumes", False)]
        connection.execute(
            "DELETE FROM jobs WHERE number IN (SELECT number FROM (SELECT number, "
            "ROW_NUMBER() OVER newest AS place, SUM(LENGTH(request)) OVER newest AS size "
            "FROM jobs WHERE owner = ? AND state IN (?, ?) "
            "AND kind NOT IN (SELECT value FROM json_each(?)) "
            "AND NOT EXISTS (SELECT 1 FROM pictures WHERE pictures.job_id = jobs.id) "
            "WINDOW newest AS (ORDER BY number DESC)) WHERE place > ? OR size > ?)",
            (owner, CANCELLED, FAILED, json.dumps(resumed), KEPT_IN_VAIN, KEPT_IN_VAIN_BYTES),
        )

    def retry(self, owner: str, job_id: str) -> Job:
        """Queues the same request again, as a new job.

        Raises:
            NotFound: there is no such job of the owner's.
            BadRequest: it has not ended yet, or this version no longer takes its request.
            Busy: as for :meth:`submit`.
        """
        job = self.get(owner, job_id)
        if not job.ended:
            raise BadRequest("Job {id} is still {state}; it can be sent again when it has ended.",
                             id=job.id, state=job.state)  # fmt: skip
        request = validate_stored(
            self._worker_of(job.kind).engine(job.kind).request_class, job.request
        )
        return self.submit(owner, job.kind, request)

    def cancel(self, owner: str, job_id: str) -> Job:
        """Takes a queued job out, or stops a running one within one step; no error if it has ended.

        Raises:
            NotFound: there is no such job of the owner's.
        """
        self._worker_of(self.get(owner, job_id).kind).cancel(job_id)
        return self.get(owner, job_id)

    def cancel_all(self, owner: str) -> bool:
        """Cancels all of an owner's jobs but the one that works without a device right now.

        Returns:
            Whether all have ended; one that runs still has a step to go.
        """
        rows = self._store.rows(
            "SELECT id, kind FROM jobs WHERE owner = ? AND state IN (?, ?)",
            (owner, QUEUED, RUNNING),
        )
        chore = self._chores.running
        others = [row for row in rows if chore is None or row["id"] != chore.job_id]
        for row in others:
            self._worker_of(row["kind"]).cancel(row["id"])
        return not others

    def delete_all(self, owner: str) -> int:
        """Deletes all of an owner's jobs that have ended; returns how many there were."""
        return self._store.write(
            "DELETE FROM jobs WHERE owner = ? AND state NOT IN (?, ?)", (owner, QUEUED, RUNNING)
        )

    def delete_jobs_using(self, owner: str, kind: str, use: Use) -> None:
        """Deletes the owner's ended jobs of a kind that use a thing."""
        self._store.write(
            "DELETE FROM jobs WHERE owner = ? AND kind = ? AND state NOT IN (?, ?) "
            "AND id IN (SELECT job FROM job_uses WHERE kind = ? AND item = ?)",
            (owner, kind, QUEUED, RUNNING, *use),
        )

    def delete(self, owner: str, job_id: str) -> None:
        """Deletes one ended job.

        Raises:
            NotFound: there is no such job of the owner's.
            BadRequest: it has not ended.
        """
        job = self.get(owner, job_id)
        if not self._store.write(
            "DELETE FROM jobs WHERE id = ? AND state NOT IN (?, ?)", (job.id, QUEUED, RUNNING)
        ):
            raise BadRequest("Job {id} is still {state}. Cancel it first, or wait for its end.",
                             id=job.id, state=job.state)  # fmt: skip

    def get(self, owner: str, job_id: str) -> Job:
        """Raises NotFound when there is none, or it is another's."""
        row = self._store.row("SELECT * FROM jobs WHERE id = ? AND owner = ?", (job_id, owner))
        if row is None:
            raise NotFound("You have no job {id}.", id=job_id[:60])
        return self._with_progress(row)

    def list(
        self,
        owner: str,
        kind: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[Job]:
        """The owner's jobs, newest first; with ``before`` those that are older than that job."""
        rows = self._store.rows(
            "SELECT * FROM jobs WHERE owner = ?1 AND (?2 IS NULL OR kind = ?2) AND (?4 IS NULL "
            "OR number < (SELECT number FROM jobs WHERE owner = ?1 AND id = ?4)) "
            "ORDER BY number DESC LIMIT ?3",
            (owner, kind, limit, before),
        )
        return [self._with_progress(row) for row in rows]

    def all_of_kind(self, kind: str) -> list[Job]:
        """All owners' jobs of a kind, newest first."""
        rows = self._store.rows("SELECT * FROM jobs WHERE kind = ? ORDER BY number DESC", (kind,))
        return [self._with_progress(row) for row in rows]

    def newest_request(self, kind: str) -> dict[str, Any] | None:
        """The request of the newest job of a kind, of any owner; None: there is no such job."""
        row = self._store.row(
            "SELECT request FROM jobs WHERE kind = ? ORDER BY number DESC LIMIT 1", (kind,)
        )
        return None if row is None else json.loads(row["request"])

    def newest_by_item(self, kind: str, use: str, owner: str | None = None) -> dict[str, Job]:
        """Id of each thing of the kind ``use`` → the newest job of a kind that uses it.

        The thing that a job has used last comes first.

        Args:
            owner: whose jobs; None: everybody's.
        """
        rows = self._store.rows(
            "SELECT jobs.*, item, MAX(number) FROM job_uses JOIN jobs ON jobs.id = job_uses.job "
            "WHERE job_uses.kind = ?1 AND jobs.kind = ?2 AND (?3 IS NULL OR owner = ?3) "
            "GROUP BY item ORDER BY number DESC",
            (use, kind, owner),
        )
        return {row["item"]: self._with_progress(row) for row in rows}

    def result_bytes(self, owner: str | None, kinds: Collection[str]) -> int:
        """The sum of ``bytes`` in the results of done jobs of some kinds.

        Args:
            owner: whose jobs; None: everybody's.
        """
        marks = ", ".join("?" * len(kinds))
        query = f"jobs WHERE state = '{DONE}' AND kind IN ({marks})"
        return self._store.sum_of("json_extract(result, '$.bytes')", query, owner, *kinds)

    def preview(self, owner: str, job_id: str) -> Image.Image | None:
        """The newest preview of a running job, or None.

        Raises:
            NotFound: there is no such job of the owner's.
        """
        self.get(owner, job_id)
        running = self._find_running(job_id)
        return running.progress.preview if running else None

    def position(self, job_id: str) -> int | None:
        """0 while it runs, 1 when it is next, …; None when it is neither running nor queued."""
        if self._find_running(job_id) is not None:
            return 0
        for worker in (self._worker, self._chores):
            if job_id in (order := list(worker.order())):
                return order.index(job_id) + 1
        return None

    def wait(self, job_id: str) -> float | None:
        """Seconds until a queued job's turn; None when it is not queued, or they are unknown."""
        running, order = self._worker.running, self._worker.order()
        if job_id not in order:
            return None
        usual = self._usual_seconds()
        ahead = itertools.takewhile(lambda each: each != job_id, order)
        left = running.seconds_left(usual.get(running.kind)) if running is not None else 0.0
        return seconds_to_turn(left, [usual.get(order[each]) for each in ahead])

    def seconds_left(self, job_id: str) -> float | None:
        """Seconds until a running job has done its last step; None where that is unknown."""
        if (running := self._find_running(job_id)) is None:
            return None
        return running.pace.seconds_left(time.monotonic()) if running.pace is not None else None

    def part(self, job_id: str) -> tuple[int, int] | None:
        """Which of its equal parts a running job is at, from 1 on, and of how many."""
        running = self._find_running(job_id)
        return None if running is None else running.progress.part

    def words(self, job_id: str) -> Message | None:
        """The sentence on a running job's step, where that counts other things than units."""
        running = self._find_running(job_id)
        return None if running is None else running.progress.words

    def counts(self) -> dict[str, int]:
        """How many jobs are queued and running, of all owners."""
        rows = self._store.rows(
            "SELECT state, COUNT(*) AS count FROM jobs WHERE state IN (?, ?) GROUP BY state",
            (QUEUED, RUNNING),
        )
        return {QUEUED: 0, RUNNING: 0} | {row["state"]: row["count"] for row in rows}

    def count_unfinished(self) -> int:
        """Jobs that are not finished yet, of all owners."""
        return sum(self.counts().values())

    # --- within -----------------------------------------------------------------------------

    def _worker_of(self, kind: str) -> Worker:
        return self._chores if kind in self._kinds else self._worker

    def _find_running(self, job_id: str) -> Running | None:
        """The job as its worker has it, while it runs."""
        running = (self._worker.running, self._chores.running)
        return next((each for each in running if each and each.job_id == job_id), None)

    def _usual_seconds(self) -> dict[str, float]:
        """Kind → how long one takes, as far as jobs of it have been done."""
        endings, usual = self._usual
        if endings != (now := self._worker.endings):
            rows = self._store.rows(
                "SELECT kind, finished - started AS seconds FROM jobs WHERE state = ? "
                "ORDER BY number DESC LIMIT ?",
                (DONE, REMEMBERED),
            )
            usual = usual_seconds((row["kind"], row["seconds"]) for row in rows)
            self._usual = (now, usual)
        return usual

    def _with_progress(self, row: sqlite3.Row) -> Job:
        """A row as a job; of the running one with its newest progress."""
        job = job_of(row)
        if job.state == RUNNING and (running := self._find_running(job.id)) is not None:
            newest = running.progress
            return replace(job, step=newest.step, total=newest.total, note=newest.note)
        return job
