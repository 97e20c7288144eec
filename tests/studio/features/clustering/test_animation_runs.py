"""Animations of algorithms: what they show is tested with the pipelines; here, who waits."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from pipelines.clustering.data.sample_data import DatasetRequest, make
from pipelines.core.errors import BadRequest, Busy, NotFound, Stopped, Unavailable
from studio.core.accounts.accounts import Owner
from studio.features.clustering.results import animation_runs
from studio.features.clustering.results.animation_runs import Animations
from tests.patience import PATIENCE, PROMPTLY, wait_until

ADA, BOB, EVE = (Owner(name, name, is_host=False) for name in ("ada", "bob", "eve"))


class Data:
    """As much of the data sets as animations ask for: everybody has moons and a gigantic one."""

    moons = make(DatasetRequest(name="moons", points=120))
    huge = make(DatasetRequest(name="moons", points=120))
    huge.X[:] *= 5e149  # data sets have nothing above 1e150

    def get(self, owner_id: str, id: str):
        if not hasattr(self, id):
            raise NotFound("You have no data set {id}. Make it again.", id=id)

    def dataset(self, owner_id: str, id: str):
        return getattr(self, id)


@pytest.fixture
def service() -> Animations:
    return Animations(Data())


def animation(
    made: Animations, owner: Owner = ADA, language: str = "en", stop=None, **asked
) -> dict:
    body = made.make(owner, {"data": "moons", **asked}, language, stop or threading.Event())
    return json.loads(body)


def test_an_animation_is_json_with_its_note_in_the_visitors_language(service):
    here = animation(service)
    assert set(here) == {
        "algorithm", "parameters", "points", "rows", "steps", "frames", "radius", "note"
    }  # fmt: skip
    assert "best of 10" in here["note"]
    assert "10" in animation(service, language="zh")["note"]
    assert animation(service, language="zh")["note"] != here["note"]
    assert animation(service, algorithm="dbscan")["note"] is None


def test_bad_requests_and_others_data_are_refused(service):
    with pytest.raises(NotFound, match="no data set nothing"):
        animation(service, data="nothing")
    with pytest.raises(BadRequest, match="no setting called colour"):
        animation(service, colour="red")
    with pytest.raises(BadRequest, match="Data is missing"):
        service.make(ADA, {}, "en", threading.Event())


@pytest.mark.parametrize("algorithm", ["kmeans", "dbscan", "agglomerative", "mixture"])
def test_the_largest_numbers_that_data_can_have_are_no_infinity(service, algorithm):
    body = service.make(ADA, {"data": "huge", "algorithm": algorithm}, "en", threading.Event())
    here = json.loads(body, parse_constant=lambda name: pytest.fail(name))
    assert len(here["points"]) == 120


class Slow:
    """Stands for an animation: goes on until it is stopped, and counts how many do at once."""

    def __init__(self) -> None:
        self.now, self.most, self.entered = 0, 0, threading.Semaphore(0)
        self.lock = threading.Lock()

    def __call__(self, owner, request, data, seen, stop):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.entered.release()
        ended = stop.wait(PATIENCE)
        with self.lock:
            self.now -= 1
        if ended:
            raise Stopped
        return {"notes": []}


@pytest.fixture
def slow(monkeypatch) -> Slow:
    slow = Slow()
    monkeypatch.setattr(animation_runs, "animate", slow)
    return slow


def test_what_takes_too_long_ends_with_a_sentence(service, slow, monkeypatch):
    monkeypatch.setattr(animation_runs, "LIMIT_SECONDS", 0.2)
    with pytest.raises(BadRequest, match="takes longer than 0 s"):
        animation(service)
    with pytest.raises(BadRequest):  # the turn was given back
        animation(service)


def test_who_has_gone_stops_an_animation_that_runs_or_waits(service, slow):
    gone, errors = (threading.Event(), threading.Event()), []

    def ask(stop) -> None:
        try:
            animation(service, stop=stop)
        except Stopped:
            errors.append("stopped")

    first = threading.Thread(target=ask, args=gone[:1])
    first.start()
    assert slow.entered.acquire(timeout=PATIENCE)
    second = threading.Thread(target=ask, args=gone[1:])
    second.start()
    assert slow.most == 1  # one at a time for an owner
    gone[1].set()
    second.join(PATIENCE)
    assert errors == ["stopped"]
    gone[0].set()
    first.join(PATIENCE)
    assert errors == ["stopped"] * 2


def test_an_owner_who_asks_for_many_at_once_does_not_fill_all_places(slow, monkeypatch):
    monkeypatch.setattr(animation_runs, "EACH_WAITS", 1)
    made = Animations(Data())
    stop = threading.Event()

    def ask() -> None:
        with contextlib.suppress(Stopped):
            animation(made, stop=stop)

    first = threading.Thread(target=ask)
    first.start()
    assert slow.entered.acquire(timeout=PATIENCE)
    with pytest.raises(Busy):
        animation(made)
    stop.set()
    first.join(PATIENCE)
    stop.clear()
    monkeypatch.setattr(animation_runs, "animate", lambda *_: {"notes": []})
    assert animation(made) == {"note": None}


def test_a_third_owner_waits_and_hears_after_a_while_that_others_are_at_it(
    service, slow, monkeypatch
):
    monkeypatch.setattr(animation_runs, "WAIT_SECONDS", 0.3)
    stop = threading.Event()
    others = []

    def ask(owner: Owner) -> None:
        with contextlib.suppress(Stopped):
            animation(service, owner, stop=stop)

    for owner in (ADA, BOB):
        other = threading.Thread(target=ask, args=(owner,))
        other.start()
        others.append(other)
        assert slow.entered.acquire(timeout=PATIENCE)
    with pytest.raises(Busy, match="Other animations"):
        animation(service, EVE)
    assert slow.most == 2
    stop.set()
    for other in others:
        other.join(PATIENCE)
    with pytest.raises(Stopped):
        animation(service, EVE, stop=stop)


def compute_here(owner, function, X, arguments, umap):
    return function(X=X, **arguments)


class Umap:
    """Stands for UMAP's class, in whose place it lays points out until it is let go."""

    def __init__(self) -> None:
        self.free, self.made = threading.Event(), 0

    def __call__(self, **settings):
        return self

    def fit_transform(self, X):
        self.made += 1
        assert self.free.wait(PATIENCE)
        return X[:, :2]


