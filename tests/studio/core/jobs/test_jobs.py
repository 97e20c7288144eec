"""Jobs: order, progress, cancelling, failing, and whose they are."""

import json
import sqlite3
import threading

import pytest

from pipelines.core.errors import BadRequest, Busy, NotFound
from pipelines.core.events import Progress
from pipelines.core.messages import Message
from studio.core.gallery.gallery import Gallery
from studio.core.home import disk_full, prepare_home
from studio.core.jobs import queue, worker
from studio.core.jobs.queue import Jobs
from studio.core.jobs.slots import fair_order
from studio.core.quota import Quota
from studio.core.settings import StoredSettings
from studio.core.store import FILE_NAME, Store
from tests.clock import set_clock
from tests.patience import PATIENCE, wait_until
from tests.studio.drawing_engines import Draw, DrawRequest

ANN, BEN = "ann", "ben"


class Desk:
    """The services around one queue."""

    def __init__(self, home) -> None:
        self.home = prepare_home(home)
        self.store = Store(self.home)
        self.settings = StoredSettings(self.store)
        self.gallery = Gallery(self.store, self.home, self.settings)
        self.draw = Draw()
        engines = {"draw": self.draw}
        self.quota = Quota(self.settings)
        self.jobs = Jobs(self.store, None, engines, self.gallery, self.settings, self.quota)

    def submit(self, owner=ANN, **request):
        return self.jobs.submit(owner, "draw", DrawRequest(**request))

    def wait_for_end(self, job):
        wait_until(lambda: self.jobs.get(job.owner, job.id).ended)
        return self.jobs.get(job.owner, job.id)

    def close(self):
        self.draw.hold.set()
        self.jobs.close()
        self.store.close()


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path / "home")
    yield desk
    desk.close()


def test_a_job_is_run_and_its_pictures_are_saved_in_order(desk):
    desk.jobs.start()
    job = desk.submit(pictures=3, sheet=True)
    done = desk.wait_for_end(job)
    assert (done.state, done.step, done.total) == ("done", 6, 6)
    assert done.result == {"pictures": 3}
    rows = desk.gallery.of_job(ANN, job.id)
    assert [row.position for row in rows] == [-1, 0, 1, 2]
    assert rows[1].request["pictures"] == 1
    assert "Brush: soft" in rows[1].parameters
    assert done.created <= done.started <= done.finished


def test_owners_take_turns_each_in_their_own_order():
    queued = [("a1", ANN), ("a2", ANN), ("a3", ANN), ("b1", BEN), ("c1", "cid")]
    assert fair_order(queued, {}) == ["a1", "b1", "c1", "a2", "a3"]
    # Ann was served last, Ben before her, Cid never.
    assert fair_order(queued, {ANN: 9, BEN: 4}) == ["c1", "b1", "a1", "a2", "a3"]


def test_the_worker_keeps_to_the_fair_order_and_positions_say_it(desk):
    desk.draw.hold.clear()
    desk.jobs.start()
    first = desk.submit(prompt="a0")
    desk.draw.painting.wait(PATIENCE)
    jobs = [desk.submit(prompt=p, owner=o) for p, o in (("a1", ANN), ("a2", ANN), ("b1", BEN))]
    assert desk.jobs.position(first.id) == 0
    assert [desk.jobs.position(job.id) for job in jobs] == [2, 3, 1]
    assert desk.jobs.counts() == {"queued": 3, "running": 1}
    assert desk.jobs.count_unfinished() == 4
    desk.draw.hold.set()
    for job in jobs:
        desk.wait_for_end(job)
    assert desk.draw.runs == ["a0", "b1", "a1", "a2"]
    assert desk.draw.owners == [ANN, BEN, ANN, ANN]
    assert desk.jobs.position(first.id) is None


def done_jobs(desk, *seconds):
    """Jobs of the kind ``draw`` that have taken so long."""
    for each in seconds:
        job = desk.submit(owner=BEN)
        desk.store.write(
            "UPDATE jobs SET state = 'done', started = created, finished = created + ? "
            "WHERE id = ?",
            (each, job.id),
        )


@pytest.fixture
def now(monkeypatch) -> list[float]:
    """The time of the queue and its worker, in seconds."""
    time = [1000.0]
    for module in (queue, worker):
        set_clock(monkeypatch, module, monotonic=lambda: time[0])
    return time


