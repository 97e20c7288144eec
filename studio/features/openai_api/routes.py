"""The routes under ``/v1`` and ``/health``."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from fastapi.responses import PlainTextResponse, Response

from pipelines.chat.backends.remote_fields import unsent_fields
from pipelines.chat.requests import Generation
from studio.api.dependencies import CurrentOwner, CurrentStudio, JsonObject
from studio.api.http import NOT_KEPT
from studio.api.job_waiting import Gone
from studio.core.accounts.accounts import Owner
from studio.core.accounts.keys import ApiKey
from studio.core.services import Studio
from studio.features.openai_api import bodies, image_edits, images, models, responses, text_vectors
from studio.features.openai_api.answering import Answering
from studio.features.openai_api.errors import Invalid, Route
from studio.features.openai_api.schemas import ModelList
from studio.features.openai_api.wire import ChatFormat, CompletionFormat

OPENAI = "/v1"

router = APIRouter(tags=["openai"], route_class=Route)


@router.get("/health")
def health() -> dict[str, str]:
    """For load balancers; needs no login."""
    return {"status": "ok"}


@router.api_route(f"{OPENAI}/models", methods=["GET", "HEAD"])
@router.api_route(f"{OPENAI}/models/", methods=["GET", "HEAD"])
def list_models(studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    """The models that are here, and one's own."""
    found = models.list_models(studio, owner)
    return ModelList(data=list(found.values())).model_dump()


@router.api_route(f"{OPENAI}/models/{{name:path}}", methods=["GET", "HEAD"])
def one(name: str, studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    return models.one(studio, owner, name.rstrip("/")).model_dump()


async def key_of(request: Request) -> ApiKey | None:
    """The key that a request came with; None where its sender is logged in."""
    return request.state.api_key


CurrentKey = Annotated[ApiKey | None, Depends(key_of)]


async def check_rate(studio: CurrentStudio, key: CurrentKey) -> None:
    """Counts a request of a key that may make so many a minute; raises Busy."""
    if key is not None:
        studio.keys.check_request(key)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks for an answer, and of which studio."""

    studio: Studio
    owner: Owner
    key: ApiKey | None

    def check(self, asked: bodies.Asked) -> None:
        """Whether the owner may ask the model, and its server is sent all that was asked for.

        Raises:
            UserError: says why not.
        """
        entry = models.chat_model(self.studio, self.owner, asked.model)
        for name in unsent_fields(asked.requests[0], entry):
            field = bodies.NAMES.get(name, name)
            raise Invalid(
                "{model} runs on a server that is not sent {field}. Leave it out.",
                model=asked.model,
                field=field,
                param=field,
            )

    def open_stream(self, request: Generation, stop: threading.Event) -> Any:
        """The engine's events, once there is a place for the owner's request, which is checked."""
        return self.studio.find("answers").stream(request, self.owner.id, stop)

    def count_tokens(self, tokens: int) -> None:
        """Counts the tokens of a request for the key that it came with."""
        if self.key is not None:
            self.studio.keys.count_tokens(self.key, tokens)


async def asker_of(studio: CurrentStudio, owner: CurrentOwner, key: CurrentKey) -> Asker:
    """Who has sent a request."""
    return Asker(studio, owner, key)


CurrentAsker = Annotated[Asker, Depends(asker_of)]
# Before the body is looked at: what cannot be answered counts too.
RATED = [Depends(check_rate)]


@router.post(f"{OPENAI}/chat/completions", dependencies=RATED)
def chat(asker: CurrentAsker, data: JsonObject) -> Response:
    """The answer to a conversation."""
    asked = bodies.chat(data)
    asker.check(asked)
    return Answering(ChatFormat(asked), asker.open_stream, asker.count_tokens)


@router.post(f"{OPENAI}/completions", dependencies=RATED)
def completion(asker: CurrentAsker, data: JsonObject) -> Response:
    """What a text goes on with."""
    asked = bodies.completion(data)
    asker.check(asked)
    return Answering(CompletionFormat(asked), asker.open_stream, asker.count_tokens)


@router.post(f"{OPENAI}/responses", dependencies=RATED)
def respond(asker: CurrentAsker, data: JsonObject) -> Response:
    """The answer to a conversation, in the newer form."""
    memory, owner = asker.studio.openai_responses, asker.owner.id
    wanted = responses.read_body(data, partial(memory.get, owner))
    asker.check(wanted.asked)
    form = responses.ResponseFormat(wanted, partial(memory.keep, owner))
    return Answering(form, asker.open_stream, asker.count_tokens)


@router.get(f"{OPENAI}/responses/{{response_id}}")
def response(response_id: str, studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    """A response that is still remembered."""
    return studio.openai_responses.get(owner.id, response_id).body


@router.delete(f"{OPENAI}/responses/{{response_id}}")
def forget(response_id: str, studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    """Forgets a response."""
    studio.openai_responses.forget(owner.id, response_id)
    return {"id": response_id, "object": "response", "deleted": True}


@router.post(f"{OPENAI}/embeddings", dependencies=RATED)
async def embed(request: Request, asker: CurrentAsker, data: JsonObject) -> Response:
    """The vectors of texts."""
    wanted, form = text_vectors.request_of(data)
    try:
        text = await text_vectors.embed(asker, wanted, form, request.receive)
    except Gone:
        return Response(status_code=499)  # which nobody reads
    return Response(text, media_type="application/json", headers=NOT_KEPT)


@router.post(f"{OPENAI}/images/generations", dependencies=RATED)
async def paint(
    request: Request, studio: CurrentStudio, owner: CurrentOwner, data: JsonObject
) -> Response:
    """Pictures from words, inside the answer."""
    return await _paint(studio, owner, images.request_of(data), request, images.KIND)


@router.post(f"{OPENAI}/images/edits", dependencies=RATED)
async def edit(request: Request, studio: CurrentStudio, owner: CurrentOwner) -> Response:
    """Pictures of a form, changed as its words say."""
    sent = await image_edits.read_form(request)
    wanted = await run_sync(image_edits.edit_of, studio, owner, sent)
    return await _paint(studio, owner, wanted, request, image_edits.KIND)


@router.post(f"{OPENAI}/images/variations", dependencies=RATED)
async def vary(request: Request, studio: CurrentStudio, owner: CurrentOwner) -> Response:
    """Pictures much like the one of a form."""
    sent = await image_edits.read_form(request)
    wanted = await run_sync(image_edits.variation_of, studio, owner, sent)
    return await _paint(studio, owner, wanted, request, image_edits.KIND)


async def _paint(
    studio: Studio, owner: Owner, wanted: Mapping[str, Any], request: Request, kind: str
) -> Response:
    try:
        text = await images.generate(studio, owner, wanted, request.receive, kind)
    except Gone:
        return Response(status_code=499)  # which nobody reads
    return Response(text, media_type="application/json", headers=NOT_KEPT)


@router.api_route(
    f"{OPENAI}/{{path:path}}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
)
def nothing(path: str) -> Response:
    """Else the page would answer: it is mounted at the root. Of what is asked by another method
    :class:`studio.api.foreign_errors.OwnWords` says so."""
    return PlainTextResponse("", 404)