@pytest.fixture
def umap(monkeypatch):
    umap = Umap()
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=umap))
    monkeypatch.setattr(Data, "moons", make(DatasetRequest(name="iris")))  # has four columns
    monkeypatch.setattr(animation_runs, "LIMIT_SECONDS", 0.3)
    monkeypatch.setattr(animation_runs, "compute", compute_here)
    yield umap
    umap.free.set()


def test_umap_ends_with_the_limit_too_and_is_there_when_asked_again(service, umap, monkeypatch):
    asked = {"projection": "umap", "algorithm": "dbscan"}
    started = time.monotonic()
    for _ in range(3):
        with pytest.raises(BadRequest, match="It goes on: ask again"):
            animation(service, **asked)
    assert time.monotonic() - started < PROMPTLY
    wait_until(lambda: umap.made)
    assert umap.made == 1
    umap.free.set()
    monkeypatch.setattr(animation_runs, "LIMIT_SECONDS", PATIENCE)
    assert len(animation(service, **asked)["points"]) == 150
    assert len(animation(service, projection="umap", algorithm="kmeans")["points"]) == 150
    assert umap.made == 1
    animation(service, **asked, scaling="standard")
    assert umap.made == 2


def test_who_has_gone_does_not_wait_for_umap(service, umap, monkeypatch):
    monkeypatch.setattr(animation_runs, "LIMIT_SECONDS", PATIENCE)
    gone = threading.Event()
    threading.Timer(0.2, gone.set).start()
    with pytest.raises(Stopped):
        animation(service, projection="umap", algorithm="dbscan", stop=gone)
    assert not umap.free.is_set()


def test_what_umap_refuses_is_said_each_time(service, monkeypatch):
    monkeypatch.setattr(Data, "moons", make(DatasetRequest(name="iris")))
    monkeypatch.setitem(sys.modules, "umap", None)
    monkeypatch.setattr(animation_runs, "compute", compute_here)
    for _ in range(2):
        with pytest.raises(Unavailable, match="umap-learn"):
            animation(service, projection="umap")


def test_the_limit_of_an_animation_ends_with_it():
    before = threading.active_count()
    with animation_runs._limit_time(threading.Event()) as timed:
        assert not timed.is_set()
    assert threading.active_count() <= before
    assert timed.is_set()
