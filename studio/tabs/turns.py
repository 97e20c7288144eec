"""Which of the watches that a page has begun may show something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Only the newest watch may show anything, and one at a time.

    An older one would put back what it watches as soon as there is something new of it. And what a
    watch yields is on its way to the page while others go on: without waiting for one another, the
    older one's last could arrive after the newer one's only one, and stay.
    """

    def __init__(self) -> None:
        self._newest = 0
        self._showing = asyncio.Lock()

    def begin(self) -> int:
        """The number of a watch that begins, and is the newest one now."""
        self._newest += 1
        return self._newest

    def is_newest(self, watch: int) -> bool:
        return watch == self._newest

    @asynccontextmanager
    async def of(self, watch: int) -> AsyncIterator[bool]:
        """Whether ``watch`` may show something; around its yield, so that the next one waits."""
        async with self._showing:
            yield self.is_newest(watch)
