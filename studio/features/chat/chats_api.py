"""The HTTP API's part for conversations; what the chat tab stands on.

Every change names the ``revision`` that its sender has seen, and is refused (409) where the
conversation has gone on meanwhile: a stale page never writes over anything.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from pipelines.chat.requests import STARTER
from pipelines.core.errors import BadRequest, NotFound, validated
from studio.api import sse
from studio.api.http import NOT_KEPT, json_object, json_reply, receive_body, text_reply
from studio.core.accounts.accounts import Owner, owner_of
from studio.core.gallery.gallery import MAX_SEARCH
from studio.features.chat import json_views
from studio.features.chat.answers.sse import Follower, events
from studio.features.chat.conversations import MAX_LANES
from studio.features.chat.records import STREAMING
from studio.i18n import language_of_request, translate

if TYPE_CHECKING:
    from studio.core.services import Studio
    from studio.features.chat.records import StoredMessage

Revision = Annotated[int, Field(ge=0, le=2**62)]
Name = Annotated[str, Field(max_length=200)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _New(_Body):
    models: Annotated[list[Name], Field(min_length=1, max_length=MAX_LANES)]
    system_prompt: str = ""
    sampling: dict[str, Any] = {}


class _Changes(_Body):
    revision: Revision
    title: str | None = None
    model: Name | None = None
    system_prompt: str | None = None
    sampling: dict[str, Any] | None = None


class _Lane(_Body):
    revision: Revision
    model: Name


class _Text(_Body):
    revision: Revision
    text: str


class _Seen(_Body):
    revision: Revision


class _Turn(_Body):
    revision: Revision
    step: Literal[-1, 1]


def chats_router(studio: Studio) -> APIRouter:
    routes = APIRouter(tags=["chats"])
    chats, answers = studio.conversations, studio.answers

    def conversation_reply(
        request: Request, conversation_id: str, status_code: int = 200, **more: Any
    ) -> Response:
        """A conversation as JSON; made in the thread that has changed it."""
        drawn = request.query_params.get("drawn") == "true"
        latest = (
            None if request.query_params.get("all") == "true" or not drawn else json_views.LATEST
        )
        view = json_views.whole(
            studio,
            owner_of(request),
            conversation_id,
            language_of_request(request),
            latest=latest,
            drawn=drawn,
        )
        return json_reply({**view, **more}, status_code)

    def check(owner: Owner, chat_id: str) -> None:
        """Whether each lane's model may be asked; a file that was brought in can name any."""
        for lane in chats.lanes(owner.id, chat_id):
            json_views.model_name(studio, owner, lane.model)

    def answer(owner: Owner, asked: list[StoredMessage]) -> None:
        for message in asked:
            answers.start(owner.id, message.conversation, message.id)

    @routes.get("/chat-models")
    def models(request: Request) -> dict[str, Any]:
        """The language models that one can choose, and the controls of their sampling."""
        owner, language = owner_of(request), language_of_request(request)
        return {
            "models": json_views.models(studio, owner, language),
            **json_views.settings(language),
        }

    @routes.get("/chats")
    def search(
        request: Request,
        search: Annotated[str, Query(max_length=MAX_SEARCH)] = "",
        before: Annotated[str | None, Query(max_length=100)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> dict[str, Any]:
        """One's own conversations, last changed first; ``next`` is ``before`` of the next page."""
        found = chats.search(owner_of(request).id, search, limit=limit, before=before)
        return {
            "chats": [json_views.list_item(each) for each in found],
            "next": found[-1].cursor if len(found) == limit else None,
        }

    @routes.post("/chats", status_code=201)
    async def new(request: Request) -> Response:
        """Begins a conversation with one model, or with up to three side by side."""
        body, owner = validated(_New, await json_object(request)), owner_of(request)

        def begin() -> Response:
            first, *beside = (json_views.model_name(studio, owner, name) for name in body.models)
            made = chats.new(
                owner.id,
                first,
                beside=beside,
                system_prompt=body.system_prompt,
                sampling=body.sampling,
            )
            return conversation_reply(request, made.id, 201)

        return await run_sync(begin)

    @routes.post("/chats/import", status_code=201)
    async def bring(request: Request, model: Name = STARTER) -> Response:
        """Keeps the conversations of a file, sent as the body; answers with one of them.

        One of Atelier's, an export of ChatGPT, Claude, Open WebUI, SillyTavern or ShareGPT, or
        messages as OpenAI's API has them; JSON, JSON lines, or a zip. ``brought`` says how many
        there were, and ``left_out`` what was left out of them.
        """
        owner, language = owner_of(request).id, language_of_request(request)

        def keep() -> Response:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            brought = studio.exchange.bring(owner, file, size, model)
            remarks = [translate(each, language) for each in brought.remarks]
            more = {"brought": {"count": brought.count, "left_out": remarks}}
            return conversation_reply(request, brought.first.id, 201, **more)

        async with receive_body(request, studio.home) as file:
            return await run_sync(keep)

    @routes.get("/chats/{chat_id}")
    def one(chat_id: str, request: Request) -> Response:
        """A conversation; with ``drawn=true`` the last messages, answers as HTML."""
        return conversation_reply(request, chat_id)

    @routes.patch("/chats/{chat_id}")
    async def change(chat_id: str, request: Request) -> Response:
        """Another title, or model, system prompt and sampling of this lane."""
        body, owner = validated(_Changes, await json_object(request)), owner_of(request)

        def configure() -> Response:
            revision = body.revision
            given = body.model_dump(include={"model", "system_prompt", "sampling"})
            if body.model is not None:
                given["model"] = json_views.model_name(studio, owner, body.model)
            if body.title is not None:
                now = chats.rename(owner.id, chat_id, body.title, revision)
                revision = now.revision
            if any(value is not None for value in given.values()):
                chats.configure(owner.id, chat_id, revision, **given)
            return conversation_reply(request, chat_id)

        return await run_sync(configure)

    @routes.delete("/chats/{chat_id}", status_code=204)
    def delete(chat_id: str, request: Request, revision: Revision | None = None) -> None:
        """Deletes a conversation with all its branches for good, and those beside it."""
        chats.delete(owner_of(request).id, chat_id, revision)

    @routes.delete("/chats")
    def delete_all(request: Request) -> dict[str, int]:
        """Deletes all of one's own conversations for good."""
        return {"deleted": chats.delete_all(owner_of(request).id)}

    @routes.post("/chats/{chat_id}/lanes", status_code=201)
    async def add_lane(chat_id: str, request: Request) -> Response:
        """Puts another model beside, with a copy of what is shown."""
        body, owner = validated(_Lane, await json_object(request)), owner_of(request)

        def add() -> Response:
            name = json_views.model_name(studio, owner, body.model)
            added = chats.add_lane(owner.id, chat_id, name, body.revision)
            return conversation_reply(request, added.id, 201)

        return await run_sync(add)

    @routes.delete("/chats/{chat_id}/lane")
    def drop_lane(chat_id: str, request: Request, revision: Revision) -> Response:
        """Takes this lane away from those that it stands beside."""
        left = chats.drop_lane(owner_of(request).id, chat_id, revision)
        return conversation_reply(request, left[0].id)

    @routes.post("/chats/{chat_id}/messages")
    async def say(chat_id: str, request: Request) -> Response:
        """Says something, which every lane's model begins to answer."""
        body, owner = validated(_Text, await json_object(request)), owner_of(request)

        def run() -> Response:
            check(owner, chat_id)
            answer(owner, chats.say(owner.id, chat_id, body.text, body.revision))
            return conversation_reply(request, chat_id)

        return await run_sync(run)

    @routes.post("/chats/{chat_id}/stop")
    def stop(chat_id: str, request: Request) -> dict[str, Any]:
        """Stops what is being written in any lane, at the next token."""
        owner = owner_of(request).id
        for message_id in _unfinished_ids(studio, owner, chat_id):
            answers.stop(owner, message_id)
        return {"stopping": True}

    @routes.get("/chats/{chat_id}/events")
    async def follow(chat_id: str, request: Request) -> StreamingResponse:
        """Server-sent events: what is being written in the lanes, until all have ended."""
        owner, language = owner_of(request).id, language_of_request(request)
        ids = await run_sync(_unfinished_ids, studio, owner, chat_id)
        followers = [Follower(answers, owner, each, language) for each in ids]
        return sse.stream(events(followers))

    @routes.get("/chats/{chat_id}/export.{form}")
    def export(chat_id: str, form: Literal["md", "json"], request: Request) -> Response:
        """What is shown as Markdown, or all branches as JSON."""
        owner = owner_of(request).id
        exchange = studio.exchange
        write = exchange.markdown_pieces if form == "md" else exchange.json_pieces
        title = chats.get(owner, chat_id).title or "conversation"
        return text_reply(
            write(owner, chat_id),
            "text/markdown" if form == "md" else "application/json",
            {
                **NOT_KEPT,
                "Content-Disposition": f"attachment; filename*=UTF-8''{quote(title)}.{form}",
            },
        )

    @routes.post("/chats/messages/{message_id}/edit")
    async def edit(message_id: str, request: Request) -> Response:
        """Puts another text beside a message; what a person says is answered anew."""
        body, owner = validated(_Text, await json_object(request)), owner_of(request)

        def run() -> Response:
            check(owner, chats.message(owner.id, message_id).conversation)
            added = chats.edit(owner.id, message_id, body.text, body.revision)
            answer(owner, [each for each in added if each.role == "user"])
            return conversation_reply(request, added[0].conversation)

        return await run_sync(run)

    @routes.post("/chats/messages/{message_id}/answer")
    async def again(message_id: str, request: Request) -> Response:
        """Another answer, beside this one or to this message."""
        body, owner = validated(_Seen, await json_object(request)), owner_of(request)

        def run() -> Response:
            message = chats.message(owner.id, message_id)
            lane = chats.get(owner.id, message.conversation)
            check(owner, lane.id)
            parent = message.id if message.role == "user" else message.parent
            if parent is None:
                raise BadRequest("There is nothing to answer: send a message of the role user.")
            answers.start(owner.id, lane.id, parent, revision=body.revision)
            return conversation_reply(request, lane.id)

        return await run_sync(run)

    @routes.post("/chats/messages/{message_id}/continue")
    async def go_on(message_id: str, request: Request) -> Response:
        """Goes on with an answer that has ended too early."""
        body, owner = validated(_Seen, await json_object(request)), owner_of(request)

        def run() -> Response:
            message = chats.message(owner.id, message_id)
            check(owner, message.conversation)
            if message.model is not None:  # who began it goes on with it
                json_views.model_name(studio, owner, message.model)
            answers.continue_(owner.id, message_id, revision=body.revision)
            return conversation_reply(request, message.conversation)

        return await run_sync(run)

    @routes.post("/chats/messages/{message_id}/turn")
    async def turn(message_id: str, request: Request) -> Response:
        """Shows the branch of the message before (−1) or after (1) this one in its place."""
        body, owner = validated(_Turn, await json_object(request)), owner_of(request)

        def run() -> Response:
            other = chats.neighbour(owner.id, message_id, body.step)
            if other is None:
                raise NotFound("There is no other message in this place.")
            lanes = chats.choose(owner.id, other, body.revision)
            return conversation_reply(request, lanes[0].id)

        return await run_sync(run)

    return routes


def _unfinished_ids(studio: Studio, owner: str, chat_id: str) -> list[str]:
    """The ids of the answers that are shown and being written, lane by lane."""
    chats = studio.conversations
    last = [chats.message(owner, each.leaf) for each in chats.lanes(owner, chat_id) if each.leaf]
    return [each.id for each in last if each.state == STREAMING]
