"""The HTTP API's part for conversations; what the chat tab stands on.

Every change names the ``revision`` that its sender has seen, and is refused (409) where the
conversation has gone on meanwhile: a stale page never writes over anything.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from pipelines.chat.requests import STARTER
from pipelines.core.errors import BadRequest, NotFound
from studio.api import sse
from studio.api.dependencies import (
    Before,
    CurrentLanguage,
    CurrentOwner,
    CurrentStudio,
    Limit,
    Search,
    body_as,
)
from studio.api.http import attachment, json_reply, receive_body, text_reply
from studio.features.chat import json_views
from studio.features.chat.answers.sse import Follower, events
from studio.features.chat.conversation_record import STREAMING
from studio.features.chat.conversations import MAX_LANES
from studio.i18n import translate

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio
    from studio.features.chat.conversation_record import StoredMessage

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


router = APIRouter(tags=["chats"])


@dataclass(frozen=True, slots=True)
class ConversationReply:
    """What makes a conversation the answer to a request, in the form that its query asks for.

    Attributes:
        drawn: whether answers are HTML.
        latest: of how many messages; None: of all.
    """

    studio: Studio
    owner: Owner
    language: str
    drawn: bool
    latest: int | None

    def __call__(self, conversation_id: str, status_code: int = 200, **more: Any) -> Response:
        """A conversation as JSON; made in the thread that has changed it."""
        view = json_views.whole(
            self.studio,
            self.owner,
            conversation_id,
            self.language,
            latest=self.latest,
            drawn=self.drawn,
        )
        return json_reply({**view, **more}, status_code)


async def conversation_reply(
    request: Request, studio: CurrentStudio, owner: CurrentOwner, language: CurrentLanguage
) -> ConversationReply:
    """The reply that the sender of a request understands."""
    drawn = request.query_params.get("drawn") == "true"
    whole = request.query_params.get("all") == "true" or not drawn
    latest = None if whole else json_views.LATEST
    return ConversationReply(studio, owner, language, drawn, latest)


Reply = Annotated[ConversationReply, Depends(conversation_reply)]


@router.get("/chat-models")
def models(studio: CurrentStudio, owner: CurrentOwner, language: CurrentLanguage) -> dict[str, Any]:
    """The language models that one can choose, and the controls of their sampling."""
    return {
        "models": json_views.models(studio, owner, language),
        **json_views.settings(language),
    }


@router.get("/chats")
def search(
    studio: CurrentStudio,
    owner: CurrentOwner,
    search: Search = "",
    before: Before = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """One's own conversations, last changed first; ``next`` is ``before`` of the next page."""
    found = studio.conversations.search(owner.id, search, limit=limit, before=before)
    return {
        "chats": [json_views.list_item(each) for each in found],
        "next": found[-1].cursor if len(found) == limit else None,
    }


@router.post("/chats", status_code=201)
def new(
    studio: CurrentStudio, owner: CurrentOwner, reply: Reply, body: Annotated[_New, body_as(_New)]
) -> Response:
    """Begins a conversation with one model, or with up to three side by side."""
    first, *beside = (json_views.model_name(studio, owner, name) for name in body.models)
    made = studio.conversations.new(
        owner.id,
        first,
        beside=beside,
        system_prompt=body.system_prompt,
        sampling=body.sampling,
    )
    return reply(made.id, 201)


@router.post("/chats/import", status_code=201)
async def bring(
    request: Request,
    studio: CurrentStudio,
    owner: CurrentOwner,
    language: CurrentLanguage,
    reply: Reply,
    model: Name = STARTER,
) -> Response:
    """Keeps the conversations of a file, sent as the body; answers with one of them.

    One of Atelier's, an export of ChatGPT, Claude, Open WebUI, SillyTavern or ShareGPT, or
    messages as OpenAI's API has them; JSON, JSON lines, or a zip. ``brought`` says how many
    there were, and ``left_out`` what was left out of them.
    """

    def keep() -> Response:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        brought = studio.exchange.bring(owner.id, file, size, model)
        remarks = [translate(each, language) for each in brought.remarks]
        more = {"brought": {"count": brought.count, "left_out": remarks}}
        return reply(brought.first.id, 201, **more)

    async with receive_body(request, studio.home) as file:
        return await run_sync(keep)


