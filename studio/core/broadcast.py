"""One source for all who watch the same: many pages of one job look at it once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Broadcast(Generic[K, V]):
    """Runs a source while somebody listens to it, once a key, and hands its newest value to all.

    For the event loop only. Who listens slowly misses values in between, never the last one. What a
    source raises is raised to all that listen.

    Args:
        source: a generator that ends when there is nothing to follow any more.
    """

    def __init__(self, source: Callable[[K], AsyncIterator[V]]) -> None:
        self._source = source
        self._channels: dict[K, _Channel[V]] = {}

    def __len__(self) -> int:
        return len(self._channels)

    async def listen(self, key: K) -> AsyncGenerator[V, None]:
        """The newest value of the key's source at once, then each newer one, until it ends."""
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = _Channel()
            channel.task = asyncio.create_task(self._run(key, channel))
        channel.listeners += 1
        seen = 0
        try:
            while True:
                changed = channel.changed
                if channel.version > seen:
                    seen = channel.version
                    yield channel.newest[0]
                elif channel.over:
                    if channel.error is not None:
                        raise channel.error
                    return
                else:
                    await changed.wait()
        finally:
            channel.listeners -= 1
            if not channel.listeners and not channel.over:
                self._drop(key, channel)
                channel.task.cancel()

    async def _run(self, key: K, channel: _Channel[V]) -> None:
        try:
            async for value in self._source(key):
                channel.newest = [value]
                channel.version += 1
                channel.wake()
        except Exception as error:
            channel.error = error
        finally:
            channel.over = True
            self._drop(key, channel)  # who comes later begins anew
            channel.wake()

    def _drop(self, key: K, channel: _Channel[V]) -> None:
        if self._channels.get(key) is channel:
            del self._channels[key]


class _Channel(Generic[V]):
    def __init__(self) -> None:
        self.newest: list[V] = []
        self.version = self.listeners = 0
        self.over = False
        self.error: Exception | None = None
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None]

    def wake(self) -> None:
        """Lets all look again that wait for a change."""
        self.changed.set()
        self.changed = asyncio.Event()
