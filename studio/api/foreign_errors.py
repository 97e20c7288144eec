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
from studio.api.access import is_openai
from studio.core.replies import MethodNotAllowed, error_body
from studio.features.openai_api.errors import problem
from studio.i18n import FAULT, language_of
from studio.page.values import not_of_the_page

SHOWN = 100  # characters of what was sent
FORM = "multipart/form-data"
# Headers of a framework's answer that are about its text.
ABOUT_TEXT = {"content-type", "content-length"}


class OwnWords:
    """ASGI middleware: an error that is a mere text is answered as the studio's own errors are.

    Args:
        routes: of the whole app; of their paths it is said by which methods they are asked.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[Any]) -> None:
        self.app = app
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
        if is_openai(scope["path"]):
            return problem(error).response(language)
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
            allowed = self._allowed(path) or set(re.findall(r"[A-Z]+", headers.get("allow", "")))
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
                needed=FORM,
            )
        return not_of_the_page()

    def _allowed(self, path: str) -> set[str]:
        found = (methods for pattern, methods in self._methods if pattern.match(path) is not None)
        return gradio_guard.methods_of(path).union(*found)


def no_form() -> BadRequest:
    """The error of a form that cannot be read."""
    return BadRequest(
        "What was sent cannot be read as a form of the type {needed}. Send it with its boundary in "
        "the header Content-Type, and each part with a name and whole.",
        needed=FORM,
    )


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
