"""Who computes next where several owners ask, and who is refused."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import pytest

from pipelines.core.errors import Busy, Stopped
from studio.core.jobs.slots import FairSlots
from tests.patience import PATIENCE


class Crowd:
    """Threads that ask for a place and keep it until they are let go."""

    def __init__(self, slots: FairSlots) -> None:
        self.slots = slots
        self.order: list[str] = []
        self.gates: dict[str, threading.Event] = {}
        self.over = threading.Event()  # should a test fail, nobody waits on
        self.threads: dict[str, threading.Thread] = {}

    def ask(self, owner: str, name: str) -> None:
        gate = self.gates[name] = threading.Event()

        def run() -> None:
            with contextlib.suppress(Stopped), self.slots.take(owner, PATIENCE, self.over):
                self.order.append(name)
                assert gate.wait(PATIENCE)

        asked = len(self.slots._queue) + self.slots._at_work.total()
        self.threads[name] = threading.Thread(target=run)
        self.threads[name].start()
        until(lambda: len(self.slots._queue) + self.slots._at_work.total() > asked)

    def let_go(self, name: str) -> None:
        self.gates[name].set()
        self.threads[name].join(PATIENCE)
        self.wait_for_all_starts()

    def wait_for_all_starts(self) -> list[str]:
        """Who has begun in order, once nobody is left who may begin by now."""
        until(lambda: self.slots._next() is None and len(self.order) == self.slots._starts)
        return self.order


def until(state: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not state():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture
def crowd():
    made = Crowd(FairSlots(1, asked=10, busy="Later."))
    yield made
    made.over.set()
    for gate in made.gates.values():
        gate.set()
    for thread in made.threads.values():
        thread.join(PATIENCE)


def test_owners_take_turns_and_each_owner_s_come_in_order(crowd: Crowd):
    for name in ("a1", "a2", "a3", "b1", "c1", "b2"):
        crowd.ask(name[0], name)
    order = ["a1", "b1", "c1", "a2", "b2", "a3"]
    for count, name in enumerate(order, 1):
        assert crowd.wait_for_all_starts() == order[:count]
        crowd.let_go(name)


def test_an_owner_has_a_share_of_the_places_only():
    crowd = Crowd(FairSlots(3, each=2, busy="Later."))
    for name in ("a1", "a2", "a3", "b1"):
        crowd.ask(name[0], name)
    assert sorted(crowd.wait_for_all_starts()) == ["a1", "a2", "b1"]
    crowd.let_go("a1")
    assert crowd.order[-1] == "a3"
    for gate in crowd.gates.values():
        gate.set()
    for thread in crowd.threads.values():
        thread.join(PATIENCE)
    assert crowd.slots._at_work.total() == 0


def test_who_asks_for_too_much_is_refused_at_once_and_nobody_else_is():
    slots = FairSlots(2, asked=1, busy="Later.")
    with slots.take("a"):
        with pytest.raises(Busy, match="Later"), slots.take("a"):
            pass
        with slots.take("b"):
            pass
    with slots.take("a"):
        pass


def test_waiting_ends_with_the_time_or_with_who_asked():
    slots, stop = FairSlots(1, busy="Later."), threading.Event()
    stop.set()
    with slots.take("a"):
        with pytest.raises(Busy), slots.take("b", seconds=0.01):
            pass
        with pytest.raises(Stopped), slots.take("b", stop=stop):
            pass
    with slots.take("b", seconds=0.0):
        pass  # who gave up holds no place