def test_a_queued_job_is_told_its_wait_once_it_is_known_how_long_its_kind_takes(desk, now):
    desk.draw.hold.clear()
    desk.jobs.start()
    running = desk.submit()
    desk.draw.painting.wait(PATIENCE)
    first, second = desk.submit(), desk.submit()
    assert desk.jobs.wait(first.id) is None, "none of its kind has ever ended"
    done_jobs(desk, 100, 90, 500)
    desk.jobs._worker.endings += 1
    now[0] += 7
    assert desk.jobs.wait(first.id) == 93
    assert desk.jobs.wait(second.id) == 193
    assert desk.jobs.wait(running.id) is None
    now[0] += 94
    assert desk.jobs.wait(first.id) is None, "the running one takes longer than usual"


def run_a_hundred_steps(desk, now, note=None) -> tuple[str, str]:
    """Ids of a job that is at 100 of 401 steps, 8 s after its first one, and of one that waits."""
    desk.draw.hold.clear()
    desk.jobs.start()
    running = desk.submit()
    assert desk.draw.painting.wait(PATIENCE)
    for seconds, step in ((0, 1), (8, 101)):
        now[0] += seconds
        desk.jobs._worker.running.saw(Progress(step, 401, note=note))
    return running.id, desk.submit().id


def test_the_pace_of_the_running_job_tells_the_wait(desk, now):
    done_jobs(desk, 1000)
    running, waiting = run_a_hundred_steps(desk, now)
    assert desk.jobs.seconds_left(running) == pytest.approx(300 * 0.08)
    assert desk.jobs.wait(waiting) == pytest.approx(300 * 0.08)
    assert desk.jobs.seconds_left(waiting) is None


def test_a_counted_download_does_not_tell_when_its_job_ends(desk, now):
    running, waiting = run_a_hundred_steps(desk, now, Message("Downloading"))
    assert desk.jobs.seconds_left(running) == pytest.approx(300 * 0.08)
    assert desk.jobs.wait(waiting) is None


def test_a_running_job_shows_its_newest_progress_and_preview(desk):
    desk.jobs.start()
    job = desk.submit(steps=200, seconds=0.01)
    wait_until(lambda: desk.jobs.get(ANN, job.id).step >= 3)
    now = desk.jobs.get(ANN, job.id)
    assert 3 <= now.step < 200
    assert str(now.note) == "Drawing"
    assert desk.jobs.preview(ANN, job.id).size == (40, 30)
    assert str(desk.jobs.words(job.id)).startswith("Stroke ")
    desk.jobs.cancel(ANN, job.id)
    desk.wait_for_end(job)
    assert desk.jobs.preview(ANN, job.id) is None
    assert desk.jobs.words(job.id) is None


def test_cancelling_takes_effect_within_a_step_and_keeps_what_is_painted(desk):
    desk.jobs.start()
    job = desk.submit(pictures=3, steps=50, seconds=0.005)
    wait_until(lambda: desk.gallery.of_job(ANN, job.id), every=0.002)
    before = desk.jobs.get(ANN, job.id).step
    desk.jobs.cancel(ANN, job.id)
    cancelled = desk.wait_for_end(job)
    assert cancelled.state == "cancelled"
    assert before <= desk.draw.stopped_after <= before + 6
    assert len(desk.gallery.of_job(ANN, job.id)) >= 1
    following = desk.submit()
    assert desk.wait_for_end(following).state == "done", "the device is free again"


def test_cancelling_a_queued_job_never_runs_it_and_an_ended_one_stays_ended(desk):
    job = desk.submit(prompt="never")
    assert desk.jobs.cancel(ANN, job.id).state == "cancelled"
    desk.jobs.start()
    done = desk.wait_for_end(desk.submit(prompt="done"))
    assert desk.jobs.cancel(ANN, done.id).state == "done"
    assert desk.draw.runs == ["done"]


def test_a_failed_job_says_why_and_can_be_sent_again(desk):
    desk.jobs.start()
    job = desk.wait_for_end(desk.submit(failure="user"))
    assert job.state == "failed"
    assert str(job.error) == "The brush has 1 hairs; it needs at least 3."
    bug = desk.wait_for_end(desk.submit(failure="bug"))
    assert str(bug.error) == "ZeroDivisionError: the canvas has no width"
    again = desk.jobs.retry(ANN, job.id)
    assert again.id != job.id
    assert again.request == job.request
    desk.wait_for_end(again)
    assert desk.wait_for_end(desk.submit()).state == "done", "the worker goes on"


