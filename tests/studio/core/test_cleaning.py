"""Cleaning up is a job of the host's: with progress, and to be stopped between two things."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pipelines.core.errors import Refused, Stopped
from pipelines.core.events import Progress, Result
from studio.app import open_studio
from studio.core.accounts.accounts import LOCAL_OWNER, Owner
from studio.core.cleaning import KIND, CleaningEngine, CleaningRequest, Cleanings
from studio.core.gallery.gallery import Gallery
from studio.core.home import prepare_home
from studio.core.jobs.queue import Jobs
from studio.core.jobs.record import CANCELLED, DONE
from studio.core.quota import Quota
from studio.core.services import Options
from studio.core.settings import StoredSettings
from studio.core.store import Store
from tests.patience import PATIENCE, wait_until


def test_what_can_go_is_looked_for_first_then_told_as_it_goes():
    asked = []

    def clean(dry_run: bool) -> Iterator[int]:
        asked.append(dry_run)
        yield from (1000, 2000, 3000)

    *steps, result = CleaningEngine(clean).run(CleaningRequest(), None, threading.Event())
    assert asked == [True, False]
    assert [(each.step, each.total) for each in steps if isinstance(each, Progress)] == [
        *((0, 0), (1000, 6000), (3000, 6000), (6000, 6000))
    ]
    assert str(steps[2].note) == "3.0 kB of 6.0 kB freed"
    assert isinstance(result, Result)
    assert result.data["freed"] == 6000


@pytest.mark.parametrize("dry_run", [True, False])
def test_it_is_stopped_between_two_things_and_leaves_the_rest(dry_run):
    stop, done = threading.Event(), []

    def clean(dry: bool) -> Iterator[int]:
        for number in range(5):
            done.append((dry, number))
            if (dry, number) == (dry_run, 2):
                stop.set()
            yield 1

    with pytest.raises(Stopped):
        list(CleaningEngine(clean).run(CleaningRequest(), None, stop))
    assert done[-1] == (dry_run, 2)


@pytest.fixture
def desk(tmp_path) -> Iterator[tuple[Jobs, Cleanings, threading.Event]]:
    """A queue whose cleaning waits within its second thing."""
    home, go_on = prepare_home(tmp_path / "home"), threading.Event()

    def clean(dry_run: bool) -> Iterator[int]:
        yield 10
        assert dry_run or go_on.wait(PATIENCE)
        yield 20
        yield 30

    store = Store(home)
    settings = StoredSettings(store)
    gallery = Gallery(store, home, settings)
    jobs = Jobs(store, None, {}, gallery, settings, Quota(settings), {KIND: CleaningEngine(clean)})
    yield jobs, Cleanings(jobs), go_on
    go_on.set()
    jobs.close()
    store.close()


def test_there_is_one_at_a_time_and_it_can_be_cancelled(desk):
    jobs, cleanings, go_on = desk
    jobs.start()
    job = cleanings.begin(LOCAL_OWNER)
    assert cleanings.begin(LOCAL_OWNER).id == job.id
    wait_until(lambda: cleanings.newest(LOCAL_OWNER).step == 10)
    jobs.cancel(LOCAL_OWNER.id, job.id)
    go_on.set()
    ended = wait_until(lambda: (now := cleanings.newest(LOCAL_OWNER)).ended and now)
    assert (ended.id, ended.state, ended.step) == (job.id, CANCELLED, 30)  # what was at work goes
    again = cleanings.begin(LOCAL_OWNER)
    assert again.id != job.id
    ended = wait_until(lambda: (now := cleanings.newest(LOCAL_OWNER)).ended and now)
    assert (ended.state, ended.step, ended.result["freed"]) == (DONE, 60, 60)


def test_only_the_host_cleans_up(desk):
    _, cleanings, _ = desk
    guest = Owner("guest-1", "guest", is_host=False)
    with pytest.raises(Refused, match="Only the host"):
        cleanings.begin(guest)
    assert cleanings.newest(guest) is None


def test_a_studio_cleans_up_what_it_says(tmp_path):
    studio = open_studio(Options(tmp_path / "home", device="cpu", offline=True))
    try:
        thumbnails = studio.gallery._thumbnails
        thumbnails.mkdir(parents=True, exist_ok=True)
        for number in range(3):
            (thumbnails / f"{number}.webp").write_bytes(bytes(100))
        assert sum(studio.cleaner.clean_up(dry_run=True)) == 300
        studio.jobs._chores.start()
        job = studio.cleanings.begin(LOCAL_OWNER)
        ended = wait_until(lambda: (now := studio.jobs.get("local", job.id)).ended and now)
        assert (ended.state, ended.result["freed"]) == (DONE, 300)
        assert sum(studio.cleaner.clean_up(dry_run=True)) == 0
    finally:
        studio.close()
