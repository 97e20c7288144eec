"""Which of the watches that a page has begun may show something."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import gradio as gr


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


def ending_silently(
    follow: Callable[..., AsyncIterator[list[Any]]], outputs: int
) -> Callable[..., AsyncIterator[list[Any]]]:
    """``follow``, whose last word changes none of its ``outputs``.

    Gradio sends a generator's last values once more when it has ended. From a watch that ends
    because a newer one has begun, that would be what the newer one has just replaced.
    """

    @functools.wraps(follow)
    async def followed(*given: Any, **named: Any) -> AsyncIterator[list[Any]]:
        async with aclosing(follow(*given, **named)) as shown:
            async for values in shown:
                yield values
        yield [gr.skip()] * outputs

    return followed