def test_only_an_ended_job_is_sent_again(desk):
    with pytest.raises(BadRequest, match="still queued"):
        desk.jobs.retry(ANN, desk.submit().id)


def test_another_owner_finds_nothing(desk):
    desk.jobs.start()
    job = desk.submit(ANN)
    desk.wait_for_end(job)
    for method in (desk.jobs.get, desk.jobs.cancel, desk.jobs.retry, desk.jobs.preview):
        with pytest.raises(NotFound):
            method(BEN, job.id)
    assert desk.jobs.list(BEN) == []
    assert [each.id for each in desk.jobs.list(ANN)] == [job.id]


def test_the_queue_of_one_owner_is_limited(desk):
    desk.settings.change(queue_limit=2)
    desk.submit(), desk.submit()
    with pytest.raises(Busy, match="You have 2 jobs waiting or running; 2 are allowed"):
        desk.submit()
    desk.submit(owner=BEN)


def test_a_guest_with_a_full_quota_is_refused(desk, monkeypatch):
    desk.settings.change(guest_quota_mb=1)
    monkeypatch.setattr(desk.quota, "bytes_used", lambda owner=None: 1_200_000)
    with pytest.raises(Busy, match=r"trainings take 1\.2 MB; a guest may keep 1\.0 MB"):
        desk.submit(owner="guest-x")
    desk.submit(owner=ANN)


def test_a_full_disk_fails_the_job_with_a_sentence_and_keeps_its_request(desk, monkeypatch, caplog):
    import errno
    import os

    desk.jobs.start()

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        job = desk.wait_for_end(desk.submit())
    assert job.state == "failed"
    assert "free" in str(job.error)
    assert "outputs" not in str(job.error)  # guests read it
    assert "outputs" in caplog.text
    assert desk.gallery.search(ANN) == []
    assert not [path for path in (desk.home / "outputs").rglob("*") if path.is_file()]
    assert desk.wait_for_end(desk.jobs.retry(ANN, job.id)).state == "done"


def test_an_engine_that_finds_the_disk_full_is_told_so_in_a_sentence(desk):
    desk.jobs.start()
    job = desk.wait_for_end(desk.submit(failure="disk"))
    assert job.state == "failed"
    assert str(job.error).startswith("The disk is full: ")


def test_a_database_that_cannot_be_written_for_a_while_loses_no_job(desk, monkeypatch):
    monkeypatch.setattr("studio.core.jobs.worker.RETRY_SECONDS", 0.01)
    write, refused = desk.store.write, []

    def write_at_third_try(statement, values=(), **more):
        if statement.startswith("UPDATE jobs SET state") and len(refused) % 3 < 2:
            refused.append(statement)
            raise disk_full(4096, desk.home)
        if statement.startswith("UPDATE jobs SET state"):
            refused.append("written")
        return write(statement, values, **more)

    monkeypatch.setattr(desk.store, "write", write_at_third_try)
    desk.jobs.start()
    assert desk.wait_for_end(desk.submit()).state == "done"
    assert refused.count("written") == 2  # the start and the end
    assert len(refused) == 6


def test_a_picture_that_is_painted_while_another_program_holds_the_database_is_kept(
    desk, monkeypatch
):
    monkeypatch.setattr("studio.core.jobs.worker.RETRY_SECONDS", 0.01)
    monkeypatch.setattr("studio.core.jobs.worker.WRITE_SECONDS", 0)
    monkeypatch.setattr(desk.store, "_patience", 0.01)
    holding, waited = threading.Event(), []
    other = sqlite3.connect(desk.home / FILE_NAME, isolation_level=None, check_same_thread=False)
    save = desk.gallery.save

    def hold_then_save(*arguments):
        if not holding.is_set():
            other.execute("BEGIN IMMEDIATE")
            holding.set()
        elif other.in_transaction and len(waited) == 3:
            other.execute("COMMIT")
        waited.append(arguments)
        return save(*arguments)

    monkeypatch.setattr(desk.gallery, "save", hold_then_save)
    desk.jobs.start()
    job = desk.wait_for_end(desk.submit(pictures=2, steps=3))
    other.close()
    assert job.state == "done"
    assert len(waited) >= 4
    assert len(desk.gallery.search(ANN)) == 2


