"""What one visitor may ask for at the same time, so that a crowd of one keeps nobody else waiting.

The limits are far above what a person's open tabs ask for. Beyond them the answer is 429, at once.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.core.errors import Busy, NotFound, UserError
from studio.api import gradio_guard
from studio.api.access import API, uploads_of
from studio.core.accounts.accounts import Owner
from studio.core.accounts.session_owners import SessionOwners
from studio.core.feature import Features
from studio.core.replies import Refusal, error_body, status_of
from studio.core.upload_ledger import Reservation, UploadLedger, arriving
from studio.i18n import language_of, language_of_request


@dataclass(frozen=True, slots=True)
class Streams:
    """A kind of answers that stay open.

    Attributes:
        paths: where they are asked for.
        limit: how many of them an owner may have open.
        refuse: the error for one more than that many.
    """

    paths: re.Pattern[str]
    limit: int
    refuse: Callable[[int], UserError]


STREAMS = (
    Streams(
        re.compile(rf"{gradio_guard.PREFIX}/(heartbeat/\w+|queue/data)"),
        120,  # two a page
        lambda count: Busy(
            "You have {count} pages of this studio open or at work; more are not served. "
            "Close some.",
            count=count,
        ),
    ),
    Streams(
        re.compile(rf"{API}/\w+/[^/]+/events"),
        30,
        lambda count: Busy(
            "You have {count} event streams open; more are not served. Close some.", count=count
        ),
    ),
)
# A page that opens sends about twenty events, one whose sliders are moved ten a second.
EVENT = re.compile(rf"{gradio_guard.PREFIX}/queue/join")
EVENTS_AT_ONCE, EVENTS_PER_SECOND = 400, 30.0
REMEMBERED = 2000  # owners
MAX_ANSWER_BYTES = 1_000_000  # paths of a thousand files


class Allowance:
    """Lets each owner do something many times at once, and then at a steady pace.

    Args:
        at_once: how many times without a pause.
        per_second: how fast that fills up again.
    """

    def __init__(
        self, at_once: int, per_second: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._at_once, self._per_second, self._now = at_once, per_second, now
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # (left, as of when)

    def take(self, owner_id: str) -> bool:
        """Whether the owner may do it once more now; if so, it counts."""
        now = self._now()
        left, since = self._left.pop(owner_id, (float(self._at_once), now))
        left = min(float(self._at_once), left + (now - since) * self._per_second)
        allowed = left >= 1.0
        self._left[owner_id] = (left - allowed, now)
        while len(self._left) > REMEMBERED:
            self._left.popitem(last=False)
        return allowed


class VisitorLimits:
    """ASGI middleware, inside of what knows the sender: holds each owner to the limits.

    Args:
        app: what is protected.
        uploads: where room for uploads is reserved.
        sessions: of the page, and whose they are.
        features: tell where uploads go.
    """

    def __init__(
        self,
        app: ASGIApp,
        uploads: UploadLedger,
        sessions: SessionOwners,
        features: Features | None = None,
    ) -> None:
        self.app, self.uploads, self.sessions = app, uploads, sessions
        self._paths = uploads_of(features if features is not None else Features())
        self._open: Counter[tuple[str, str]] = Counter()  # streams by owner id and path
        self._events = Allowance(EVENTS_AT_ONCE, EVENTS_PER_SECOND)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        owner: Owner | None = scope.get("state", {}).get("owner")
        if scope["type"] != "http" or owner is None:
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        try:
            if EVENT.fullmatch(path) and not self._events.take(owner.id):
                raise Busy("Your pages ask for more than {count} things a second. Wait a moment.",
                           count=round(EVENTS_PER_SECOND))  # fmt: skip
            session = _page_session(scope)
            if session is not None and not self.sessions.claim(session, owner.id):
                raise NotFound("There is nothing at {path}.", path=path[:100])
            for streams in STREAMS:
                if streams.paths.fullmatch(path):
                    await self._stream(owner, streams, scope, receive, send)
                    return
            if scope["method"] == "POST" and self._paths.of(path) is not None:
                await self._upload(owner, scope, receive, send)
                return
        except UserError as error:
            await _refusal(HTTPConnection(scope), error)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _stream(
        self, owner: Owner, streams: Streams, scope: Scope, receive: Receive, send: Send
    ) -> None:
        key = (owner.id, streams.paths.pattern)
        if self._open[key] >= streams.limit:
            raise streams.refuse(self._open[key])
        self._open[key] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]

    async def _upload(self, owner: Owner, scope: Scope, receive: Receive, send: Send) -> None:
        headers = HTTPConnection(scope).headers
        length = headers.get("content-length", "")
        announced = int(length) if length.isdecimal() else 0
        room = self.uploads.receive(owner, announced)
        reservation = await anyio.to_thread.run_sync(room.__enter__)
        answer = _Answer(send, lambda paths: self.uploads.enter(owner, paths))
        arriving.set(reservation)
        is_of_page = scope["path"] == gradio_guard.UPLOAD
        try:
            language = language_of(headers.get("accept-language"))
            counted = _count_body(receive, reservation, language)
            await self.app(scope, counted, answer.send if is_of_page else send)
        finally:
            room.__exit__(None, None, None)


class _Answer:
    """Passes Gradio's answer to an upload on, once the paths in it are entered.

    Who has it may send an event with them at once.
    """

    def __init__(self, send: Send, enter: Callable[[list[Path]], None]) -> None:
        self._send, self._enter = send, enter
        self._status, self._body = 0, b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        elif message["type"] == "http.response.body" and len(self._body) < MAX_ANSWER_BYTES:
            self._body += message.get("body", b"")
            if self._status == 200 and not message.get("more_body"):
                self._enter([Path(each) for each in json.loads(self._body)])
        await self._send(message)


def _count_body(receive: Receive, reservation: Reservation, language: str) -> Receive:
    async def receive_counted() -> Message:
        message = await receive()
        try:
            reservation.take(len(message.get("body", b"")))
        except UserError as error:
            raise Refusal(error, language) from None
        return message

    return receive_counted


def _refusal(connection: HTTPConnection, error: UserError) -> JSONResponse:
    language = language_of_request(connection)
    return JSONResponse(error_body(error, language), status_code=status_of(error))


def _page_session(scope: Scope) -> str | None:
    """The session of the page that a stream is asked for, or the upload that is sent or watched."""
    path = scope["path"]
    if path == f"{gradio_guard.PREFIX}/queue/data":
        return Request(scope).query_params.get("session_hash")
    if path in (gradio_guard.UPLOAD, f"{gradio_guard.PREFIX}/upload_progress"):
        upload = Request(scope).query_params.get("upload_id")
        return f"upload {upload}" if upload else None
    heartbeat = f"{gradio_guard.PREFIX}/heartbeat/"
    return path.removeprefix(heartbeat) if path.startswith(heartbeat) else None
