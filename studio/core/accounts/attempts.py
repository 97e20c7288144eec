"""Brakes on guessing passwords, so that it is hopeless and keeps nobody else out or waiting."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pipelines.core.errors import Busy

T = TypeVar("T")

FAILURE_SECONDS = 60.0
MAX_FAILURES = 8  # wrong passwords for a name from an address or a known browser in that time
MAX_ADDRESS_FAILURES = 40  # for whatever names; a household or an office shares an address
# Two seconds of work: who comes later is told so at once instead of being kept waiting.
MAX_WAITING = 16


class Failures:
    """Counts wrong passwords by whom they come from; what is older than a minute is forgotten."""

    def __init__(self) -> None:
        self._times: dict[object, list[float]] = {}
        self._lock = threading.Lock()

    def check(self, key: object, limit: int) -> None:
        """Raises Busy where ``limit`` wrong passwords came from ``key`` within a minute."""
        with self._lock:
            now = _now()
            self._times = {
                key: recent
                for key, times in self._times.items()
                if (recent := [each for each in times if now - each < FAILURE_SECONDS])
            }
            recent = self._times.get(key, [])
        if len(recent) >= limit:
            raise Busy(
                "Too many wrong passwords. Try again in {seconds} seconds.",
                seconds=max(1, round(FAILURE_SECONDS - (now - recent[0]))),
            )

    def add(self, key: object) -> None:
        with self._lock:
            self._times.setdefault(key, []).append(_now())


class OneByOne:
    """Lets one password after another be checked, beside the event loop and the other threads.

    scrypt takes 32 MB and a tenth of a second of a core. Sixty at once would take 2 GB, which the
    allocator does not give back, and every thread that answers others. One thread of its own takes
    these 32 MB again and again.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="passwords")
        self._waiting = 0  # only the event loop changes it

    async def run(self, check: Callable[..., T], *arguments: object) -> T:
        """``check(*arguments)`` when it is its turn.

        Raises:
            Busy: too many wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise Busy("Many people are logging in at this moment. Try again in a few seconds.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, check, *arguments)
        finally:
            self._waiting -= 1


def _now() -> float:
    return time.monotonic()
