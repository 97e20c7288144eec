"""Places to compute at, shared fairly between owners: one's crowd keeps only oneself waiting."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from pipelines.core.errors import Busy, Stopped

LOOK_SECONDS = 0.25  # between two looks at whether who waits has gone
T = TypeVar("T", bound=Hashable)


def fair_order(queued: Iterable[tuple[T, str]], served: Mapping[str, int]) -> list[T]:
    """The order in which those that wait are served: owners take turns, each owner's in order.

    Args:
        queued: (job id or ticket, owner) in order of arrival.
        served: per owner the number of its last start; the lowest is served next, and among
            equals whoever came first.
    """
    waiting: dict[str, list[T]] = {}
    for job_id, owner in queued:
        waiting.setdefault(owner, []).append(job_id)
    last = {owner: served.get(owner, 0) for owner in waiting}
    order: list[T] = []
    turn = max(served.values(), default=0)
    while waiting:
        owner = min(waiting, key=lambda owner: last[owner])  # ties: the first to have come
        order.append(waiting[owner].pop(0))
        turn += 1
        last[owner] = turn
        if not waiting[owner]:
            del waiting[owner]
    return order


class FairSlots:
    """A few places for threads that compute; owners take turns, each owner's in order of arrival.

    Args:
        places: how many compute at once.
        each: how many of one owner's compute at once.
        asked: how many of one owner's compute or wait, for a thread waits with each of them; None
            where something else limits that.
        busy: what is said to who asks for more than that, or has waited for too long.
    """

    def __init__(self, places: int, *, each: int = 1, asked: int | None = 4, busy: str) -> None:
        self._places, self._each, self._asked, self._busy = places, each, asked, busy
        self._changed = threading.Condition()
        self._queue: list[tuple[str, object]] = []  # (owner, ticket) in order of arrival
        self._at_work: Counter[str] = Counter()
        self._served: Counter[str] = Counter()  # the number of each owner's last start
        self._starts = 0

    @contextmanager
    def take(
        self, owner_id: str, seconds: float = 60.0, stop: threading.Event | None = None
    ) -> Iterator[None]:
        """A place is the owner's inside.

        Args:
            seconds: to wait at most.
            stop: set when nobody waits for the result any more.

        Raises:
            Busy: the owner has asked for too much already, or none of the places got free.
            Stopped: ``stop`` was set meanwhile.
        """
        ticket = object()
        self._wait(owner_id, ticket, time.monotonic() + seconds, stop)
        try:
            yield
        finally:
            with self._changed:
                self._at_work[owner_id] -= 1
                if not self._at_work[owner_id]:
                    del self._at_work[owner_id]
                self._changed.notify_all()

    def _wait(
        self, owner_id: str, ticket: object, until: float, stop: threading.Event | None
    ) -> None:
        with self._changed:
            waiting = sum(owner == owner_id for owner, _ in self._queue)
            if self._asked is not None and waiting + self._at_work[owner_id] >= self._asked:
                raise Busy(self._busy)
            self._queue.append((owner_id, ticket))
            try:
                while self._next() is not ticket:
                    left = until - time.monotonic()
                    if stop is not None and stop.is_set():
                        raise Stopped
                    if left <= 0:
                        raise Busy(self._busy)
                    self._changed.wait(min(left, LOOK_SECONDS) if stop is not None else left)
                self._starts += 1
                self._served[owner_id] = self._starts
                self._at_work[owner_id] += 1
            finally:
                self._queue.remove((owner_id, ticket))
                if len(self._served) > 1000:  # guests come and go
                    self._served = Counter(dict(self._served.most_common(500)))
                self._changed.notify_all()

    def _next(self) -> object | None:
        """The ticket whose turn it is, if there is a place for it."""
        if self._at_work.total() >= self._places:
            return None
        can = (
            (ticket, owner) for owner, ticket in self._queue if self._at_work[owner] < self._each
        )
        return next(iter(fair_order(can, self._served)), None)
