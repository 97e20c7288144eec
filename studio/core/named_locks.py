"""Locks by name, of which only those remain that somebody holds or waits for."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class Locks:
    """One lock for each of any number of names."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: dict[Hashable, tuple[threading.Lock, int]] = {}  # and how many there are

    def __len__(self) -> int:
        return len(self._users)

    @contextmanager
    def hold(self, name: Hashable) -> Iterator[None]:
        """Inside, nobody else holds the lock of this name."""
        with self._lock:
            lock, users = self._users.get(name) or (threading.Lock(), 0)
            self._users[name] = lock, users + 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, users = self._users[name]
                if users > 1:
                    self._users[name] = lock, users - 1
                else:
                    del self._users[name]
