"""The worker of one device: takes the jobs in turn, and runs each to its end, whatever that is."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pipelines.core.engine import uses_of
from pipelines.core.errors import NotFound, Stopped, UserError, unforeseen, validate_stored
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.files import is_full
from pipelines.core.messages import Message
from pipelines.core.sizes import format_bytes
from studio.core.gallery.gallery import WHOLE_RUN, Unwritten
from studio.core.home import DiskFull
from studio.core.jobs.record import CANCELLED, DONE, FAILED, QUEUED, RUNNING, Job, job_of
from studio.core.jobs.slots import fair_order
from studio.core.jobs.waiting import Pace, updated_pace
from studio.core.store import StoreAway

if TYPE_CHECKING:
    from studio.core.gallery.gallery import Gallery
    from studio.core.quota import Quota
    from studio.core.store import Store

MAX_CRASHES = 2  # a job on which the studio has died more often in a row is not tried again
RETRY_SECONDS = 2.0  # between two tries to write to a database that refuses it
CLOSE_SECONDS = 2.5  # a service's manager kills what does not end soon
WRITE_SECONDS = 0.25  # between two writes of a running job's progress
_log = logging.getLogger(__name__)
T = TypeVar("T")


class Running:
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
        done, whole = progress.work or (progress.step, progress.total)
        self.pace = updated_pace(self.pace, done, whole, time.monotonic())

    def seconds_left(self, usual: float | None) -> float | None:
        """Seconds until the job's end, by its pace, else by what its kind usually takes."""
        # Steps with a note are those of something else, such as a download.
        pace = self.pace if self.progress.note is None else None
        left = pace.seconds_left(time.monotonic()) if pace is not None else None
        if left is None and usual is not None:
            left = self.started + usual - time.monotonic()
            return left if left > 0 else None
        return left


