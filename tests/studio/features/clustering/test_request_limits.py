"""Who computes next of those that ask for plots and results, and who is refused or leaves."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from starlette.exceptions import HTTPException

from pipelines.core.errors import Busy, Stopped
from studio.features.clustering import request_limits
from studio.features.clustering.data import api as data_api
from studio.features.clustering.plot.cache import PlotCache
from studio.features.clustering.plot.point_view import View
from studio.features.clustering.plot.points import Plotted
from studio.features.clustering.request_limits import EACH_ASKED, RequestLimits
from studio.features.clustering.results.api import RequestedResult
from tests.patience import PATIENCE

PLOTTED = Plotted(np.zeros((1, 2), np.float32), np.zeros(1, np.uint32), {}, ())
UMAP = View(dims=2, projection="umap", scaling="none")


class Asker:
    """A client, which may leave."""

    def __init__(self) -> None:
        self.gone = False

    async def is_disconnected(self) -> bool:
        return self.gone


class Points:
    """A studio whose plots are made when the test lets them; names of data begin with the owner."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[str] = []
        self.askers: dict[asyncio.Task, Asker] = {}
        self.gates: dict[str, threading.Event] = {}
        self.limits, self.over = RequestLimits(), False
        self.studio: Any = SimpleNamespace(
            cluster_data=SimpleNamespace(
                get=lambda owner, name: SimpleNamespace(id=name),
                dataset=lambda owner, name: name,
            ),
            cluster_plots=PlotCache(),
            cluster_limits=self.limits,
            clusterings=SimpleNamespace(of=lambda owner, name: name),
        )
        monkeypatch.setattr(data_api, "plot_points", self._plot)

    def run(self, test: Coroutine[Any, Any, None]) -> None:
        """Runs a test; should it fail, nobody waits for what is being made."""

        async def body() -> None:
            try:
                await test
            finally:
                self.over = True
                for asker in self.askers.values():
                    asker.gone = True
                await asyncio.gather(*self.askers, return_exceptions=True)

        asyncio.run(body())

    def _plot(self, owner, name, dims, projection, scaling, stop: threading.Event) -> Plotted:
        self.make(name, stop)
        return PLOTTED

    def make(self, name: str, stop: threading.Event) -> None:
        self.begun.append(name)
        end = time.monotonic() + PATIENCE
        while not self.gate(name).wait(0.005):
            if stop.is_set() or self.over:
                raise Stopped
            assert time.monotonic() < end

    def gate(self, name: str) -> threading.Event:
        return self.gates.setdefault(name, threading.Event())

    async def ask(self, name: str, view: View = UMAP) -> asyncio.Task:
        """Asks for a plot; returns when it is being made, waits for its turn, or has ended."""
        owner: Any = SimpleNamespace(id=name[0])
        asker: Any = Asker()
        task = self._start(asker, data_api.points(name, asker, self.studio, owner, "en", view))
        umap = view.projection == "umap"
        await self.settle(self.limits.umap if umap else self.limits.plots, task)
        return task

    async def ask_result(self, name: str) -> asyncio.Task:
        """Asks for what is made of a result; returns as :meth:`ask` does."""
        owner: Any = SimpleNamespace(id=name[0])
        asker: Any = Asker()
        result = RequestedResult(name, asker, self.studio, owner)
        task = self._start(asker, result.compute(self.make))
        await self.settle(self.limits.results, task)
        return task

    def _start(self, asker: Asker, answer: Coroutine[Any, Any, Any]) -> asyncio.Task:
        task = asyncio.create_task(answer)
        self.askers[task] = asker
        return task

    async def settle(self, requests: request_limits.FairRequests, task: asyncio.Task) -> None:
        slots = requests._slots
        open_tasks = [each for each in self.askers if not each.done()]
        await until(
            lambda: task.done() or len(slots._queue) + slots._at_work.total() >= len(open_tasks)
        )


async def wait_for_all_starts(points: Points, requests: request_limits.FairRequests) -> list[str]:
    """What has begun in order, once nobody is left who may begin by now."""
    slots = requests._slots
    await until(lambda: slots._next() is None and len(points.begun) == slots._starts)
    return points.begun


