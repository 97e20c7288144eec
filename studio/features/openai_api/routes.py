"""The routes under ``/v1`` and ``/health``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from pipelines.chat.backends.remote_fields import unsent_fields
from pipelines.chat.requests import Generation
from studio.api.http import NOT_KEPT, json_object
from studio.core.accounts.accounts import Owner, owner_of
from studio.features.openai_api import bodies, images, models
from studio.features.openai_api.answering import Answering
from studio.features.openai_api.errors import Invalid, Route
from studio.features.openai_api.running import Gone
from studio.features.openai_api.wire import ChatFormat, CompletionFormat, Format

if TYPE_CHECKING:
    from studio.core.services import Studio

OPENAI = "/v1"


def openai_router(studio: Studio) -> APIRouter:
    routes = APIRouter(tags=["openai"], route_class=Route)

    @routes.get("/health")
    def health() -> dict[str, str]:
        """For load balancers; needs no login."""
        return {"status": "ok"}

    @routes.api_route(f"{OPENAI}/models", methods=["GET", "HEAD"])
    @routes.api_route(f"{OPENAI}/models/", methods=["GET", "HEAD"])
    def list_models(request: Request) -> dict[str, Any]:
        """The models that are here, and one's own."""
        return {
            "object": "list",
            "data": list(models.list_models(studio, owner_of(request)).values()),
        }

    @routes.api_route(f"{OPENAI}/models/{{name:path}}", methods=["GET", "HEAD"])
    def one(name: str, request: Request) -> dict[str, Any]:
        return models.one(studio, owner_of(request), name.rstrip("/"))

    @routes.post(f"{OPENAI}/chat/completions")
    async def chat(request: Request) -> Response:
        """The answer to a conversation."""
        check_rate(request)
        return await begin_answer(request, bodies.chat, ChatFormat)

    @routes.post(f"{OPENAI}/completions")
    async def completion(request: Request) -> Response:
        """What a text goes on with."""
        check_rate(request)
        return await begin_answer(request, bodies.completion, CompletionFormat)

    @routes.post(f"{OPENAI}/embeddings")
    async def embeddings() -> None:
        raise Invalid(
            "Embeddings are not given here: none of the models has been trained for them.",
            code="unsupported",
        )

    @routes.post(f"{OPENAI}/images/generations")
    async def paint(request: Request) -> Response:
        """Pictures from words, inside the answer."""
        check_rate(request)
        wanted = images.request_of(await json_object(request))
        try:
            text = await images.generate(studio, owner_of(request), wanted, request.receive)
        except Gone:
            return Response(status_code=499)  # which nobody reads
        return Response(text, media_type="application/json", headers=NOT_KEPT)

    @routes.api_route(
        f"{OPENAI}/{{path:path}}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    )
    def nothing(path: str) -> Response:
        """Else the page would answer: it is mounted at the root. Of what is asked by another method
        :class:`studio.api.foreign_errors.OwnWords` says so."""
        return PlainTextResponse("", 404)

    async def begin_answer(
        request: Request,
        read: Callable[[Mapping[str, Any]], bodies.Asked],
        form: Callable[[bodies.Asked], Format],
    ) -> Answering:
        owner = owner_of(request)
        data = await json_object(request)

        def check() -> bodies.Asked:
            asked = read(data)
            entry = models.chat_model(studio, owner, asked.model)
            for name in unsent_fields(asked.requests[0], entry):
                field = bodies.NAMES.get(name, name)
                raise Invalid(
                    "{model} runs on a server that is not sent {field}. Leave it out.",
                    model=asked.model,
                    field=field,
                    param=field,
                )
            return asked

        asked = await run_sync(check)
        return Answering(form(asked), partial(open_stream, studio, owner), counter(request))

    def check_rate(request: Request) -> None:
        """Counts a request of a key that may make so many a minute; raises Busy."""
        if (key := request.state.api_key) is not None:
            studio.keys.check_request(key)

    def counter(request: Request) -> Callable[[int], None]:
        """Counts the tokens of a request for the key that it came with."""
        key = request.state.api_key
        return partial(studio.keys.count_tokens, key) if key is not None else lambda tokens: None

    return routes


def open_stream(studio: Studio, owner: Owner, request: Generation, stop: threading.Event) -> Any:
    """The engine's events, once there is a place for the owner's request."""
    return studio.answers.stream(request, owner.id, stop)
