"""Server-sent events: how they are written, held while none comes, and ended with the server.

Streams that are open have no end of their own, and a server waits for what is still being answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, TypeVar

from fastapi.responses import StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

T = TypeVar("T")

# Proxies and clients hang up after half a minute or a minute in which nothing has come.
HEARTBEAT_SECONDS = 8.0
MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def event(data: Any, name: str = "") -> str:
    """An event as it is sent.

    Args:
        data: a text in one line, or what becomes JSON; in ASCII, for what another server has sent
            may hold half a character of UTF-16.
        name: of the event; empty: none.
    """
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data if isinstance(data, str) else json.dumps(data)}\n\n"


def comment(text: str = "still here") -> str:
    """A line that clients pass over."""
    return f": {text}\n\n"


def stream(events: AsyncGenerator[str, None]) -> StreamingResponse:
    """An answer with these events, and with a comment whenever none has come for long.

    It ends with them, or when the client has gone; they are closed then.
    """
    return StreamingResponse(_with_heartbeat(events), media_type=MEDIA_TYPE, headers=HEADERS)


async def _with_heartbeat(events: AsyncGenerator[str, None]) -> AsyncIterator[str]:
    async for text in with_pauses(events, HEARTBEAT_SECONDS):
        yield comment() if text is None else text


async def with_pauses(values: AsyncGenerator[T, None], seconds: float) -> AsyncIterator[T | None]:
    """``values``, and None each time that none has come for ``seconds``.

    Closing it closes ``values`` too.
    """
    coming: asyncio.Future[T] | None = None
    try:
        while True:
            if coming is None:
                coming = asyncio.ensure_future(anext(values))
            done, _ = await asyncio.wait({coming}, timeout=seconds)
            if not done:
                yield None
                continue
            try:
                value = coming.result()
            except StopAsyncIteration:
                return
            coming = None
            yield value
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait({coming})
        await values.aclose()


class OpenStreams:
    """The tasks that write event streams; for the event loop's thread."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task] = set()
        self.closed = False

    def add(self, task: asyncio.Task) -> None:
        self._tasks.add(task)
        if self.closed:  # it began while the others were being ended
            task.cancel()

    def discard(self, task: asyncio.Task) -> None:
        self._tasks.discard(task)

    def end_all(self) -> None:
        """Ends all streams, and any that still begins."""
        self.closed = True
        for task in self._tasks:
            task.cancel()


class EndedStreams:
    """ASGI middleware, outermost: an event stream that is ended by us ends for its reader in order.

    Args:
        streams: where a stream is known while it is open.
    """

    def __init__(self, app: ASGIApp, streams: OpenStreams) -> None:
        self.app, self.streams = app, streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        task = asyncio.current_task()
        is_stream = False

        async def sender(message: Message) -> None:
            nonlocal is_stream
            if message["type"] == "http.response.start" and _is_event_stream(message):
                is_stream = True
                await send(message)
                self.streams.add(task)
                return
            await send(message)

        try:
            await self.app(scope, receive, sender)
        except asyncio.CancelledError:
            if not (is_stream and self.streams.closed):
                raise
            task.uncancel()
            with contextlib.suppress(Exception):  # who read it may have gone
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self.streams.discard(task)


def _is_event_stream(message: Message) -> bool:
    return any(
        name.lower() == b"content-type" and text.startswith(MEDIA_TYPE.encode())
        for name, text in message["headers"]
    )
