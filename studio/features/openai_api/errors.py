"""Errors as OpenAI's API has them: ``{"error": {"message", "type", "param", "code"}}``.

OpenAI's clients make exception classes of the status, and programs branch on ``code``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pipelines.chat.context import ContextExceeded
from pipelines.core.errors import (
    BadRequest,
    Busy,
    NotFound,
    OutOfMemory,
    Refused,
    Stopped,
    Unavailable,
    UserError,
    bad_value,
    unforeseen,
)
from pipelines.core.messages import Message
from studio.core.accounts.accounts import NotLoggedIn
from studio.core.home import DiskFull
from studio.core.replies import MethodNotAllowed, TooLarge
from studio.features.openai_api.schemas import Error, ErrorEnvelope
from studio.i18n import language_of_request, translate

INVALID, SERVER, LIMIT = "invalid_request_error", "server_error", "rate_limit_error"
# The engine's names of fields that it alone can judge → OpenAI's.
_FIELDS = {"json_schema": "response_format", "inputs": "input"}
BUSY_SECONDS = 5  # after which a client may try again, where nothing tells it better


class Invalid(BadRequest):
    """A request that cannot be answered, with the field it is about.

    Args:
        template, values: as for every :class:`UserError`.
        param: the field's name in OpenAI's API.
        code: OpenAI's word for what is wrong.
    """

    def __init__(
        self, template: str, *, param: str | None = None, code: str | None = None, **values: Any
    ) -> None:
        super().__init__(template, **values)
        self.param, self.code = param, code


@dataclass(frozen=True, slots=True)
class Problem:
    """An error, in the protocol's terms.

    Attributes:
        status: of HTTP.
        type, code, param: fields of the envelope.
        message: the sentence; a text is sent as it is.
        headers: of the answer.
    """

    status: int
    type: str
    code: str | None
    message: Message | str
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def body(self, language: str = "en") -> str:
        """The envelope as JSON, its sentence in ``language``."""
        message = translate(self.message, language)
        error = Error(message=message, type=self.type, param=self.param, code=self.code)
        return json.dumps(ErrorEnvelope(error=error).model_dump())

    def response(self, language: str = "en") -> Response:
        return Response(
            self.body(language), self.status, self.headers, media_type="application/json"
        )


def problem(error: BaseException, prompt: str | None = None) -> Problem:
    """What the protocol says of ``error``.

    Args:
        prompt: the field that a prompt which is too long came in.
    """
    if isinstance(error, Stopped):
        error = Unavailable("The answer was stopped, because the studio is closing.")
    if not isinstance(error, UserError):
        return Problem(500, SERVER, "internal_error", unforeseen(error))
    message = error.message
    match error:
        case TooLarge():
            return Problem(413, INVALID, "request_too_large", message)
        case NotLoggedIn():
            headers = {"www-authenticate": "Bearer"}
            return Problem(401, INVALID, "invalid_api_key", message, headers=headers)
        case ContextExceeded():
            return Problem(400, INVALID, "context_length_exceeded", message, prompt)
        case Invalid():
            return Problem(400, INVALID, error.code, message, error.param)
        case BadRequest():
            field = str(error.path[0]) if error.path else None
            return Problem(400, INVALID, None, message, _FIELDS.get(field, field))
        case MethodNotAllowed():
            headers = {"allow": error.allowed}
            return Problem(405, INVALID, "method_not_allowed", message, headers=headers)
        case NotFound() if "model" in message.values:
            return Problem(404, INVALID, "model_not_found", message, "model")
        case NotFound():
            return Problem(404, INVALID, "not_found", message)
        case Refused():
            param = "model" if "model" in message.values else None
            return Problem(403, INVALID, "forbidden", message, param)
        case Busy():
            seconds = message.values.get("seconds", BUSY_SECONDS)
            headers = {"retry-after": str(max(1, round(seconds)))}
            return Problem(429, LIMIT, "rate_limit_exceeded", message, headers=headers)
        case OutOfMemory():
            return Problem(503, SERVER, "out_of_memory", message)
        case DiskFull():
            return Problem(503, SERVER, "disk_full", message)
        case Unavailable():
            return Problem(503, SERVER, "unavailable", message)
    # What has failed for good fails again; OpenAI's clients would send it twice more.
    return Problem(500, SERVER, "failed", message, headers={"x-should-retry": "false"})


class Route(APIRoute):
    """A route whose errors, whatever they are, go out in the envelope."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_in_envelope(request: Request) -> Response:
            try:
                return await answer(request)
            except HTTPException as error:  # a body beyond the limit, found while it is read
                found = Problem(error.status_code, INVALID, "request_too_large", error.detail)
            except RequestValidationError as error:
                first = error.errors()[0]
                name = str(first["loc"][-1])
                sentence = bad_value({**first, "loc": (name,)}, None, {name: first.get("input")})
                found = Problem(400, INVALID, None, sentence.message)
            except Exception as error:
                found = problem(error)
            return found.response(language_of_request(request))

        return answer_in_envelope
