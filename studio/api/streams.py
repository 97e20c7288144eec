"""Event streams that are open: a server that stops ends them itself.

They have no end of their own, and a server waits for what is still being answered.
"""

from __future__ import annotations

import asyncio
import contextlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send


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
        name.lower() == b"content-type" and text.startswith(b"text/event-stream")
        for name, text in message["headers"]
    )
