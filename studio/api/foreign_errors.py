"""What frameworks answer where they refuse a request, said in the studio's words and form.

Their own words, such as “Not Found” or “Missing boundary in multipart.”, are texts without a form,
in English, and say neither what was sent nor what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.core.errors import BadRequest, NotFound, UserError
from studio.api import gradio_guard
from studio.core.feature import Features
from studio.core.replies import FORM_TYPE, MethodNotAllowed, error_body, no_form, not_of_the_page
from studio.i18n import FAULT, language_of

SHOWN = 100  # characters of what was sent
# Headers of a framework's answer that are about its text.
ABOUT_TEXT = {"content-type", "content-length"}


class OwnWords:
    """ASGI middleware: an error that is a mere text is answered as the studio's own errors are.

    Args:
        routes: of the whole app; of their paths it is said by which methods they are asked.
        features: tell how errors are said in other protocols.
    """

    def __init__(
        self, app: ASGIApp, routes: Iterable[Any], features: Features | None = None
    ) -> None:
        self.app = app
        self._features = features if features is not None else Features()
        self._methods = [
            (compile_path(path)[0], methods)
            for path, methods in _templates(routes)
            if not path.endswith("{path:path}")
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        replaced = False

        async def sender(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and _is_text_of_error(message):
                replaced = True
                await self._answer(scope, message)(scope, receive, send)
            elif not replaced:
                await send(message)

        await self.app(scope, receive, sender)

    def _answer(self, scope: Scope, start: Message) -> Response:
        status, headers = start["status"], Headers(raw=start["headers"])
        language = language_of(Headers(scope=scope).get("accept-language"))
        error = self._error(scope, status, headers)
        if isinstance(error, MethodNotAllowed | NotFound):
            status = 405 if isinstance(error, MethodNotAllowed) else 404
        if (api := self._features.foreign_api(scope["path"])) is not None:
            return api.refuse(error, language)
        body: dict[str, Any] = error_body(error, language)
        if status >= 500:
            body["error"]["type"] = "internal_error"
        if scope["path"].startswith(gradio_guard.PREFIX):  # whose script shows this
            body["detail"] = body["error"]["message"]
        kept = {name: value for name, value in headers.items() if name not in ABOUT_TEXT}
        if isinstance(error, MethodNotAllowed):
            kept["allow"] = error.allowed
        return JSONResponse(body, status, kept)

    def _error(self, scope: Scope, status: int, headers: Headers) -> UserError:
        asked, path = Headers(scope=scope), scope["path"]
        if status in (404, 405):
            allowed = self._allowed_methods(path) or set(
                re.findall(r"[A-Z]+", headers.get("allow", ""))
            )
            if allowed and scope["method"] not in allowed:
                return MethodNotAllowed(scope["method"][:SHOWN], path[:SHOWN], allowed)
            return NotFound("There is nothing at {path}.", path=path[:SHOWN])
        if status >= 500:
            return UserError(FAULT)
        if "range" in asked and status in (400, 416):
            return BadRequest(
                "This file has no part {range}. Ask for another part, or leave the header Range "
                "out to have it whole.",
                range=asked["range"][:SHOWN],
            )
        if asked.get("content-type", "").lower().startswith("multipart"):
            return no_form()
        if path == gradio_guard.UPLOAD:
            return BadRequest(
                "The header Content-Type is {value}; it must be {needed}. Send the files as a "
                "form.",
                value=asked.get("content-type", "")[:SHOWN] or "–",
                needed=FORM_TYPE,
            )
        return not_of_the_page()

    def _allowed_methods(self, path: str) -> set[str]:
        found = (methods for pattern, methods in self._methods if pattern.match(path) is not None)
        return gradio_guard.methods_of(path).union(*found)


def _is_text_of_error(start: Message) -> bool:
    kind = Headers(raw=start["headers"]).get("content-type", "text/plain")
    return start["status"] >= 400 and kind.startswith("text/plain")


def _templates(routes: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, set[str]]]:
    """Path and methods of each route, those of included routers as well."""
    for route in routes:
        if (inner := getattr(route, "original_router", None)) is not None:
            yield from _templates(inner.routes, prefix + route.include_context.prefix)
        elif (methods := getattr(route, "methods", None)) is not None:
            yield prefix + route.path, set(methods)
