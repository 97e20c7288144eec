"""Errors as HTTP answers: ``{"error": {"message", "type"}}`` with the status that fits."""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.exceptions import HTTPException

from pipelines.core.errors import (
    BadRequest,
    Busy,
    NotFound,
    OutOfMemory,
    Refused,
    Unavailable,
    UserError,
)
from pipelines.core.sizes import format_bytes
from studio.core.accounts.accounts import NotLoggedIn
from studio.core.home import DiskFull
from studio.i18n import translate

FORM_TYPE = "multipart/form-data"


class TooLarge(UserError):
    """A body beyond the limit (HTTP 413)."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            "What was sent is too large: at most {limit} are taken here.", limit=format_bytes(limit)
        )


class MethodNotAllowed(UserError):
    """Another HTTP method than the path takes (HTTP 405).

    Attributes:
        allowed: those that it takes, as the header Allow has them.
    """

    def __init__(self, method: str, path: str, allowed: Iterable[str]) -> None:
        self.allowed = ", ".join(sorted(allowed))
        super().__init__(
            "{path} is asked by {allowed}, not by {method}.",
            path=path,
            allowed=self.allowed,
            method=method,
        )


class Outdated(UserError):
    """A change of what has changed meanwhile (HTTP 409); nothing was done."""


# The first that fits counts: subclasses stand before their bases.
_STATUS: tuple[tuple[type[UserError], int], ...] = (
    (TooLarge, 413),
    (MethodNotAllowed, 405),
    (NotLoggedIn, 401),
    (BadRequest, 422),
    (NotFound, 404),
    (Refused, 403),
    (Outdated, 409),
    (Busy, 429),
    (DiskFull, 507),
    (OutOfMemory, 507),
    (Unavailable, 503),
    (UserError, 400),
)


def status_of(error: UserError) -> int:
    """The HTTP status of an error."""
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def error_body(error: UserError, language: str = "en") -> dict[str, dict[str, str]]:
    """The JSON body of an error, its sentence in ``language``."""
    return {
        "error": {
            "message": translate(error.message, language),
            "type": re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower(),
        }
    }


def not_of_the_page() -> BadRequest:
    """The error of an event that no control of the page sends."""
    return BadRequest("What was sent cannot be used here. Load the page again, then try once more.")


def no_form() -> BadRequest:
    """The error of a form that cannot be read."""
    return BadRequest(
        "What was sent cannot be read as a form of the type {needed}. Send it with its boundary in "
        "the header Content-Type, and each part with a name and whole.",
        needed=FORM_TYPE,
    )


class Refusal(HTTPException):
    """An error for what lies between us and a framework, which knows HTTPExceptions alone.

    Attributes:
        body: as :func:`error_body` has it.
    """

    def __init__(self, error: UserError, language: str) -> None:
        self.body = error_body(error, language)
        super().__init__(status_of(error), self.body["error"]["message"])
