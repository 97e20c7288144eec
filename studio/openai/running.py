"""Answers in threads of their own, and their way to the event loop.

An engine is a generator that blocks. Each choice runs in one thread, which hands over what comes;
the loop is woken only when it waits, so that a token costs little beside its computing.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive

from pipelines.chat.events import Reading, TokenOdds, Words
from pipelines.chat.requests import Generation
from pipelines.errors import Busy, Stopped
from pipelines.events import Result

MAX_ANSWERS = 128  # threads, of everybody's requests together

Stream = Callable[[Generation, threading.Event], Iterator[Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    """One choice as a whole.

    Attributes:
        text: what was said.
        odds: of its tokens, where they were asked for.
        facts: ``Result.data`` of the engine.
    """

    text: str
    odds: tuple[TokenOdds, ...]
    facts: dict[str, Any]


class Gone(Exception):
    """The client has hung up: nobody waits for the answer any more."""


class Places:
    """How many answers are being given now, and to whom. Safe to use from many threads."""

    def __init__(self, limit: int = MAX_ANSWERS) -> None:
        self._limit = limit
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, owner: str, count: int, limit: int) -> None:
        """``count`` places for an owner who may have ``limit``.

        Raises:
            Busy: there are not so many.
        """
        with self._lock:
            if (mine := self._taken[owner]) + count > limit:
                raise Busy(
                    "You have {count} answers under way; with {more} more there would be more "
                    "than the {limit} that are allowed. Wait for one to finish.",
                    count=mine,
                    more=count,
                    limit=limit,
                )
            if (taken := self._taken.total()) + count > self._limit:
                raise Busy(
                    "The studio is giving {count} answers, and {limit} is the most it gives at a "
                    "time. Try again in a moment.",
                    count=taken,
                    limit=self._limit,
                )
            self._taken[owner] += count

    def give_back(self, owner: str) -> None:
        """One place, whose answer has ended."""
        with self._lock:
            self._taken[owner] -= 1
            if not self._taken[owner]:
                del self._taken[owner]


class Feed:
    """What threads hand over to one coroutine: (index of the choice, what came)."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: deque[tuple[int, Any]] = deque()
        self._wake = asyncio.Event()
        self._waits = False

    def put(self, index: int, item: Any) -> None:
        """Called in any thread."""
        self._items.append((index, item))
        if self._waits:
            self._waits = False
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._wake.set)

    async def take(self) -> list[tuple[int, Any]]:
        """All that has come since; waits for something."""
        while not self._items:
            self._wake.clear()
            self._waits = True
            # Looked at again: something may have come before it was known that this waits.
            if not self._items:
                await self._wake.wait()
            self._waits = False
        return [self._items.popleft() for _ in range(len(self._items))]

    def put_back(self, items: list[tuple[int, Any]]) -> None:
        """What was taken last, and is to be taken again first."""
        self._items.extendleft(reversed(items))


class Run:
    """The choices of one request while they are computed.

    Iterate with :meth:`take` inside ``async with``; leaving that stops all that still runs.

    Args:
        stream: the engine.
        requests: one a choice.
        whole: hand each choice over as one :class:`Answer`, not in pieces.
        receive: of ASGI, to notice that the client hangs up.
        ended: called in its thread as each choice has ended.
    """

    def __init__(
        self,
        stream: Stream,
        requests: tuple[Generation, ...],
        whole: bool,
        receive: Receive,
        ended: Callable[[], None],
    ) -> None:
        self.stop = threading.Event()
        self._stream, self._requests, self._ended = stream, requests, ended
        self._work = self._answer if whole else self._tell
        self._receive = receive
        self._feed = Feed()

    async def __aenter__(self) -> Run:
        self._watcher = asyncio.create_task(self._watch())
        for index, request in enumerate(self._requests):
            threading.Thread(
                target=self._run, args=(index, request), name="answer", daemon=True
            ).start()
        return self

    async def __aexit__(self, *_: Any) -> None:
        self.stop.set()
        self._watcher.cancel()

    async def take(self) -> list[tuple[int, Any]]:
        """What has come, as (index, event); waits for something.

        In pieces: the first :class:`Reading` of each choice, ``Words``, and a ``Result`` at its
        end. As a whole: an :class:`Answer`.

        Raises:
            Gone: the client has hung up.
            Exception: whatever has ended a choice, at its place in the list's order: what came
                before it is returned first.
        """
        items = await self._feed.take()
        if self.stop.is_set():
            raise Gone
        for at, (_, item) in enumerate(items):
            if isinstance(item, BaseException):
                if at:
                    self._feed.put_back(items[at:])
                    return items[:at]
                raise item
        return items

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.stop.set()
        self._feed.put(-1, Gone())

    def _run(self, index: int, request: Generation) -> None:
        try:
            self._work(index, request)
        except BaseException as error:
            # BaseException: whatever ends this thread must reach the one who waits for it.
            self._feed.put(index, error)
        finally:
            self._ended()

    def _tell(self, index: int, request: Generation) -> None:
        put, began, event = self._feed.put, False, None
        for event in self._stream(request, self.stop):
            if isinstance(event, Words | Result):
                put(index, event)
            elif isinstance(event, Reading) and not began:
                began = True
                put(index, event)
        if not isinstance(event, Result):
            raise Stopped

    def _answer(self, index: int, request: Generation) -> None:
        texts: list[str] = []
        odds: list[TokenOdds] = []
        event = None
        for event in self._stream(request, self.stop):
            if isinstance(event, Words):
                texts.append(event.text)
                odds += event.odds
        if not isinstance(event, Result):
            raise Stopped
        self._feed.put(index, Answer("".join(texts), tuple(odds), event.data))
