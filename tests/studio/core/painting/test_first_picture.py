"""What is done before the first picture is asked for, and when it is left alone."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from pipelines.core.errors import Stopped, UserError
from pipelines.core.events import Progress
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.models.catalog import Catalog
from studio.core.jobs.queue import Jobs
from studio.core.painting.first_picture import KIND, model_to_prepare, prepare_first_picture
from tests.studio.core.jobs.test_jobs import ANN, Desk

GB = 10**9
STARTER = TextToImageRequest(prompt="").model  # as the page opens


class Brush:
    """An engine that takes two steps, and calls ``at_step`` before each."""

    request_class = TextToImageRequest

    def __init__(self) -> None:
        self.painted: list[str] = []
        self.steps = 0
        self.at_step = lambda: None

    def run(self, request, cache, stop, owner=""):
        for _ in range(2):
            self.at_step()
            if stop.is_set():
                raise Stopped
            self.steps += 1
            yield Progress(self.steps, 2)
        self.painted.append(request.model)


class Models:
    """A model cache that says what was brought to the device."""

    def __init__(self) -> None:
        self.budget_bytes, self.warmed = 4 * GB, []

    def expected_bytes(self, name):
        return 0.15 * 4 * GB

    def warm(self, name, stop):
        self.warmed.append(name)
        yield Progress(0, 0)


class PaintingDesk(Desk):
    """A studio whose engine is a brush."""

    def __init__(self, home) -> None:
        super().__init__(home)
        self.brush, self.cache = Brush(), Models()
        engines = {KIND: self.brush}
        self.jobs = Jobs(self.store, None, engines, self.gallery, self.settings, self.quota)
        self.features = SimpleNamespace(engines=lambda: engines)
        self.device = SimpleNamespace(prepare=lambda: self.cache)
        self.catalog = Catalog(self.home)

    def queue(self, **fields):
        return self.jobs.submit(ANN, KIND, TextToImageRequest(prompt="", **fields))


@pytest.fixture
def desk(tmp_path):
    desk = PaintingDesk(tmp_path / "home")
    yield desk
    desk.close()


def test_the_starter_is_loaded_and_paints_once_before_anybody_asks(desk):
    assert prepare_first_picture(desk)
    assert desk.cache.warmed == desk.brush.painted == [STARTER]
    assert desk.jobs.counts() == {"queued": 0, "running": 0}
    assert not desk.gallery.search(ANN), "nobody sees it"


def test_with_a_job_in_the_queue_nothing_is_prepared(desk):
    desk.queue()
    assert not prepare_first_picture(desk)
    assert not desk.cache.warmed


def test_a_job_that_comes_meanwhile_ends_it_at_the_next_step(desk):
    came = threading.Event()

    def come():
        if not came.is_set():
            came.set()
            desk.jobs.start()
            desk.queue()
            while not desk.jobs.counts()["running"]:
                came.wait(0.01)

    desk.brush.at_step = come
    assert not prepare_first_picture(desk)
    assert desk.cache.warmed == [STARTER]


def test_what_cannot_be_loaded_is_nobodys_error(desk, monkeypatch):
    def fail(name, stop):
        raise UserError("no memory")

    monkeypatch.setattr(desk.cache, "warm", fail)
    assert not prepare_first_picture(desk)


def test_only_a_shipped_model_that_the_page_opens_with_is_loaded_unasked(desk):
    assert model_to_prepare(desk) == STARTER
    desk.queue(model="sd15")
    assert model_to_prepare(desk) is None, "its owner paints with another"
    desk.queue(model="gone")
    assert model_to_prepare(desk) is None
    desk.queue()
    assert model_to_prepare(desk) == STARTER


def test_where_memory_is_short_nothing_is_loaded_unasked(desk):
    desk.cache.budget_bytes = 4 * GB - 1
    assert model_to_prepare(desk) is None