async def until(state: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not state():
        assert time.monotonic() < end
        await asyncio.sleep(0.002)


@pytest.fixture
def points(monkeypatch) -> Points:
    return Points(monkeypatch)


def test_another_s_plot_by_umap_comes_before_the_second_of_who_came_first(points: Points):
    async def ask() -> None:
        tasks = {name: await points.ask(name) for name in ("a1", "a2", "a3", "b1")}
        order = ["a1", "b1", "a2", "a3"]
        for count, name in enumerate(order, 1):
            assert await wait_for_all_starts(points, points.limits.umap) == order[:count]
            points.gate(name).set()
            await tasks[name]

    points.run(ask())


@pytest.mark.parametrize("kind", ["plots", "results"])
def test_one_owner_leaves_places_to_others(points: Points, kind: str):
    view = View(dims=2, projection="pca", scaling="none")

    async def ask() -> None:
        tasks = []
        for name in ("a1", "a2", "a3", "a4", "a5", "b1"):
            asked = points.ask(name, view) if kind == "plots" else points.ask_result(name)
            tasks.append(await asked)
        requests = points.limits.plots if kind == "plots" else points.limits.results
        assert sorted(await wait_for_all_starts(points, requests)) == ["a1", "a2", "b1"]
        for name in ("a1", "a2", "a3", "a4", "a5", "b1"):
            points.gate(name).set()
        await asyncio.gather(*tasks)

    points.run(ask())


def test_who_asks_for_more_than_the_number_is_refused_at_once_and_nobody_else_is(points: Points):
    names = [f"a{number}" for number in range(EACH_ASKED)]

    async def ask() -> None:
        tasks = [await points.ask(name) for name in names]
        refused = await points.ask("a-more")
        assert refused.done()
        with pytest.raises(Busy, match=f"more than {EACH_ASKED} of these at once"):
            await refused
        tasks.append(await points.ask("b1"))
        for name in (*names, "b1", "a-again"):
            points.gate(name).set()
        await asyncio.gather(*tasks)
        await (await points.ask("a-again"))

    points.run(ask())
    assert points.begun[1] == "b1"
    assert points.limits.umap._asked.total() == 0


def test_when_all_threads_are_taken_one_is_told_so(points: Points, monkeypatch):
    monkeypatch.setattr(request_limits, "ALL_ASKED", 2)

    async def ask() -> None:
        tasks = [await points.ask(name) for name in ("a1", "b1")]
        refused = await points.ask("c1")
        assert refused.done()
        with pytest.raises(Busy, match="Other plots are being made"):
            await refused
        for name in ("a1", "b1"):
            points.gate(name).set()
        await asyncio.gather(*tasks)

    points.run(ask())


def test_who_has_waited_for_too_long_is_told_so(points: Points):
    async def ask() -> None:
        first = await points.ask("a1")
        points.limits.umap._seconds = 0.01
        with pytest.raises(Busy, match="Other plots are being made"):
            await (await points.ask("b1"))
        points.gate("a1").set()
        await first

    points.run(ask())


@pytest.mark.parametrize("leaves", ["who waits", "whose plot is made"])
def test_who_leaves_frees_the_place(points: Points, monkeypatch, leaves: str):
    monkeypatch.setattr("studio.api.http.WATCH_SECONDS", 0.005)

    async def ask() -> None:
        made, waiting = [await points.ask(name) for name in ("a1", "b1")]
        left, other = (waiting, made) if leaves == "who waits" else (made, waiting)
        points.askers[left].gone = True
        with pytest.raises(HTTPException):
            await left
        points.gate("a1" if other is made else "b1").set()
        await other
        points.gate("c1").set()
        await (await points.ask("c1"))

    points.run(ask())
    assert points.begun == (["a1", "c1"] if leaves == "who waits" else ["a1", "b1", "c1"])
    assert points.limits.umap._asked.total() == 0


def test_the_same_plot_is_made_once_and_what_is_made_waits_for_no_turn(points: Points):
    async def ask() -> None:
        same = [await points.ask("a1") for _ in range(3)]
        points.gate("a1").set()
        answers = await asyncio.gather(*same)
        assert len({answer.body for answer in answers}) == 1
        other = await points.ask("b1")
        assert (await (await points.ask("a1"))).body == answers[0].body
        assert not other.done()
        points.gate("b1").set()
        await other

    points.run(ask())
    assert points.begun == ["a1", "b1"]
