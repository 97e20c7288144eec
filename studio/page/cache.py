"""The page is made once for an address, and sent small, or not at all to who has it already.

Gradio writes its 1.1 MB anew for each visitor, a tenth of a second of work, uncompressed. What it
writes depends on the address that the visitor has typed; what differs between people is put into
the head afterwards, by :mod:`studio.page.head`.
"""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections import OrderedDict
from functools import lru_cache

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEPT = 8  # a stranger may send any Host
# What Gradio reads the page's own address from.
ADDRESS_HEADERS = ("host", "x-forwarded-host", "x-forwarded-proto", "x-gradio-server")
LEVEL = 1  # a fifth of the size in 8 ms; 9 would save a quarter of that in 60 ms


def is_page(scope: Scope) -> bool:
    """Whether a request is for the page itself."""
    return scope["type"] == "http" and scope["path"] == "/" and scope["method"] == "GET"


class PageCache:
    """ASGI middleware right around Gradio's app: keeps what ``GET /`` answers.

    Args:
        app: answers what is not kept yet, and everything else.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._pages: OrderedDict[tuple[str, ...], bytes] = OrderedDict()
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_page(scope):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        addresses = (headers.get(name, "") for name in ADDRESS_HEADERS)
        key = (scope["scheme"], scope.get("root_path", ""), *addresses)
        with self._lock:
            body = self._pages.get(key)
            if body is not None:
                self._pages.move_to_end(key)
        if body is None:
            scope = {**scope, "query_string": b""}  # Gradio's deep links and pages are not here
            answer = await collect_answer(self.app, scope, receive, send)
            if answer is None:
                return
            body = answer[1]
            with self._lock:
                self._pages[key] = body
                while len(self._pages) > KEPT:
                    self._pages.popitem(last=False)
        await Response(body, media_type="text/html")(scope, receive, send)


class PageDelivery:
    """ASGI middleware around what writes into the page: compresses it, and knows who has it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_page(scope):
            await self.app(scope, receive, send)
            return
        answer = await collect_answer(self.app, scope, receive, send)
        if answer is not None:
            request = Request(scope)
            sent = await anyio.to_thread.run_sync(deliver, answer[1], request.headers)
            await sent(scope, receive, send)


async def collect_answer(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send
) -> tuple[Headers, bytes] | None:
    """What ``app`` answers, or None where that is an error, which is sent on.

    None, too, where it broke off: files are read no further when the visitor has gone, and what is
    kept of them would be every later visitor's.
    """
    status, headers, body, is_whole = 0, Headers(), [], False

    async def collect(message: Message) -> None:
        nonlocal status, headers, is_whole
        if message["type"] == "http.response.start":
            status, headers = message["status"], Headers(raw=message["headers"])
        if status != 200:
            await send(message)
        elif message["type"] == "http.response.body":
            body.append(message.get("body", b""))
            is_whole = not message.get("more_body", False)

    await app(scope, receive, collect)
    return (headers, b"".join(body)) if is_whole else None


@lru_cache(maxsize=2 * KEPT)
def _compress(body: bytes) -> bytes:
    """The page, or a part of it, as who loads it again and again is sent it."""
    return gzip.compress(body, LEVEL, mtime=0)


def deliver(body: bytes, asked: Headers, media_type: str = "text/html") -> Response:
    """The answer with ``body``: compressed, or none to who has it already."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {
        "etag": tag,
        "cache-control": "private, no-cache",  # asked for each time, sent when it is another one
        "vary": "accept-encoding, accept-language, cookie",
    }
    if tag in asked.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in asked.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        body = _compress(body)
    return Response(body, media_type=media_type, headers=headers)
