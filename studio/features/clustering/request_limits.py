"""Who computes next of those that ask about clustering, how many one may ask for, and how long
they wait."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from anyio import CapacityLimiter
from fastapi import Request

from pipelines.core.errors import Busy
from studio.api.http import while_heard
from studio.core.jobs.slots import FairSlots
from studio.features.clustering.data import own_data_sets
from studio.features.clustering.results import animation_runs

AT_ONCE = 4  # that compute, of all owners
EACH_AT_ONCE = 2  # of these one owner's
EACH_ASKED = 8  # one owner's at work or waiting, of each kind: a browser sends six at once
ALL_ASKED = 64  # of a kind, all owners': each of them holds a thread
WAIT_SECONDS = 60.0  # for a turn, before saying that there is none
UMAP_WAIT_SECONDS = 120.0  # likewise: one by UMAP takes a minute
_PLOTS_BUSY = "Other plots are being made. Ask for this one again in a moment."
_RESULTS_BUSY = "Other results are being read. Ask for this one again in a moment."
T = TypeVar("T")


class Requests:
    """Requests of one kind, each in a thread: who asks for more than their number is told so at
    once, and takes no thread from others.

    Args:
        busy: what is said when all threads are taken.
    """

    def __init__(self, busy: str) -> None:
        self._busy = busy
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._threads = CapacityLimiter(ALL_ASKED)  # others' routes keep theirs

    async def compute(
        self, request: Request, owner_id: str, call: Callable[..., T], *arguments: Any
    ) -> T:
        """``call(*arguments, stop)`` in a thread; ``stop`` is set when the client has gone.

        Raises:
            Busy: the owner asks for too many already, or all owners together do.
        """
        with self._count(owner_id):
            return await while_heard(request, call, *arguments, limiter=self._threads)

    @contextmanager
    def _count(self, owner_id: str) -> Iterator[None]:
        with self._lock:
            if self._asked[owner_id] >= EACH_ASKED:
                raise Busy(
                    "You ask for more than {limit} of these at once. Wait for the first ones, "
                    "then ask again.",
                    limit=EACH_ASKED,
                )
            if self._asked.total() >= ALL_ASKED:
                raise Busy(self._busy)
            self._asked[owner_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._asked[owner_id] -= 1
                if not self._asked[owner_id]:
                    del self._asked[owner_id]


class FairRequests(Requests):
    """Requests of one kind that compute in turns: owners take them, each owner's in order.

    Args:
        places: how many compute at once.
        each: how many of one owner's compute at once.
        seconds: to wait for a turn at most.
        busy: what is said to who has waited for so long, or when all threads are taken.
    """

    def __init__(self, places: int, each: int, seconds: float, busy: str) -> None:
        super().__init__(busy)
        self._slots = FairSlots(places, each=each, asked=None, busy=busy)
        self._seconds = seconds

    def turn(self, owner_id: str, stop: threading.Event) -> AbstractContextManager[None]:
        """Inside, it is the owner's turn; for the threads of :meth:`compute`.

        Raises:
            Busy: others took all turns for too long.
            Stopped: ``stop`` was set meanwhile.
        """
        return self._slots.take(owner_id, self._seconds, stop)


class RequestLimits:
    """The limits of one studio.

    Attributes:
        data: files that are read, and data sets that are made; these take turns themselves.
        plots: plots by a projection that takes a moment, and single points.
        umap: plots by UMAP, one at a time.
        results: results that are looked at or written to files.
        animations: animations, which take turns themselves and limit an owner's to fewer.
    """

    def __init__(self) -> None:
        self.data = Requests(own_data_sets.BUSY)
        self.plots = FairRequests(AT_ONCE, EACH_AT_ONCE, WAIT_SECONDS, _PLOTS_BUSY)
        self.umap = FairRequests(1, 1, UMAP_WAIT_SECONDS, _PLOTS_BUSY)
        self.results = FairRequests(AT_ONCE, EACH_AT_ONCE, WAIT_SECONDS, _RESULTS_BUSY)
        self.animations = Requests(animation_runs.BUSY)
