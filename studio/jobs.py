"""Everything that computes is a job: a row in the database, run in turn by the device's worker.

The page and the API only write and read rows. A job therefore survives a closed browser, and what
was queued or running when the studio stopped is queued again when it starts.
"""

from __future__ import annotations

import itertools
import json
import logging
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipelines.errors import BadRequest, Busy, NotFound, Stopped, UserError, stored
from pipelines.events import Picture, Progress, Result
from pipelines.messages import Message
from studio.accounts import is_guest
from studio.gallery import WHOLE_RUN
from studio.home import NO_SPACE, readable_bytes
from studio.job import CANCELLED, DONE, FAILED, QUEUED, RUNNING, Job, job_of
from studio.turns import fair_order
from studio.waiting import Pace, paced, seconds_to_turn, usual_seconds

if TYPE_CHECKING:
    from PIL import Image
    from pydantic import BaseModel

    from studio.gallery import Gallery
    from studio.settings import StoredSettings
    from studio.store import Store

MAX_CRASHES = 2  # a job on which the studio has died more often in a row is not tried again
RETRY_SECONDS = 2.0  # between two tries to write to a database that refuses it
WRITE_SECONDS = 0.25  # between two writes of a running job's progress
REMEMBERED = 200  # finished jobs that are looked at for how long each kind takes
_log = logging.getLogger(__name__)


class _Running:
    """The job that a worker is at: its stop flag and what is newest of it."""

    def __init__(self, job_id: str, kind: str) -> None:
        self.job_id, self.kind = job_id, kind
        self.started = time.monotonic()
        self.stop = threading.Event()
        self.progress = Progress(0, 0)
        self.pace: Pace | None = None

    def saw(self, progress: Progress) -> None:
        # A step without a preview keeps the last one.
        self.progress = replace(progress, preview=progress.preview or self.progress.preview)
        self.pace = paced(self.pace, progress.step, progress.total, time.monotonic())

    def seconds_left(self, usual: float | None) -> float | None:
        """Until its end, by its pace, or else by what its kind usually takes."""
        # Steps with a note are those of something else, such as a download.
        pace = self.pace if self.progress.note is None else None
        left = pace.seconds_left(time.monotonic()) if pace is not None else None
        if left is None and usual is not None:
            left = self.started + usual - time.monotonic()
            return left if left > 0 else None
        return left


