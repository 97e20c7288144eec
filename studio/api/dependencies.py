"""What the handlers of routes ask for by their parameters' types: studio, sender, language, body.

A router is a module's, and serves every studio of a process: what belongs to one studio is reached
through the request alone.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query, Request
from pydantic import BaseModel

from pipelines.core.errors import validate
from studio.api.http import json_object
from studio.core.accounts.accounts import Owner, owner_of
from studio.core.gallery.gallery import MAX_SEARCH
from studio.core.services import Studio
from studio.i18n import language_of_request


async def studio_of(request: Request) -> Studio:
    """The studio that serves the request."""
    return request.app.state.studio


async def current_owner(request: Request) -> Owner:
    """The owner who has sent the request."""
    return owner_of(request)


async def current_language(request: Request) -> str:
    """The language in which the sender reads sentences."""
    return language_of_request(request)


async def raw_body(request: Request) -> bytes:
    """The body as it was sent, for what is no larger than memory holds."""
    return await request.body()


CurrentStudio = Annotated[Studio, Depends(studio_of)]
CurrentOwner = Annotated[Owner, Depends(current_owner)]
CurrentLanguage = Annotated[str, Depends(current_language)]
# Of a list, and of the lists that go on where one has ended.
Limit = Annotated[int, Query(ge=1, le=200)]
Before = Annotated[str | None, Query(max_length=100)]
Search = Annotated[str, Query(max_length=MAX_SEARCH)]
JsonObject = Annotated[dict[str, Any], Depends(json_object)]
RawBody = Annotated[bytes, Depends(raw_body)]


def body_as(model: type[BaseModel]) -> Any:
    """A dependency that reads the body, a JSON object, as a model.

    Raises:
        BadRequest: names the first field that cannot be used; or the body is no such object.
    """

    async def read(data: JsonObject) -> BaseModel:
        return validate(model, data)

    return Depends(read)