@router.get("/chats/{chat_id}")
def one(chat_id: str, reply: Reply) -> Response:
    """A conversation; with ``drawn=true`` the last messages, answers as HTML."""
    return reply(chat_id)


@router.patch("/chats/{chat_id}")
def change(
    chat_id: str,
    studio: CurrentStudio,
    owner: CurrentOwner,
    reply: Reply,
    body: Annotated[_Changes, body_as(_Changes)],
) -> Response:
    """Another title, or model, system prompt and sampling of this lane."""
    chats, revision = studio.conversations, body.revision
    given = body.model_dump(include={"model", "system_prompt", "sampling"})
    if body.model is not None:
        given["model"] = json_views.model_name(studio, owner, body.model)
    if body.title is not None:
        revision = chats.rename(owner.id, chat_id, body.title, revision).revision
    if any(value is not None for value in given.values()):
        chats.configure(owner.id, chat_id, revision, **given)
    return reply(chat_id)


@router.delete("/chats/{chat_id}", status_code=204)
def delete(
    chat_id: str, studio: CurrentStudio, owner: CurrentOwner, revision: Revision | None = None
) -> None:
    """Deletes a conversation with all its branches for good, and those beside it."""
    studio.conversations.delete(owner.id, chat_id, revision)


@router.delete("/chats")
def delete_all(studio: CurrentStudio, owner: CurrentOwner) -> dict[str, int]:
    """Deletes all of one's own conversations for good."""
    return {"deleted": studio.conversations.delete_all(owner.id)}


@router.post("/chats/{chat_id}/lanes", status_code=201)
def add_lane(
    chat_id: str,
    studio: CurrentStudio,
    owner: CurrentOwner,
    reply: Reply,
    body: Annotated[_Lane, body_as(_Lane)],
) -> Response:
    """Puts another model beside, with a copy of what is shown."""
    name = json_views.model_name(studio, owner, body.model)
    return reply(studio.conversations.add_lane(owner.id, chat_id, name, body.revision).id, 201)


@router.delete("/chats/{chat_id}/lane")
def drop_lane(
    chat_id: str, studio: CurrentStudio, owner: CurrentOwner, reply: Reply, revision: Revision
) -> Response:
    """Takes this lane away from those that it stands beside."""
    return reply(studio.conversations.drop_lane(owner.id, chat_id, revision)[0].id)


@router.post("/chats/{chat_id}/messages")
def say(
    chat_id: str,
    studio: CurrentStudio,
    owner: CurrentOwner,
    reply: Reply,
    body: Annotated[_Text, body_as(_Text)],
) -> Response:
    """Says something, which every lane's model begins to answer."""
    _check_models(studio, owner, chat_id)
    said = studio.conversations.say(owner.id, chat_id, body.text, body.revision)
    _start_answers(studio, owner, said)
    return reply(chat_id)