class Jobs:
    """The queue and the worker of one device.

    Args:
        store: the database.
        cache: the model cache, handed to the engines.
        engines: by kind: ``request_class`` and ``run(request, cache, stop)``; where there is a
            true ``resumes``, it goes on where it was.
        gallery: where finished pictures go.
        settings: the queue limit.

    Attributes:
        endings: how many jobs have ended since the start; what was reckoned from ended jobs
            holds while this is the same.
    """

    def __init__(
        self,
        store: Store,
        cache: Any,
        engines: Mapping[str, Any],
        gallery: Gallery,
        settings: StoredSettings,
    ) -> None:
        self._store, self._cache, self._engines = store, cache, engines
        self._gallery, self._settings = gallery, settings
        self._wake = threading.Condition()  # guards _running and _closing
        self._running: _Running | None = None
        self._closing = False
        self._worker: threading.Thread | None = None
        self.endings = 0
        self._told: set[Callable[[], object]] = set()
        self._usual: tuple[int, dict[str, float]] = (-1, {})  # as of how many endings

    def start(self) -> None:
        """Takes up what an earlier studio has left, and starts the worker."""
        self._recover()
        self._worker = threading.Thread(target=self._work, name="worker", daemon=True)
        self._worker.start()

    def close(self, seconds: float = 10.0) -> None:
        """Stops the worker; the running job goes back to the queue for the next start."""
        with self._wake:
            self._closing = True
            if self._running is not None:
                self._running.stop.set()
            self._wake.notify_all()
        if self._worker is not None:
            self._worker.join(seconds)

    # --- what owners do ---------------------------------------------------------------------

    def submit(self, owner: str, kind: str, request: BaseModel) -> Job:
        """Queues a checked request.

        Raises:
            NotFound: there is no such kind.
            Busy: the owner's queue is full, or there is no room for more pictures.
        """
        self._engine(kind)
        self._gallery.check_room(owner, is_guest(owner))
        limit = self._settings.current.queue_limit
        job_id = secrets.token_urlsafe(12)
        with self._store.transaction() as connection:
            (mine,) = connection.execute(
                "SELECT COUNT(*) FROM jobs WHERE owner = ? AND state IN (?, ?)",
                (owner, QUEUED, RUNNING),
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
        with self._wake:
            self._wake.notify_all()
        return self.get(owner, job_id)

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
        request = stored(self._engine(job.kind).request_class, job.request)
        return self.submit(owner, job.kind, request)

    def cancel(self, owner: str, job_id: str) -> Job:
        """Takes a queued job out, or stops a running one within one step; no error if it has ended.

        Raises:
            NotFound: there is no such job of the owner's.
        """
        self.get(owner, job_id)
        with self._wake:
            out = self._store.write(
                "UPDATE jobs SET state = ?, finished = ? WHERE id = ? AND state = ?",
                (CANCELLED, time.time(), job_id, QUEUED),
            )
            if not out:
                self._store.write(
                    "UPDATE jobs SET stopping = 1 WHERE id = ? AND state = ?", (job_id, RUNNING)
                )
                if self._running is not None and self._running.job_id == job_id:
                    self._running.stop.set()
        return self.get(owner, job_id)

    def forget(self, owner: str, kind: str, named: str) -> None:
        """Deletes the owner's ended jobs of a kind whose request names an id."""
        self._store.write(
            "DELETE FROM jobs WHERE owner = ? AND kind = ? AND instr(request, ?) "
            "AND state NOT IN (?, ?)",
            (owner, kind, named, QUEUED, RUNNING),
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
        return self._seen(row)

    def list(self, owner: str, kind: str | None = None, limit: int = 50) -> list[Job]:
        """The owner's jobs, newest first."""
        rows = self._store.rows(
            "SELECT * FROM jobs WHERE owner = ?1 AND (?2 IS NULL OR kind = ?2) "
            "ORDER BY number DESC LIMIT ?3",
            (owner, kind, limit),
        )
        return [self._seen(row) for row in rows]

    def everybody_s(self, kind: str) -> list[Job]:
        """All jobs of a kind, newest first: of no concern to any one owner."""
        rows = self._store.rows("SELECT * FROM jobs WHERE kind = ? ORDER BY number DESC", (kind,))
        return [self._seen(row) for row in rows]

    def preview(self, owner: str, job_id: str) -> Image.Image | None:
        """The newest preview of a running job, or None.

        Raises:
            NotFound: there is no such job of the owner's.
        """
        self.get(owner, job_id)
        running = self._running
        return running.progress.preview if running and running.job_id == job_id else None

    def position(self, job_id: str) -> int | None:
        """0 while it runs, 1 when it is next, …; None when it is neither running nor queued."""
        if (running := self._running) is not None and running.job_id == job_id:
            return 0
        order = list(self._order())
        return order.index(job_id) + 1 if job_id in order else None

    def wait(self, job_id: str) -> float | None:
        """Seconds until a queued job's turn; None when it is not queued, or they are unknown."""
        running, order = self._running, self._order()
        if job_id not in order:
            return None
        usual = self._usual_seconds()
        ahead = itertools.takewhile(lambda each: each != job_id, order)
        left = running.seconds_left(usual.get(running.kind)) if running is not None else 0.0
        return seconds_to_turn(left, [usual.get(order[each]) for each in ahead])

    def seconds_left(self, job_id: str) -> float | None:
        """Until the last of the steps that a running job counts; None where it cannot be told."""
        if (running := self._running) is None or running.job_id != job_id:
            return None
        return running.pace.seconds_left(time.monotonic()) if running.pace is not None else None

    def counts(self) -> dict[str, int]:
        """How many jobs are queued and running, of all owners."""
        rows = self._store.rows(
            "SELECT state, COUNT(*) AS count FROM jobs WHERE state IN (?, ?) GROUP BY state",
            (QUEUED, RUNNING),
        )
        return {QUEUED: 0, RUNNING: 0} | {row["state"]: row["count"] for row in rows}

    def waiting(self) -> int:
        """Jobs that are not finished yet, of all owners."""
        return sum(self.counts().values())

    @contextmanager
    def told_of_endings(self, tell: Callable[[], object]) -> Iterator[None]:
        """``tell()`` is called in the worker's thread whenever a job has ended; must not raise."""
        self._told.add(tell)
        try:
            yield
        finally:
            self._told.discard(tell)

    # --- the worker -------------------------------------------------------------------------

    def _recover(self) -> None:
        """Sorts out the jobs that were running when the last studio stopped."""
        now = time.time()
        give_up = Message(
            "The studio stopped {times} times while it ran this job, so it is not tried again. "
            "Lower its size or batch, and send it again.",
            times=MAX_CRASHES + 1,
        )
        with self._store.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = ?, finished = ? WHERE state = ? AND stopping",
                (CANCELLED, now, RUNNING),
            )
            connection.execute("UPDATE jobs SET crashes = crashes + 1 WHERE state = ?", (RUNNING,))
            # It was not the job's doing where that has moved on, and will do so again.
            connection.executemany(
                "UPDATE jobs SET crashes = 0 WHERE state = ? AND step > 0 AND kind = ?",
                [(RUNNING, k) for k, e in self._engines.items() if getattr(e, "resumes", False)],
            )
            connection.execute(
                "UPDATE jobs SET state = ?, error = ?, finished = ? "
                "WHERE state = ? AND crashes > ?",
                (FAILED, json.dumps(give_up.to_json()), now, RUNNING, MAX_CRASHES),
            )
            connection.execute(
                "UPDATE jobs SET state = ?, step = 0, note = NULL WHERE state = ?",
                (QUEUED, RUNNING),
            )

    def _work(self) -> None:
        while True:
            try:
                running = self._take()
            except Exception:
                # The database cannot be written, most likely a full disk. The queue outlives that.
                _log.exception("the next job could not be started; trying again")
                time.sleep(RETRY_SECONDS)
                continue
            if running is None:
                return
            try:
                self._run(running)
            except Exception:
                _log.exception("the end of job %s was not written", running.job_id)
            finally:
                with self._wake:
                    self._running = None
                self.endings += 1
                for tell in list(self._told):
                    tell()

    def _take(self) -> _Running | None:
        """Waits for the next job and marks it as running; None when the studio closes."""
        with self._wake:
            while not self._closing and not (order := self._order()):
                self._wake.wait()
            if self._closing:
                return None
            job_id, kind = next(iter(order.items()))
            self._store.write(
                "UPDATE jobs SET state = ?, started = ?, "
                "served = (SELECT MAX(served) + 1 FROM jobs) WHERE id = ?",
                (RUNNING, time.time(), job_id),
            )
            self._running = _Running(job_id, kind)
            return self._running

    def _order(self) -> dict[str, str]:
        """Id → kind of the queued jobs, in the order in which they will run."""
        queued = self._store.rows(
            "SELECT id, owner, kind FROM jobs WHERE state = ? ORDER BY number", (QUEUED,)
        )
        if not queued:
            return {}
        served = self._store.rows("SELECT owner, MAX(served) AS last FROM jobs GROUP BY owner")
        kinds = {row["id"]: row["kind"] for row in queued}
        order = fair_order(
            ((row["id"], row["owner"]) for row in queued),
            {row["owner"]: row["last"] for row in served},
        )
        return {job_id: kinds[job_id] for job_id in order}

    def _usual_seconds(self) -> dict[str, float]:
        """Kind → how long one takes, as far as jobs of it have been done."""
        endings, usual = self._usual
        if endings != (now := self.endings):
            rows = self._store.rows(
                "SELECT kind, finished - started AS seconds FROM jobs WHERE state = ? "
                "ORDER BY number DESC LIMIT ?",
                (DONE, REMEMBERED),
            )
            usual = usual_seconds((row["kind"], row["seconds"]) for row in rows)
            self._usual = (now, usual)
        return usual

    def _run(self, running: _Running) -> None:
        """Runs one job to its end, whatever that is, and writes the end down."""
        row = self._store.row("SELECT * FROM jobs WHERE id = ?", (running.job_id,))
        job = job_of(row)
        try:
            result = self._iterate(job, running)
        except Stopped:
            if self._closing and not self._is_stopping(job.id):
                self._write_end("UPDATE jobs SET state = ? WHERE id = ?", (QUEUED, job.id))
            else:
                self._end(running, CANCELLED)
        except UserError as error:
            self._end(running, FAILED, error=error.message)
        except Exception as error:
            _log.exception("job %s (%s) failed", job.id, job.kind)
            self._end(running, FAILED, error=self._unforeseen(error))
        else:
            self._end(running, DONE, result=result)

    def _unforeseen(self, error: Exception) -> Message:
        """What to say of an error that no engine has words for."""
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            return Message(
                "The disk is full: {free} are free. Free some space, then send the job again.",
                free=readable_bytes(shutil.disk_usage(self._store.path.parent).free),
            )
        return Message("{kind}: {reason}", kind=type(error).__name__, reason=str(error))

    def _iterate(self, job: Job, running: _Running) -> dict[str, Any]:
        """Goes through an engine's events; returns the result's facts."""
        engine = self._engine(job.kind)
        request = stored(engine.request_class, job.request)
        position, written = 0, 0.0
        for event in engine.run(request, self._cache, running.stop):
            match event:
                case Progress():
                    running.saw(event)
                    if time.monotonic() - written >= WRITE_SECONDS:
                        self._write_progress(job.id, event)
                        written = time.monotonic()
                case Picture():
                    # Again: many jobs may have been queued while there was still room.
                    self._gallery.check_room(job.owner, is_guest(job.owner))
                    fields = event.request.model_dump(mode="json")
                    self._gallery.save(
                        job.owner,
                        job.id,
                        position,
                        job.kind,
                        event.image,
                        fields,
                        event.seconds,
                        event.parameters,
                    )
                    position += 1
                case Result():
                    if event.image is not None:
                        self._gallery.save(
                            job.owner, job.id, WHOLE_RUN, job.kind, event.image, job.request
                        )
                    return event.data
        raise RuntimeError(f"the engine {job.kind} ended without a result")

    def _is_stopping(self, job_id: str) -> bool:
        return bool(self._store.row("SELECT stopping FROM jobs WHERE id = ?", (job_id,))[0])

    def _write_progress(self, job_id: str, progress: Progress) -> None:
        note = json.dumps(progress.note.to_json()) if progress.note else None
        self._store.write(
            "UPDATE jobs SET step = ?, total = ?, note = ? WHERE id = ?",
            (progress.step, progress.total, note, job_id),
        )

    def _end(
        self,
        running: _Running,
        state: str,
        result: dict[str, Any] | None = None,
        error: Message | None = None,
    ) -> None:
        self._write_end(
            "UPDATE jobs SET state = ?, step = ?, total = ?, note = NULL, result = ?, error = ?, "
            "finished = ? WHERE id = ?",
            (
                state,
                running.progress.step,
                running.progress.total,
                json.dumps(result) if result is not None else None,
                json.dumps(error.to_json()) if error else None,
                time.time(),
                running.job_id,
            ),
        )

    def _write_end(self, statement: str, values: tuple[Any, ...]) -> None:
        """Writes until it is written, or the studio closes (then the job is run again).

        Without that, a disk that is full for a moment would leave a job running for ever.
        """
        while True:
            try:
                self._store.write(statement, values)
                return
            except (UserError, sqlite3.OperationalError):
                if self._closing:
                    raise
                _log.exception("the end of a job could not be written; trying again")
                time.sleep(RETRY_SECONDS)

    def _engine(self, kind: str) -> Any:
        if kind not in self._engines:
            raise NotFound("There are no jobs of the kind {kind}.", kind=kind[:100])
        return self._engines[kind]

    def _seen(self, row: sqlite3.Row) -> Job:
        """A row as a job; of the running one with its newest progress."""
        job, running = job_of(row), self._running
        if job.state == RUNNING and running is not None and running.job_id == job.id:
            newest = running.progress
            return replace(job, step=newest.step, total=newest.total, note=newest.note)
        return job
