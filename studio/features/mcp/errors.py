"""Errors as JSON-RPC has them: ``{"jsonrpc", "id", "error": {"code", "message"}}``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pipelines.core.errors import UserError
from studio.core.accounts.accounts import NotLoggedIn
from studio.core.replies import MethodNotAllowed, status_of
from studio.i18n import language_of_request, translate

INVALID_REQUEST = -32600  # of JSON-RPC 2.0, section 5.1


def refuse(error: UserError, language: str) -> Response:
    """An error that has kept a request from reaching any tool."""
    response = _answer(translate(error.message, language), status_of(error))
    if isinstance(error, NotLoggedIn):
        response.headers["www-authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowed):
        response.headers["allow"] = error.allowed
    return response


def _answer(message: str, status: int) -> Response:
    error = {"code": INVALID_REQUEST, "message": message}
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status)


class Route(APIRoute):
    """A route whose errors go out as JSON-RPC's."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_in_form(request: Request) -> Response:
            try:
                return await answer(request)
            except UserError as error:
                return refuse(error, language_of_request(request))
            except HTTPException as error:
                return _answer(str(error.detail), error.status_code)

        return answer_in_form
