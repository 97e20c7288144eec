"""How much a key may ask for, and how often a password may be tried, in a minute."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pipelines.core.errors import Busy

WINDOW = 60.0  # seconds


class Window:
    """Amounts of the last minute, and their sum. Not for several threads at once."""

    def __init__(self) -> None:
        self._entries: deque[tuple[float, int]] = deque()
        self.total = 0

    def add(self, amount: int, now: float) -> None:
        self._entries.append((now, amount))
        self.total += amount

    def forget(self, now: float) -> None:
        """Leaves out what is older than a minute."""
        while self._entries and self._entries[0][0] <= now - WINDOW:
            self.total -= self._entries.popleft()[1]

    def seconds_until_below(self, limit: int, now: float) -> float:
        """Until the sum is less than ``limit``, if nothing comes; 0 when it is."""
        self.forget(now)
        left = self.total
        for at, amount in self._entries:
            if left < limit:
                break
            left -= amount
            until = at + WINDOW - now
        return until if self.total >= limit else 0.0


class Minute:
    """Requests and tokens of every key in a sliding minute; kept in memory only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[str, Window] = {}
        self._tokens: dict[str, Window] = {}

    def request(self, key_id: str, requests: int, tokens: int) -> None:
        """Counts a request, if it is within the limits of so many a minute; 0 is no limit.

        Raises:
            Busy: says which limit, and the seconds until it is free again.
        """
        now = time.monotonic()
        with self._lock:
            asked = self._requests.setdefault(key_id, Window())
            if requests and (wait := asked.seconds_until_below(requests, now)):
                raise Busy(
                    "This key has made {count} requests in the last minute; {limit} are allowed. "
                    "Try again in {seconds} seconds.",
                    count=asked.total,
                    limit=requests,
                    seconds=math.ceil(wait),
                )
            used = self._tokens.setdefault(key_id, Window())
            if tokens and (wait := used.seconds_until_below(tokens, now)):
                raise Busy(
                    "This key has used {count} tokens in the last minute; {limit} are allowed. "
                    "Try again in {seconds} seconds.",
                    count=used.total,
                    limit=tokens,
                    seconds=math.ceil(wait),
                )
            asked.add(1, now)
            asked.forget(now)

    def tokens(self, key_id: str, count: int) -> None:
        """Counts tokens that were read and written."""
        now = time.monotonic()
        with self._lock:
            used = self._tokens.setdefault(key_id, Window())
            used.add(count, now)
            used.forget(now)

    def drop(self, key_id: str) -> None:
        """Forgets a key."""
        with self._lock:
            self._requests.pop(key_id, None)
            self._tokens.pop(key_id, None)


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
        """Waits for its turn, then returns ``check(*arguments)``.

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