class Worker:
    """Runs one job at a time, in a thread of its own.

    Args:
        store: the database.
        cache: the model cache, handed to the engines.
        engines: by kind: ``request_class`` and ``run(request, cache, stop)``; where there is a
            true ``resumes``, it goes on where it was.
        gallery: where finished pictures go.
        quota: says whether there is room for them.
        takes: whether a kind of job is its own, where the queue has other workers too.

    Attributes:
        running: the job that it is at, or None.
        endings: how many jobs have ended since the start; what was reckoned from ended jobs
            holds while this is the same.
    """

    def __init__(
        self,
        store: Store,
        cache: Any,
        engines: Mapping[str, Any],
        gallery: Gallery,
        quota: Quota,
        takes: Callable[[str], bool] = lambda kind: True,
    ) -> None:
        self._takes = takes
        self._store, self._cache, self._engines = store, cache, engines
        self._gallery, self._quota = gallery, quota
        self._wake = threading.Condition()  # guards running, _borrower and _closing
        self.running: Running | None = None
        self._borrower: threading.Event | None = None  # the stop flag of who has the device
        self._closing = False
        self._thread: threading.Thread | None = None
        self.endings = 0
        self._on_end: set[Callable[[], object]] = set()

    def start(self) -> None:
        """Goes to work; :meth:`recover` comes before, once for all workers of a queue."""
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        self._thread.start()

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Stops; the running job goes back to the queue for the next start.

        Args:
            seconds: for which an engine may finish its step; what it still does then is lost.
        """
        with self._wake:
            self._closing = True
            if self.running is not None:
                self.running.stop.set()
            if self._borrower is not None:
                self._borrower.set()
            self._wake.notify_all()
        if self.busy:
            self._thread.join(seconds)
            if self._thread.is_alive() and (running := self.running) is not None:
                with contextlib.suppress(UserError):
                    self._store.write(
                        "UPDATE jobs SET state = ?, step = 0, note = NULL "
                        "WHERE id = ? AND state = ? AND NOT stopping",
                        (QUEUED, running.job_id, RUNNING),
                    )

    @property
    def busy(self) -> bool:
        """Whether its thread is at work, or waits for some."""
        return self._thread is not None and self._thread.is_alive()

    def wake(self) -> None:
        """To be called when a job has been queued."""
        with self._wake:
            self._wake.notify_all()

    def cancel(self, job_id: str) -> None:
        """Takes a queued job out, or stops the running one; no error if it has ended."""
        with self._wake:
            out = self._store.write(
                "UPDATE jobs SET state = ?, finished = ? WHERE id = ? AND state = ?",
                (CANCELLED, time.time(), job_id, QUEUED),
            )
            if not out:
                self._store.write(
                    "UPDATE jobs SET stopping = 1 WHERE id = ? AND state = ?", (job_id, RUNNING)
                )
                if self.running is not None and self.running.job_id == job_id:
                    self.running.stop.set()

    @contextmanager
    def lend(self, stop: threading.Event, seconds: float) -> Iterator[bool]:
        """The device is the caller's inside, unless there are jobs: those come first.

        Args:
            stop: is set when a job comes, which waits for the end of the block, or at the close.
            seconds: to wait for the end of the jobs that there are.

        Yields:
            Whether it is the caller's.
        """
        with self._wake:
            is_free = self._wake.wait_for(lambda: self._closing or self._is_idle(), seconds)
            is_lent = is_free and not self._closing
            if is_lent:
                self._borrower = stop
        try:
            yield is_lent
        finally:
            if is_lent:
                with self._wake:
                    self._borrower = None
                    self._wake.notify_all()

    def _is_idle(self) -> bool:
        return self.running is None and self._borrower is None and not self.order()

    @contextmanager
    def on_job_end(self, tell: Callable[[], object]) -> Iterator[None]:
        """``tell()`` is called in the worker's thread whenever a job has ended; must not raise."""
        self._on_end.add(tell)
        try:
            yield
        finally:
            self._on_end.discard(tell)

    def engine(self, kind: str) -> Any:
        """Raises NotFound where there is none of this kind."""
        if kind not in self._engines:
            raise NotFound("There are no jobs of the kind {kind}.", kind=kind[:100])
        return self._engines[kind]

    def order(self) -> dict[str, str]:
        """Id → kind of the queued jobs, in the order in which they will run."""
        queued = [
            row
            for row in self._store.rows(
                "SELECT id, owner, kind FROM jobs WHERE state = ? ORDER BY number", (QUEUED,)
            )
            if self._takes(row["kind"])
        ]
        if not queued:
            return {}
        served = self._store.rows("SELECT owner, MAX(served) AS last FROM jobs GROUP BY owner")
        kinds = {row["id"]: row["kind"] for row in queued}
        order = fair_order(
            ((row["id"], row["owner"]) for row in queued),
            {row["owner"]: row["last"] for row in served},
        )
        return {job_id: kinds[job_id] for job_id in order}

    # --- the work ---------------------------------------------------------------------------

    @property
    def resumable_kinds(self) -> set[str]:
        """The kinds of its jobs that go on where they were when they are run again."""
        return {kind for kind, engine in self._engines.items() if getattr(engine, "resumes", False)}

    def recover(self, resuming: Collection[str] = ()) -> None:
        """Sorts out the jobs that were running when the last studio stopped.

        Args:
            resuming: kinds of other workers' that go on where they were.
        """
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
                [(RUNNING, kind) for kind in {*resuming, *self.resumable_kinds}],
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
        told = False  # why the next job is not started
        while True:
            try:
                running = self._take()
            except UserError as error:
                # The database cannot be written, most likely a full disk. The queue outlives that.
                if not told:
                    _log.warning("the next job is not started yet: %s", error)
                    told = True
                time.sleep(RETRY_SECONDS)
                continue
            except Exception:
                _log.exception("the next job could not be started; trying again")
                time.sleep(RETRY_SECONDS)
                continue
            told = False
            if running is None:
                return
            try:
                self._run(running)
            except Stopped:
                pass  # the studio closes while the database cannot be used: it is run next time
            except Exception:
                if not self._closing:  # else it is run again at the next start
                    _log.exception("the end of job %s was not written", running.job_id)
            finally:
                with self._wake:
                    self.running = None
                    self._wake.notify_all()
                self.endings += 1
                for tell in list(self._on_end):
                    tell()

    def _take(self) -> Running | None:
        """Waits for the next job and marks it as running; None when the studio closes."""
        with self._wake:
            while not self._closing and not (order := self.order()):
                self._wake.wait()
            if self._closing:
                return None
            job_id, kind = next(iter(order.items()))
            self._store.write(
                "UPDATE jobs SET state = ?, started = ?, "
                "served = (SELECT MAX(served) + 1 FROM jobs) WHERE id = ?",
                (RUNNING, time.time(), job_id),
            )
            self.running = Running(job_id, kind)
            if self._borrower is not None:
                self._borrower.set()
                self._wake.wait_for(lambda: self._borrower is None)
            return self.running

    def _run(self, running: Running) -> None:
        """Runs one job to its end, whatever that is, and writes the end down."""
        query = "SELECT * FROM jobs WHERE id = ?"
        job = job_of(self._patiently(partial(self._store.row, query, (running.job_id,)), running))
        try:
            result = self._iterate(job, running)
        except Stopped:
            if self._closing and not self._was_cancelled(job.id):
                self._write_end("UPDATE jobs SET state = ? WHERE id = ?", (QUEUED, job.id))
            else:
                self._end(running, CANCELLED)
        except UserError as error:
            self._end(running, FAILED, error=error.message)
        except Exception as error:
            if self._closing:  # what it works on has been closed: it is run again at the next start
                return
            _log.exception("job %s (%s) failed", job.id, job.kind)
            self._end(running, FAILED, error=self._unforeseen(error))
        else:
            self._end(running, DONE, result=result)

    def _unforeseen(self, error: Exception) -> Message:
        """What to say of an error that no engine has words for."""
        if is_full(error):
            return Message(
                "The disk is full: {free} are free. Free some space, then send the job again.",
                free=format_bytes(shutil.disk_usage(self._store.path.parent).free),
            )
        return unforeseen(error)

    def _iterate(self, job: Job, running: Running) -> dict[str, Any]:
        """Goes through an engine's events; returns the result's facts."""
        engine = self.engine(job.kind)
        request = validate_stored(engine.request_class, job.request)
        position, written = 0, 0.0
        for event in engine.run(request, self._cache, running.stop, job.owner):
            match event:
                case Progress():
                    running.saw(event)
                    if time.monotonic() - written >= WRITE_SECONDS:
                        with contextlib.suppress(StoreAway, DiskFull):  # the next is as good
                            self._write_progress(job.id, event)
                        written = time.monotonic()
                case Picture():
                    place = position if event.place is None else event.place
                    self._patiently(partial(self._save, job, place, event), running)
                    position = place + 1
                case Result():
                    if event.image is not None:
                        save = partial(
                            self._gallery.save,
                            *(job.owner, job.id, WHOLE_RUN, job.kind, event.image, job.request),
                            uses=uses_of(request),
                        )
                        self._patiently(save, running)
                    return event.data
        raise RuntimeError(f"the engine {job.kind} ended without a result")

    def _save(self, job: Job, position: int, event: Picture) -> None:
        # Again: many jobs may have been queued while there was still room.
        self._quota.check_room(job.owner)
        self._gallery.save(
            job.owner,
            job.id,
            position,
            job.kind,
            event.image,
            event.request.model_dump(mode="json"),
            event.seconds,
            event.parameters,
            uses_of(event.request),
        )

    def _patiently(self, action: Callable[[], T], running: Running) -> T:
        """The outcome of ``action``, tried again while the database cannot be used.

        What is finished waits: it is not thrown away because it could not be written down.

        Raises:
            Stopped: the studio closes, or the job was stopped meanwhile. The picture's file is
                there; its row is entered at the next start.
        """
        told = False
        while True:
            try:
                return action()
            except (StoreAway, Unwritten) as error:
                if not told:
                    _log.warning("job %s waits: %s", running.job_id, error)
                    told = True
                if self._closing or running.stop.is_set():
                    raise Stopped from error
                time.sleep(RETRY_SECONDS)

    def _was_cancelled(self, job_id: str) -> bool:
        return bool(self._store.row("SELECT stopping FROM jobs WHERE id = ?", (job_id,))[0])

    def _write_progress(self, job_id: str, progress: Progress) -> None:
        note = json.dumps(progress.note.to_json()) if progress.note else None
        self._store.write(
            "UPDATE jobs SET step = ?, total = ?, note = ? WHERE id = ?",
            (progress.step, progress.total, note, job_id),
            matters=False,
        )

    def _end(
        self,
        running: Running,
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
        told = False
        while True:
            try:
                self._store.write(statement, values)
                return
            except (UserError, sqlite3.OperationalError) as error:
                if self._closing:
                    raise
                if not told:
                    _log.warning("the end of a job is not written yet: %s", error)
                    told = True
                time.sleep(RETRY_SECONDS)
