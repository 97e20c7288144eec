"""Answers in threads of their own, and their way to the event loop.

An engine is a generator that blocks. Each choice runs in one thread, which hands over what comes;
the loop is woken only when it waits, so that a token costs little beside its computing.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.types import Receive

from pipelines.chat.events import Reading, TokenOdds, Words
from pipelines.chat.requests import Generation, about_tokens
from pipelines.core.errors import Stopped
from pipelines.core.events import Result
from studio.api.job_waiting import Gone


class Events(Iterator[Any], Protocol):
    """A request's events; holds a place until it is exhausted or closed."""

    def close(self) -> None: ...


Open = Callable[[Generation, threading.Event], Events]


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

    async def take(self, seconds: float | None = None) -> list[tuple[int, Any]]:
        """All that has come since; waits for something, at most for so long."""
        while not self._items:
            self._wake.clear()
            self._waits = True
            # Looked at again: something may have come before it was known that this waits.
            if not self._items:
                try:
                    await asyncio.wait_for(self._wake.wait(), seconds)
                except TimeoutError:
                    break
            self._waits = False
        return [self._items.popleft() for _ in range(len(self._items))]

    def put_back(self, items: list[tuple[int, Any]]) -> None:
        """What was taken last, and is to be taken again first."""
        self._items.extendleft(reversed(items))


class Run:
    """The choices of one request while they are computed.

    Iterate with :meth:`take` inside ``async with``; leaving that stops all that still runs.

    Args:
        open: makes a request's events, or refuses; nothing is computed before they are asked for.
        requests: one a choice.
        whole: hand each choice over as one :class:`Answer`, not in pieces.
        receive: of ASGI, to notice that the client hangs up.
        spent: told the tokens that each choice has taken, in its thread.
    """

    def __init__(
        self,
        open: Open,
        requests: tuple[Generation, ...],
        whole: bool,
        receive: Receive,
        spent: Callable[[int], None],
    ) -> None:
        self.stop = threading.Event()
        self._open, self._requests, self._spent = open, requests, spent
        self._work = self._answer if whole else self._tell
        self._receive = receive
        self._feed = Feed()

    async def __aenter__(self) -> Run:
        opened: list[Events] = []
        try:
            # All places are taken before anything is computed: all choices are given, or none.
            for request in self._requests:
                opened.append(self._open(request, self.stop))
        except BaseException:
            for events in opened:
                events.close()
            raise
        self._watcher = asyncio.create_task(self._watch())
        for index, events in enumerate(opened):
            threading.Thread(
                target=self._run, args=(index, events), name="answer", daemon=True
            ).start()
        return self

    async def __aexit__(self, *_: Any) -> None:
        self.stop.set()
        self._watcher.cancel()

    async def take(self, seconds: float | None = None) -> list[tuple[int, Any]]:
        """What has come, as (index, event); waits for something.

        In pieces: each :class:`Reading`, ``Words``, and a ``Result`` at the end of a choice. As a
        whole: an :class:`Answer`.

        Args:
            seconds: for which it waits; nothing may have come then.

        Raises:
            Gone: the client has hung up.
            Exception: whatever has ended a choice, at its place in the list's order: what came
                before it is returned first.
        """
        items = await self._feed.take(seconds)
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

    def _run(self, index: int, events: Events) -> None:
        counted = _Counted(events, self._requests[index], self._spent)
        try:
            self._work(index, counted)
            if not isinstance(counted.last, Result):
                raise Stopped
        except BaseException as error:
            # BaseException: whatever ends this thread must reach the one who waits for it.
            self._feed.put(index, error)
        finally:
            events.close()
            counted.settle()

    def _tell(self, index: int, events: Iterable[Any]) -> None:
        for event in events:
            if isinstance(event, Reading | Words | Result):
                self._feed.put(index, event)

    def _answer(self, index: int, events: Iterable[Any]) -> None:
        texts: list[str] = []
        odds: list[TokenOdds] = []
        for event in events:
            if isinstance(event, Words):
                texts.append(event.text)
                odds += event.odds
            elif isinstance(event, Result):
                self._feed.put(index, Answer("".join(texts), tuple(odds), event.data))


class _Counted:
    """Events, counted as they pass.

    Args:
        events: of a choice.
        request: that it answers.
        spent: told the tokens that it has taken, once.

    Attributes:
        last: the last event.
    """

    def __init__(
        self, events: Iterable[Any], request: Generation, spent: Callable[[int], None]
    ) -> None:
        self._events, self._request, self._spent = events, request, spent
        self._read = self._written = 0
        self._settled = False
        self.last: Any = None

    def __iter__(self) -> Iterator[Any]:
        for event in self._events:
            if isinstance(event, Words):
                self._written += event.tokens
            elif isinstance(event, Reading):
                self._read = event.total
            elif isinstance(event, Result):
                self._count(event.data)
                self.settle()  # before the answer is whole: the next request may follow at once
            self.last = event
            yield event

    def settle(self) -> None:
        """Tells what was taken, if that was not told yet."""
        if not self._settled:
            self._settled = True
            self._spent(self._read + self._written)

    def _count(self, facts: dict[str, Any]) -> None:
        """Another server may have told no counts; then the prompt's is a guess."""
        if facts["prompt_tokens"] is None:
            self._read = about_tokens(self._request)
        else:  # what the prompt's cache has saved is not counted
            self._read = facts["prompt_tokens"] - facts["cached_tokens"]
        if facts["completion_tokens"] is not None:
            self._written = facts["completion_tokens"]
