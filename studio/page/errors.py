"""What Gradio's own routes answer where they fail, as one sentence in the visitor's language.

Gradio's script shows a failure's ``detail``; the sentence is there besides, for it and for others.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from gradio.route_utils import FnIndexInferError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response

from pipelines.core.errors import UserError
from pipelines.core.files import is_full
from pipelines.core.sizes import format_bytes
from studio.core.home import DiskFull
from studio.core.replies import Refusal, error_body, not_of_the_page, status_of
from studio.i18n import FAULT, language_of_request, translate

_log = logging.getLogger(__name__)

Handler = Callable[[Request, Any], Awaitable[Response]]


def page_error_handlers() -> dict[type[Exception], Handler]:
    """Of each kind of error that Gradio's routes raise, what it is answered with."""

    async def os_error(request: Request, error: OSError) -> JSONResponse:
        if not is_full(error):
            _log.error("a route of the page has failed", exc_info=error)
            fault = translate(FAULT, language_of_request(request))
            return _answer(request, 500, fault, "unavailable")
        return error_answer(request, _full_disk(request.headers.get("content-length", "")))

    return {
        UserError: _user_error,
        OSError: os_error,
        # Of events that are none of the page's: their number, their form, their session.
        LookupError: _not_of_the_page,
        FnIndexInferError: _not_of_the_page,
        RequestValidationError: _not_of_the_page,
        HTTPException: _http_error,
    }


def _full_disk(length: str) -> DiskFull:
    """The error of an upload of so many bytes, as its sender says, that did not fit."""
    return DiskFull(
        "The disk of this studio is full: your file of {size} does not fit. The host can make room "
        "by “Clean up” in the settings. Then send it again.",
        size=format_bytes(int(length) if length.isdecimal() else 0),
    )


async def _user_error(request: Request, error: UserError) -> JSONResponse:
    return error_answer(request, error)


async def _not_of_the_page(request: Request, _: Exception) -> JSONResponse:
    return error_answer(request, not_of_the_page())


async def _http_error(request: Request, error: HTTPException) -> Response:
    if isinstance(error, Refusal):
        return _answer(request, error.status_code, str(error.detail), error.body["error"]["type"])
    # Gradio's, whose words are replaced (studio.api.foreign_errors).
    return PlainTextResponse(str(error.detail), error.status_code, error.headers)


def error_answer(request: Request, error: UserError) -> JSONResponse:
    """The answer to a request of the page that has failed."""
    body = error_body(error, language_of_request(request))["error"]
    return _answer(request, status_of(error), body["message"], body["type"])


def _answer(request: Request, status: int, message: str, kind: str) -> JSONResponse:
    body = {"error": {"message": message, "type": kind}, "detail": message}
    return JSONResponse(body, status)