def test_a_guest_s_quota_holds_for_jobs_that_were_queued_before_it_was_reached(desk, monkeypatch):
    guest = "guest-x"
    job = desk.submit(owner=guest, pictures=3)
    monkeypatch.setattr(desk.quota, "bytes_used", lambda owner=None: len(
        desk.gallery.of_job(guest, job.id)) * 300 * 10**6)  # fmt: skip
    desk.jobs.start()
    ended = desk.wait_for_end(job)
    assert (ended.state, ended.error.values["limit"]) == ("failed", "500 MB")
    assert len(desk.gallery.of_job(guest, job.id)) == 2


def test_a_stored_request_that_is_no_longer_taken_fails_with_its_field(desk):
    job = desk.submit()
    desk.store.write('UPDATE jobs SET request = \'{"steps": "many"}\'')
    desk.jobs.start()
    assert "steps cannot be many" in str(desk.wait_for_end(job).error)
    with pytest.raises(BadRequest, match="steps cannot be many"):
        desk.jobs.retry(ANN, job.id)


def test_a_stored_request_with_a_setting_that_there_no_longer_is_is_run_without_it(desk):
    class Strict(DrawRequest, extra="forbid"):
        pass

    desk.draw.request_class = Strict
    job = desk.submit(prompt="old")
    request = json.dumps(job.request | {"brush": "soft"})
    desk.store.write("UPDATE jobs SET request = ?", (request,))
    desk.jobs.start()
    assert desk.wait_for_end(job).state == "done"
    again = desk.jobs.retry(ANN, job.id)
    assert "brush" not in again.request
    assert desk.wait_for_end(again).state == "done"


def test_a_stopped_studio_gives_its_running_job_back_to_the_queue(desk):
    desk.jobs.start()
    job = desk.submit(pictures=2, steps=500, seconds=0.005)
    desk.draw.painting.wait(PATIENCE)
    desk.jobs.close()
    assert desk.jobs.get(ANN, job.id).state == "queued"


def test_after_a_crash_running_jobs_run_again_but_not_for_ever(desk):
    job = desk.submit(prompt="deadly")
    cancelled = desk.submit(prompt="was being cancelled")
    for crash in range(3):
        desk.store.write("UPDATE jobs SET state = 'running' WHERE id = ?", (job.id,))
        if crash == 0:
            desk.store.write(
                "UPDATE jobs SET state = 'running', stopping = 1 WHERE id = ?", (cancelled.id,)
            )
        engines = {"draw": desk.draw}
        revived = Jobs(desk.store, None, engines, desk.gallery, desk.settings, desk.quota)
        revived._worker.recover()
        expected = "queued" if crash < 2 else "failed"
        assert revived.get(ANN, job.id).state == expected
    assert "3 times" in str(revived.get(ANN, job.id).error)
    assert revived.get(ANN, cancelled.id).state == "cancelled"


def test_power_cuts_do_not_end_what_goes_on_where_it_was(desk):
    """As long as it has moved on between them; one that never begins is given up like others."""
    desk.draw.resumes = True
    job = desk.submit()

    def cut(step):
        desk.store.write("UPDATE jobs SET state = 'running', step = ? WHERE id = ?", (step, job.id))
        revived = Jobs(
            desk.store, None, {"draw": desk.draw}, desk.gallery, desk.settings, desk.quota
        )
        revived._worker.recover()
        return revived.get(ANN, job.id).state

    assert [cut(step) for step in (40, 80, 0, 0, 90, 120, 0, 0, 0)] == ["queued"] * 8 + ["failed"]


def test_what_was_saved_before_a_crash_is_not_saved_twice(desk):
    job = desk.submit(pictures=2)
    from PIL import Image

    saved = desk.gallery.save(ANN, job.id, 0, "draw", Image.new("RGB", (8, 8)), {"prompt": "x"})
    desk.jobs.start()
    desk.wait_for_end(job)
    rows = desk.gallery.of_job(ANN, job.id)
    assert [row.position for row in rows] == [0, 1]
    assert rows[0].id == saved.id


