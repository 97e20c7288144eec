"""What pages ask of Gradio's queue besides to join it: to cancel an event, and to hear of events.

Gradio cancels whatever event is named, whoever asks. It finds out that a page has nothing to hear
of when the answer has begun, and fails: the page is told an exception's words, and the log has a
traceback.
"""

from __future__ import annotations

import json

import gradio as gr
from gradio.data_classes import CancelBody
from gradio.route_utils import API_PREFIX
from gradio.server_messages import CloseStreamMessage, UnexpectedErrorMessage
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.core import messages
from pipelines.core.errors import NotFound, UserError
from studio.core.accounts.accounts import owner_of
from studio.core.accounts.session_owners import SessionOwners
from studio.core.replies import not_of_the_page
from studio.i18n import language_of_request, translate
from studio.page.errors import error_answer

CANCEL, STREAM = f"{API_PREFIX}/cancel", f"{API_PREFIX}/queue/data"
MAX_CANCEL_BYTES = 10_000  # a session, an event and a number
FAILURE = b'"unexpected_error"'  # in the last message of a stream that fails


class PageQueue:
    """ASGI middleware of Gradio's app: an event is cancelled by its own page alone, and a page's
    stream ends in order.

    Args:
        app: Gradio's.
        page: whose queue it is about.
        sessions: of the page, and whose they are.
    """

    def __init__(self, app: ASGIApp, page: gr.Blocks, sessions: SessionOwners) -> None:
        self.app, self.page, self.sessions = app, page, sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path")
        if path == CANCEL and scope["method"] == "POST":
            await self._cancel(scope, receive, send)
        elif path == STREAM:
            await self._stream(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _cancel(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = await _cancel_body(request)
            if not self.sessions.owns(body.session_hash, owner_of(request).id):
                raise NotFound("There is nothing at {path}.", path=CANCEL)
        except UserError as error:
            await error_answer(request, error)(scope, receive, send)
            return
        events = self.page._queue.pending_event_ids_session.get(body.session_hash, ())
        if body.event_id not in events:  # it has ended, or is another page's
            await JSONResponse({"success": True})(scope, receive, send)
            return
        checked = {"type": "http.request", "body": body.model_dump_json().encode()}

        async def receive_checked() -> Message:
            return checked

        await self.app(scope, receive_checked, send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        language = language_of_request(Request(scope))
        ended = False

        async def sender(message: Message) -> None:
            nonlocal ended
            if message["type"] == "http.response.body" and _is_failure(message.get("body", b"")):
                message, ended = {**message, "body": _farewell(language)}, True
            await send(message)

        try:
            await self.app(scope, receive, sender)
        except Exception:
            if not ended or self._is_known(scope):
                raise
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _is_known(self, scope: Scope) -> bool:
        session = Request(scope).query_params.get("session_hash")
        return session in self.page._queue.pending_messages_per_session


async def _cancel_body(request: Request) -> CancelBody:
    """What is to be cancelled; raises BadRequest where that is not said."""
    text = b""
    async for chunk in request.stream():
        text += chunk
        if len(text) > MAX_CANCEL_BYTES:
            raise not_of_the_page()
    try:
        return CancelBody.model_validate_json(text)
    except ValidationError:
        raise not_of_the_page() from None


def _is_failure(chunk: bytes) -> bool:
    if FAILURE not in chunk:
        return False
    try:
        message = json.loads(chunk.removeprefix(b"data: "))
    except ValueError:
        return False
    return isinstance(message, dict) and message.get("msg") == "unexpected_error"


def _farewell(language: str) -> bytes:
    """The last words of a stream. Gradio's script shows them to each event that still waits, and
    opens a new stream for the next one."""
    sentence = messages.Message(
        "The studio knows of nothing more that this page waits for. Do it again; "
        "if nothing comes, load the page again."
    )
    last = UnexpectedErrorMessage(message=translate(sentence, language)), CloseStreamMessage()
    return "".join(f"data: {each.model_dump_json()}\n\n" for each in last).encode()
