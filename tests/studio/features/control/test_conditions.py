"""Maps for people who still draw: whose, how many at once, and what is said meanwhile."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
from PIL import Image

from pipelines.core.errors import Busy, NotFound
from pipelines.core.events import Progress
from pipelines.core.messages import Message
from pipelines.diffusion.control.requests import ConditionRequest
from studio.core.accounts.accounts import LOCAL_OWNER
from studio.features.control import conditions
from studio.features.control.conditions import AT_ONCE, Conditions
from studio.page.widgets import Visitor
from tests.patience import PATIENCE, wait_until

PICTURE = "0" * 32
WITH_WEIGHTS, WITHOUT = "depth_midas", "canny"
VISITOR = Visitor(LOCAL_OWNER, "en")


def request(preprocessor=WITHOUT) -> ConditionRequest:
    return ConditionRequest(picture=PICTURE, preprocessor=preprocessor)


@pytest.fixture
def desk(tmp_path):
    def get(owner, id):
        if owner != LOCAL_OWNER.id or id != PICTURE:
            raise NotFound("none")

    return Conditions(tmp_path, None, SimpleNamespace(get=get))


@pytest.fixture
def slow(monkeypatch):
    """Maps that take a moment, or until there are ``slow.together``.

    ``slow.most`` is how many were being made at once.
    """
    seen = SimpleNamespace(now=0, most=0, together=1, lock=threading.Lock())

    def condition_map(request, size, home, cache, stop):
        with seen.lock:
            seen.now += 1
            seen.most = max(seen.most, seen.now)
        yield Progress(0, 1, note=Message("Reading the picture: {preprocessor}", preprocessor="x"))
        wait_until(lambda: seen.most >= seen.together)
        time.sleep(0.05)  # in which more than may be would come
        with seen.lock:
            seen.now -= 1
        yield Image.new("RGB", size)

    monkeypatch.setattr(conditions, "condition_map", condition_map)
    return seen


def ask_for(desk, preprocessor, count):
    threads = [
        threading.Thread(target=desk.map, args=(LOCAL_OWNER, request(preprocessor), (64, 64)))
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)


def test_maps_with_weights_are_made_one_at_a_time(desk, slow):
    ask_for(desk, WITH_WEIGHTS, 4)
    assert slow.most == 1


def test_maps_without_weights_are_made_some_at_a_time(desk, slow):
    slow.together = 2
    ask_for(desk, WITHOUT, 2 * AT_ONCE)
    assert 1 < slow.most <= AT_ONCE


def test_who_waits_too_long_is_told_so_and_others_go_on(desk, slow, monkeypatch):
    monkeypatch.setattr(conditions, "WAIT_SECONDS", 0.01)
    with desk._with_weights.take("somebody else"):
        with pytest.raises(Busy, match="Other maps are being made"):
            desk.map(LOCAL_OWNER, request(WITH_WEIGHTS), (64, 64))
        assert desk.map(LOCAL_OWNER, request(WITHOUT), (64, 72)).size == (64, 72)


def test_a_failure_gives_the_turn_back(desk, monkeypatch):
    def fails(*_):
        raise RuntimeError("broken")
        yield

    monkeypatch.setattr(conditions, "condition_map", fails)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            desk.map(LOCAL_OWNER, request(WITH_WEIGHTS), (64, 64))


def test_progress_is_told(desk, slow):
    told = []
    desk.map(LOCAL_OWNER, request(), (64, 64), told.append)
    assert [str(progress.note) for progress in told] == ["Reading the picture: x"]


def test_the_map_of_a_picture_has_its_settings_and_size(desk, monkeypatch):
    asked = []

    def condition_map(request, size, *_):
        asked.append((request, size))
        yield Image.new("RGB", size)

    unit = {"picture": PICTURE, "preprocessor": "canny", "parameters": {"low": 3},
            "resize_mode": "pad", "model": "gone", "weight": 0.5}  # fmt: skip
    row = SimpleNamespace(id="x", request={"units": [unit]}, width=64, height=96)
    gallery = SimpleNamespace(get=lambda owner, id: row)
    monkeypatch.setattr(conditions, "condition_map", condition_map)
    assert desk.of_picture(LOCAL_OWNER, gallery, "x", 0).size == (64, 96)
    (request, size), *_ = asked
    assert (request.parameters, request.resize_mode, size) == ({"low": 3}, "pad", (64, 96))
    for number in (-1, 1):
        with pytest.raises(NotFound, match="followed 1 maps"):
            desk.of_picture(LOCAL_OWNER, gallery, "x", number)
    unit["picture"] = "1" * 32
    with pytest.raises(NotFound):
        desk.of_picture(LOCAL_OWNER, gallery, "x", 0)
