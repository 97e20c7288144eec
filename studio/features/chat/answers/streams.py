"""One request of the API's, run as its client reads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import Any, Protocol

from pipelines.chat.events import Reading, Words
from pipelines.chat.requests import ChatRequest, CompletionRequest
from pipelines.core.errors import Stopped
from pipelines.core.events import Progress, Result

Event = Progress | Reading | Words | Result


class Run(Protocol):
    """An engine for chat, such as :func:`pipelines.chat.engine.run`."""

    def __call__(
        self, request: ChatRequest | CompletionRequest, cache: Any, stop: threading.Event
    ) -> Generator[Event]: ...


class Stream:
    """The events of a request; ends after Result, or raises what went wrong.

    It takes one of the owner's places until it is exhausted, has failed or is closed.

    Args:
        events: from the engine.
        stop: set by whoever wants it to end; it then raises :class:`pipelines.core.errors.Stopped`.
        leave: called once, at the end.
    """

    def __init__(
        self, events: Generator[Event], stop: threading.Event, leave: Callable[[], None]
    ) -> None:
        self._events, self._stop, self._leave = events, stop, leave
        self._open = threading.Lock()  # taken once, by the first that closes

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Event:
        try:
            if self._stop.is_set():
                raise Stopped
            return next(self._events)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stops the computing where it is, and gives the place back; may be called again."""
        if not self._open.acquire(blocking=False):
            return
        try:
            self._events.close()
        except ValueError:  # another thread is inside; it ends at its next token
            self._stop.set()
        finally:
            self._leave()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
