"""How much each key has asked for in the last minute."""

from __future__ import annotations

import math
import threading
import time
from collections import deque

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
