"""Locks by name: one holder at a time, and nothing is left of them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from studio.core.named_locks import Locks
from tests.patience import PATIENCE


def test_one_holds_a_name_at_a_time_and_other_names_are_free():
    locks, inside, most = Locks(), [], []
    began, go_on = threading.Event(), threading.Event()

    def hold(number: int) -> None:
        with locks.hold("a"):
            inside.append(number)
            most.append(len(inside))
            began.set()
            go_on.wait(PATIENCE)
            inside.remove(number)

    with ThreadPoolExecutor(5) as threads:
        done = [threads.submit(hold, number) for number in range(5)]
        began.wait(PATIENCE)
        with locks.hold("b"):
            assert len(locks) == 2
        go_on.set()
        assert all(each.result(PATIENCE) is None for each in done)
    assert most == [1] * 5
    assert not len(locks)


def test_who_fails_inside_leaves_no_lock():
    locks = Locks()
    with pytest.raises(ValueError, match="no"), locks.hold(("x", 1)):
        raise ValueError("no")
    assert not len(locks)