@router.post("/chats/{chat_id}/stop")
def stop(chat_id: str, studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    """Stops what is being written in any lane, at the next token."""
    for message_id in _unfinished_ids(studio, owner.id, chat_id):
        studio.answers.stop(owner.id, message_id)
    return {"stopping": True}


@router.get("/chats/{chat_id}/events")
async def follow(
    chat_id: str, studio: CurrentStudio, owner: CurrentOwner, language: CurrentLanguage
) -> StreamingResponse:
    """Server-sent events: what is being written in the lanes, until all have ended."""
    ids = await run_sync(_unfinished_ids, studio, owner.id, chat_id)
    followers = [Follower(studio.answers, owner.id, each, language) for each in ids]
    return sse.stream(events(followers))


@router.get("/chats/{chat_id}/export.{form}")
def export(
    chat_id: str, form: Literal["md", "json"], studio: CurrentStudio, owner: CurrentOwner
) -> Response:
    """What is shown as Markdown, or all branches as JSON."""
    exchange = studio.exchange
    write = exchange.markdown_pieces if form == "md" else exchange.json_pieces
    title = studio.conversations.get(owner.id, chat_id).title or "conversation"
    media_type = "text/markdown" if form == "md" else "application/json"
    return text_reply(write(owner.id, chat_id), media_type, attachment(f"{title}.{form}"))


@router.post("/chats/messages/{message_id}/edit")
def edit(
    message_id: str,
    studio: CurrentStudio,
    owner: CurrentOwner,
    reply: Reply,
    body: Annotated[_Text, body_as(_Text)],
) -> Response:
    """Puts another text beside a message; what a person says is answered anew."""
    chats = studio.conversations
    _check_models(studio, owner, chats.message(owner.id, message_id).conversation)
    added = chats.edit(owner.id, message_id, body.text, body.revision)
    _start_answers(studio, owner, [each for each in added if each.role == "user"])
    return reply(added[0].conversation)


@router.post("/chats/messages/{message_id}/answer")
def again(
    message_id: str,
    studio: CurrentStudio,
    owner: CurrentOwner,
    reply: Reply,
    body: Annotated[_Seen, body_as(_Seen)],
) -> Response:
    """Another answer, beside this one or to this message."""
    message = studio.conversations.message(owner.id, message_id)
    lane = studio.conversations.get(owner.id, message.conversation)
    _check_models(studio, owner, lane.id)
    parent = message.id if message.role == "user" else message.parent
    if parent is None:
        raise BadRequest("There is nothing to answer: send a message of the role user.")
    studio.answers.start(owner.id, lane.id, parent, revision=body.revision)
    return reply(lane.id)


@router.post("/chats/messages/{message_id}/continue")
def go_on(
    message_id: str,
    studio: CurrentStudio,
    owner: CurrentOwner,
    reply: Reply,
    body: Annotated[_Seen, body_as(_Seen)],
) -> Response:
    """Goes on with an answer that has ended too early."""
    message = studio.conversations.message(owner.id, message_id)
    _check_models(studio, owner, message.conversation)
    if message.model is not None:  # who began it goes on with it
        json_views.model_name(studio, owner, message.model)
    studio.answers.continue_(owner.id, message_id, revision=body.revision)
    return reply(message.conversation)


@router.post("/chats/messages/{message_id}/turn")
def turn(
    message_id: str,
    studio: CurrentStudio,
    owner: CurrentOwner,
    reply: Reply,
    body: Annotated[_Turn, body_as(_Turn)],
) -> Response:
    """Shows the branch of the message before (−1) or after (1) this one in its place."""
    other = studio.conversations.neighbour(owner.id, message_id, body.step)
    if other is None:
        raise NotFound("There is no other message in this place.")
    return reply(studio.conversations.choose(owner.id, other, body.revision)[0].id)


def _check_models(studio: Studio, owner: Owner, chat_id: str) -> None:
    """Whether each lane's model may be asked; a file that was brought in can name any."""
    for lane in studio.conversations.lanes(owner.id, chat_id):
        json_views.model_name(studio, owner, lane.model)


def _start_answers(studio: Studio, owner: Owner, asked: list[StoredMessage]) -> None:
    for message in asked:
        studio.answers.start(owner.id, message.conversation, message.id)


def _unfinished_ids(studio: Studio, owner: str, chat_id: str) -> list[str]:
    """The ids of the answers that are shown and being written, lane by lane."""
    chats = studio.conversations
    last = [chats.message(owner, each.leaf) for each in chats.lanes(owner, chat_id) if each.leaf]
    return [each.id for each in last if each.state == STREAMING]
