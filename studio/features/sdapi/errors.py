"""Errors in A1111's shape: ``{"error", "detail", "body", "errors"}``.

Source: AUTOMATIC1111's ``modules/api/api.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pipelines.core.errors import BadRequest, NotFound, UserError
from studio.core.accounts.accounts import NotLoggedIn
from studio.core.replies import MethodNotAllowed, status_of
from studio.i18n import language_of_request, translate

UNREADABLE = "What was sent cannot be read. Send a JSON object, and numbers where numbers belong."


class UnknownSampler(NotFound):
    """A sampler that is not here; programs look for A1111's own words."""


class Failed(UserError):
    """A job that has not ended well (HTTP 500)."""


def refuse(error: UserError, language: str) -> Response:
    """An error as A1111 answers it; the sentence is in ``errors``, and mostly in ``detail``."""
    sentence = translate(error.message, language)
    detail = "Sampler not found" if isinstance(error, UnknownSampler) else sentence
    status = 500 if isinstance(error, Failed) else status_of(error)
    response = _answer(type(error).__name__, detail, sentence, status)
    if isinstance(error, NotLoggedIn):
        response.headers["www-authenticate"] = 'Basic realm="Atelier", charset="UTF-8"'
    if isinstance(error, MethodNotAllowed):
        response.headers["allow"] = error.allowed
    return response


def _answer(name: str, detail: str, sentence: str, status: int) -> Response:
    return JSONResponse({"error": name, "detail": detail, "body": "", "errors": sentence}, status)


class Route(APIRoute):
    """A route whose errors go out in A1111's shape."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_in_shape(request: Request) -> Response:
            try:
                return await answer(request)
            except UserError as error:
                return refuse(error, language_of_request(request))
            except RequestValidationError:
                return refuse(BadRequest(UNREADABLE), language_of_request(request))
            except HTTPException as error:
                return _answer("HTTPException", error.detail, error.detail, error.status_code)

        return answer_in_shape
