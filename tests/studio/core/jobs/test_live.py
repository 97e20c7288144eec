"""Live painting: what is painted beside the queue, for whom, and when it gives way."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from pipelines.core.errors import Stopped
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.messages import Message
from pipelines.diffusion.requests import TextToImageRequest
from studio.core.accounts.accounts import Owner
from studio.core.jobs import live
from studio.core.jobs.live import LivePainting, Pace, TooSlow, Waits
from tests.patience import PATIENCE, wait_until
from tests.studio.core.jobs.test_jobs import Desk

KIND = "text_to_image"
ANN, BEN = Owner("ann", "Ann", False), Owner("ben", "Ben", False)


class Brush:
    """An engine of four steps that waits before each until ``go`` is released once."""

    request_class = TextToImageRequest

    def __init__(self) -> None:
        self.go, self.begun = threading.Semaphore(0), threading.Semaphore(0)
        self.painted: list[str] = []
        self.steps = 0

    def load(self) -> None: ...

    def run(self, request, cache, stop, owner=""):
        self.painted.append(f"{owner}: {request.prompt}")
        self.begun.release()
        for step in range(1, 5):
            while not self.go.acquire(timeout=0.01):
                if stop.is_set():
                    raise Stopped
            self.steps += 1
            yield Progress(step, 4)
        yield Picture(request.prompt, request, 0.1)
        yield Result({"notes": [Message("A note.").to_json()]})


class LiveDesk(Desk):
    """A queue, and live painting beside it with a brush that the test moves."""

    def __init__(self, home) -> None:
        super().__init__(home)
        self.brush, self.cache = Brush(), None
        self.submissions = SimpleNamespace(
            check=lambda owner, kind, fields: TextToImageRequest(**fields),
            engine=lambda kind: self.brush,
        )
        self.live = LivePainting(self.submissions, self.jobs, self.cache)
        self.threads = ThreadPoolExecutor(8)
        self.jobs.start()

    def wish(self, owner: Owner, prompt: str, **fields):
        return self.threads.submit(
            self.live.paint, owner, KIND, {"prompt": prompt, **fields}, threading.Event()
        )

    def close(self):
        self.live.close()
        super().close()
        self.threads.shutdown()


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "WAIT_SECONDS", PATIENCE)
    desk = LiveDesk(tmp_path / "home")
    yield desk
    desk.close()


def list_waiting(desk: LiveDesk) -> set[str]:
    return set(desk.live._waiting)


def test_of_wishes_that_wait_the_newest_of_each_owner_is_painted_and_owners_take_turns(desk):
    first = desk.wish(ANN, "a1")
    assert desk.brush.begun.acquire(timeout=PATIENCE)
    older = desk.wish(ANN, "a2")
    wait_until(lambda: list_waiting(desk) == {"ann"})
    newest = desk.wish(ANN, "a3")
    with pytest.raises(Stopped):
        older.result(PATIENCE)
    others = desk.wish(BEN, "b1")
    wait_until(lambda: list_waiting(desk) == {"ann", "ben"})
    desk.brush.go.release(12)
    pictures = [each.result(PATIENCE) for each in (first, newest, others)]
    assert [each.image for each in pictures] == ["a1", "a3", "b1"]
    assert desk.brush.painted == ["ann: a1", "ben: b1", "ann: a3"]  # Ben was not served yet
    assert pictures[0].notes == (Message("A note."),)


def test_a_job_that_is_queued_stops_a_live_picture_within_one_step_and_comes_first(desk):
    wish = desk.wish(ANN, "a mug")
    desk.brush.go.release()
    wait_until(lambda: desk.brush.steps == 1)
    job = desk.submit(owner="ben")
    with pytest.raises(Waits, match="until the jobs in the queue are done"):
        wish.result(PATIENCE)
    assert desk.brush.steps == 1
    assert desk.wait_for_end(job).state == "done"
    desk.brush.go.release(4)
    assert desk.wish(ANN, "a mug").result(PATIENCE).image == "a mug"


def test_while_a_job_runs_a_wish_waits_and_is_painted_after_it(desk):
    desk.draw.hold.clear()
    job = desk.submit()
    assert desk.draw.painting.wait(PATIENCE)
    wish = desk.wish(ANN, "a mug")
    desk.brush.go.release(4)
    wait_until(lambda: list_waiting(desk) == {"ann"})
    assert not desk.brush.painted
    desk.draw.hold.set()
    assert wish.result(PATIENCE).image == "a mug"
    assert desk.wait_for_end(job).state == "done"


def test_of_wishes_that_wait_for_a_job_the_older_is_given_up_and_not_told_to_ask_again(desk):
    desk.draw.hold.clear()
    desk.submit()
    assert desk.draw.painting.wait(PATIENCE)
    older = desk.wish(ANN, "a1")
    wait_until(lambda: list_waiting(desk) == {"ann"})
    first = desk.live._waiting["ann"]
    newer = desk.wish(ANN, "a2")
    wait_until(lambda: desk.live._waiting.get("ann") not in (None, first))
    desk.brush.go.release(4)
    desk.draw.hold.set()
    with pytest.raises(Stopped):
        older.result(PATIENCE)
    assert newer.result(PATIENCE).image == "a2"
    assert desk.brush.painted == ["ann: a2"]


def test_a_job_that_takes_long_is_said_and_asked_about_again(desk, monkeypatch):
    monkeypatch.setattr(live, "WAIT_SECONDS", 0.0)
    desk.draw.hold.clear()
    desk.submit()
    assert desk.draw.painting.wait(PATIENCE)
    with pytest.raises(Waits, match="until the jobs"):
        desk.wish(ANN, "a mug").result(PATIENCE)


def test_more_wishes_than_there_is_room_for_are_told_to_wait(desk, monkeypatch):
    monkeypatch.setattr(live, "MAX_WAITING", 1)
    desk.wish(ANN, "a1")
    assert desk.brush.begun.acquire(timeout=PATIENCE)
    waits = desk.wish(BEN, "b1")
    wait_until(lambda: list_waiting(desk) == {"ben"})
    with pytest.raises(Waits, match="others paint live too"):
        desk.wish(Owner("cid", "Cid", False), "c1").result(PATIENCE)
    newer = desk.wish(BEN, "b2")  # takes the place of one's own
    with pytest.raises(Stopped):
        waits.result(PATIENCE)
    desk.brush.go.release(8)
    assert newer.result(PATIENCE).image == "b2"


def test_a_close_ends_what_waits_and_what_is_painted(desk):
    painted = desk.wish(ANN, "a1")
    assert desk.brush.begun.acquire(timeout=PATIENCE)
    waits = desk.wish(BEN, "b1")
    wait_until(lambda: list_waiting(desk) == {"ben"})
    desk.live.close()
    desk.jobs.close()
    for each in (painted, waits):
        with pytest.raises((Stopped, Waits)):
            each.result(PATIENCE)


def test_one_picture_is_painted_whose_seeds_stay_and_the_rest_is_left_out(desk):
    desk.brush.go.release(8)
    asked = {"batch_count": 4, "batch_size": 2, "hires": {"scale": 2}, "detail_fix": {},
             "variation": {"seed": -1, "strength": 0.3}}  # fmt: skip
    first = desk.wish(ANN, "a mug", **asked).result(PATIENCE)
    drawn = TextToImageRequest(**first.request)
    assert (drawn.batch_count, drawn.batch_size, drawn.hires, drawn.detail_fix) == (
        1,
        1,
        None,
        None,
    )
    assert drawn.seed >= 0
    assert drawn.variation.seed >= 0
    assert first.left_out == ("batch_count", "batch_size", "hires", "detail_fix")
    again = desk.wish(ANN, "a mug", **asked, seed=drawn.seed).result(PATIENCE)
    assert again.request == first.request


# --- how long a picture takes ---------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def make_pace(is_first: bool, *events: tuple[float, Progress | Picture]) -> Pace:
    clock = Clock()
    pace = Pace(is_first, clock)
    for seconds, event in events:
        clock.time += seconds
        pace.see(event)
    return pace


NOTE = Progress(0, 4, note=Message("Loading {model}", model="starter"))
STEPS = [Progress(step, 4) for step in range(1, 5)]


def test_loading_and_preparing_do_not_count():
    pace = make_pace(False, (0.1, NOTE), (60, NOTE), (60, STEPS[0]), (0.5, STEPS[1]))
    assert pace.seconds == pytest.approx(0.6)


def test_the_first_step_of_a_first_picture_does_not_count_and_the_others_tell_its_pace():
    slow_start = [(9.0, STEPS[0]), (0.1, STEPS[1]), (0.1, STEPS[2])]
    assert make_pace(True, *slow_start[:1]).estimate() == 0
    assert make_pace(True, *slow_start).estimate() == pytest.approx(0.4)
    assert make_pace(False, *slow_start).estimate() == pytest.approx(9.2)
    slow_steps = [(0.1, STEPS[0]), (3.0, STEPS[1])]
    assert make_pace(False, *slow_steps).estimate() == pytest.approx(12.0)


def test_a_picture_that_takes_too_long_is_given_up_with_a_sentence(desk):
    desk.live.limit = -1.0
    desk.brush.go.release(8)
    desk.live._seen[(KIND, "starter", None, None)] = None
    with pytest.raises(
        TooSlow, match=r"Live is off: a picture takes about \d+\.\d s .* Take fewer steps"
    ):
        desk.wish(ANN, "a mug").result(PATIENCE)
    assert desk.brush.steps == 1
    with desk.jobs.lend_device(threading.Event(), PATIENCE) as is_free:
        assert is_free