def test_many_threads_submit_at_once_and_nothing_is_lost(desk):
    desk.settings.change(queue_limit=1000)
    threads = [threading.Thread(target=desk.submit) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    desk.jobs.start()
    jobs = desk.jobs.list(ANN, limit=100)
    assert len({job.id for job in jobs}) == 20
    assert all(desk.wait_for_end(job).state == "done" for job in jobs)
    json.dumps([job.request for job in jobs])


def test_jobs_that_came_to_nothing_are_kept_for_a_while_only(desk, monkeypatch):
    """Else sending and cancelling in a loop would fill the disk."""
    monkeypatch.setattr("studio.core.jobs.queue.KEPT_IN_VAIN", 3)
    theirs = desk.submit(BEN)
    desk.jobs.cancel(BEN, theirs.id)
    jobs = []
    for number in range(6):
        jobs.append(desk.submit(prompt=str(number)))
        desk.jobs.cancel(ANN, jobs[-1].id)
    waiting = desk.submit(prompt="waiting")
    assert [job.id for job in desk.jobs.list(ANN)] == [each.id for each in (waiting, *jobs[:2:-1])]
    assert [job.id for job in desk.jobs.list(BEN)] == [theirs.id]
    monkeypatch.setattr("studio.core.jobs.queue.KEPT_IN_VAIN_BYTES", 200)
    desk.jobs.cancel(ANN, desk.submit(prompt="x" * 500).id)
    desk.submit(prompt="another")
    assert [job.state for job in desk.jobs.list(ANN)] == ["queued", "queued"]


def test_what_can_be_gone_on_with_and_what_has_pictures_stays(desk, monkeypatch):
    monkeypatch.setattr("studio.core.jobs.queue.KEPT_IN_VAIN", 0)
    desk.jobs.start()
    done = desk.wait_for_end(desk.submit())
    slow = desk.submit(pictures=2, seconds=0.05)
    wait_until(lambda: len(desk.gallery.of_job(ANN, slow.id)) == 1)
    desk.jobs.cancel(ANN, slow.id)
    desk.wait_for_end(slow)
    desk.wait_for_end(desk.submit())
    kept = {job.id: job.state for job in desk.jobs.list(ANN)}
    assert kept[done.id] == "done"
    assert kept[slow.id] == "cancelled"
    desk.draw.resumes = True
    failed = desk.wait_for_end(desk.submit(failure="user"))
    desk.submit()
    assert failed.id in {job.id for job in desk.jobs.list(ANN)}


def test_jobs_are_listed_page_by_page(desk):
    jobs = [desk.submit(prompt=str(number)) for number in range(5)]
    first = desk.jobs.list(ANN, limit=2)
    assert [job.id for job in first] == [jobs[4].id, jobs[3].id]
    rest = desk.jobs.list(ANN, limit=9, before=first[-1].id)
    assert [job.id for job in rest] == [job.id for job in jobs[2::-1]]
    assert desk.jobs.list(BEN, before=jobs[4].id) == []


# --- the device, lent between jobs ----------------------------------------------------------


def test_the_device_is_lent_while_there_is_no_job_and_to_one_at_a_time(desk):
    desk.jobs.start()
    with desk.jobs.lend_device(threading.Event(), 0) as is_lent:
        assert is_lent
        with desk.jobs.lend_device(threading.Event(), 0) as is_lent_again:
            assert not is_lent_again
    with desk.jobs.lend_device(threading.Event(), PATIENCE) as is_lent:
        assert is_lent


def test_a_job_that_comes_stops_who_has_the_device_and_begins_after_that(desk):
    desk.jobs.start()
    stop = threading.Event()
    with desk.jobs.lend_device(stop, PATIENCE) as is_lent:
        assert is_lent
        assert not stop.is_set()
        job = desk.submit()
        assert stop.wait(PATIENCE)
        assert not desk.draw.runs
    assert desk.wait_for_end(job).state == "done"


def test_queued_and_running_jobs_come_before_who_would_borrow_the_device(desk):
    queued = desk.submit(prompt="waits for the worker to start")
    with desk.jobs.lend_device(threading.Event(), 0) as is_lent:
        assert not is_lent
    desk.draw.hold.clear()
    desk.jobs.start()
    desk.draw.painting.wait(PATIENCE)
    with desk.jobs.lend_device(threading.Event(), 0) as is_lent:
        assert not is_lent
    desk.draw.hold.set()
    with desk.jobs.lend_device(threading.Event(), PATIENCE) as is_lent:
        assert is_lent
        assert desk.wait_for_end(queued).state == "done"


def test_a_close_stops_who_has_the_device_and_lends_it_to_nobody_after(desk):
    desk.jobs.start()
    stop = threading.Event()
    with desk.jobs.lend_device(stop, PATIENCE):
        desk.jobs.close()
        assert stop.is_set()
    with desk.jobs.lend_device(threading.Event(), PATIENCE) as is_lent:
        assert not is_lent
