"""Conversations, models and settings as the page and the API tell of them, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.chat.entries import ChatEntry
from pipelines.chat.presets import sampling_presets
from pipelines.chat.requests import Generation, Sampling
from pipelines.core.messages import Message
from pipelines.core.sizes import format_bytes
from studio.core.accounts.accounts import Owner
from studio.features.chat.conversation_record import STREAMING, Conversation, StoredMessage
from studio.features.chat.markdown.html import render
from studio.features.chat.tree import MAX_TREE
from studio.i18n import text_in, translate
from studio.page.widgets import bounds, step

if TYPE_CHECKING:
    from studio.core.services import Studio

LATEST = 100  # messages that are shown at first


def list_item(conversation: Conversation) -> dict[str, Any]:
    """A line of the list."""
    return {
        "id": conversation.id,
        "title": conversation.title,
        "model": conversation.model,
        "created": conversation.created,
        "updated": conversation.updated,
    }


def whole(
    studio: Studio,
    owner: Owner,
    conversation_id: str,
    language: str,
    *,
    latest: int | None = None,
    drawn: bool = False,
) -> dict[str, Any]:
    """A conversation with those beside it and what is shown of each.

    Args:
        latest: how many of the last messages; None: all.
        drawn: with the answers' HTML.

    Raises:
        NotFound: there is none, or it is another's.
    """
    lanes = studio.conversations.lanes(owner.id, conversation_id)
    first = lanes[0]
    return {
        **list_item(first),
        "revision": first.revision,
        "lanes": [_lane(studio, owner, lane, language, latest, drawn) for lane in lanes],
    }


def _lane(
    studio: Studio,
    owner: Owner,
    lane: Conversation,
    language: str,
    latest: int | None,
    drawn: bool,
) -> dict[str, Any]:
    shown, facts = studio.conversations.latest(owner.id, lane.id, latest or MAX_TREE)
    told = next((each for each in reversed(facts) if "dropped" in each), None)
    return {
        "id": lane.id,
        "model": lane.model,
        "system_prompt": lane.system_prompt,
        "sampling": lane.sampling,
        "earlier": len(facts) - len(shown),
        # Of the whole path, so that the page can mark them.
        "left_out": told["dropped"] if told else 0,
        "used": usage(facts),
        "messages": [message_json(each, owner.id, language, drawn) for each in shown],
    }


def usage(facts: Sequence[Mapping[str, Any]]) -> int | None:
    """Tokens of the context that what is shown takes, as the model has counted them last."""
    for each in reversed(facts):
        if each.get("prompt_tokens") is not None:
            return each["prompt_tokens"] + (each.get("completion_tokens") or 0)
    return None if facts else 0


def message_json(
    message: StoredMessage, owner: str, language: str, drawn: bool = False
) -> dict[str, Any]:
    """A message of a conversation; ``html`` only of an answer that is to be drawn."""
    shown = {
        "id": message.id,
        "role": message.role,
        "content": message.content,
        "state": message.state,
        "model": message.model,
        "facts": message.facts,
        "notes": _notes(message.facts, language),
        "error": message.error and translate(message.error, language),
        "can_continue": message.can_continue,
        "place": message.place,
        "siblings": message.siblings,
        "created": message.created,
    }
    if drawn and message.role == "assistant":
        # One that is being written is drawn piece by piece, from its beginning.
        shown["html"] = "" if message.state == STREAMING else render(message.content, owner)
    return shown


def _notes(facts: Mapping[str, Any], language: str) -> list[str]:
    """What is to be known of an answer of another server's beside its words."""
    notes = []
    if facts.get("finish_reason") == "content_filter":
        notes.append(translate("Cut by the server's filter of contents", language))
    if kinds := str(facts.get("left_out") or ""):
        kinds = ", ".join(translate(kind, language) for kind in kinds.split(", "))
        notes.append(
            translate(Message("Sent besides and not shown: {kinds}", kinds=kinds), language)
        )
    names = str(facts.get("not_sent") or "").split(", ")
    fields = [Generation.model_fields[name] for name in names if name in Generation.model_fields]
    if fields:
        titles = ", ".join(translate(field.title, language) for field in fields)
        notes.append(
            translate(Message("Not sent to this server: {settings}", settings=titles), language)
        )
    return notes


# --- models -------------------------------------------------------------------------------------


def models(studio: Studio, owner: Owner, language: str) -> list[dict[str, Any]]:
    """The language models that someone can choose: to a guest, only those that are here."""
    entries = [(entry, studio.chat_models.is_here(entry)) for entry in known_facts(studio, owner)]
    return [model_json(entry, here, language) for entry, here in entries if here or owner.is_host]


def known_facts(studio: Studio, owner: Owner) -> list[ChatEntry]:
    """Everybody's models, then the owner's own."""
    return [*studio.chat_models.models(), *studio.chat_models.models_of(owner.id)]


def model_name(studio: Studio, owner: Owner, name: str) -> str:
    """The name of the model that ``name`` means, whatever its spelling.

    Raises:
        NotFound, Refused: someone may not choose this model.
    """
    return studio.usable_chat_models.entry(owner, name).name


def model_json(entry: ChatEntry, here: bool, language: str) -> dict[str, Any]:
    """A model as a picker shows it: neither its source nor its key."""
    return {
        "name": entry.name,
        "title": entry.title,
        "here": here,
        "about": about(entry, here, language),
        "badge": _badge(entry, here, language),
        "refused": entry.refused is not None,
        "context_length": entry.context_length,
        "system_prompt": entry.system_prompt,
        "sampling": entry.sampling.model_dump(),
        "languages": entry.languages,
    }


def about(entry: ChatEntry, here: bool, language: str) -> str:
    """One line: what the model is, its licence, what it costs, and how to get it."""
    if entry.refused is not None:
        return translate(entry.refused, language)
    facts = [translate(entry.description, language)] if entry.description else []
    if entry.backend == "remote":
        facts.append(translate("It runs on another server.", language))
    if entry.licence:
        licence = translate(entry.licence, language)
        facts.append(translate(Message("Licence: {licence}.", licence=licence), language))
    if not here:
        size = format_bytes(entry.download_bytes)
        first = Message("The first use downloads {size}.", size=size)
        facts.append(translate(first, language))
        if entry.gated:
            gate = Message(
                "Accept its licence first: sign in at {url}, make a token at "
                "https://huggingface.co/settings/tokens, and start Atelier with HF_TOKEN set "
                "to it.",
                url=entry.licence_url or f"https://huggingface.co/{entry.source.hub}",
            )
            facts.append(translate(gate, language))
    return " ".join(facts)


def _badge(entry: ChatEntry, here: bool, language: str) -> str:
    """What stands behind the title in the list, empty for what is here."""
    if entry.refused is not None:
        return translate("cannot be used", language)
    if here:
        return ""
    size = format_bytes(entry.download_bytes)
    if entry.gated:
        return translate(Message("gated, {size}", size=size), language)
    return translate(Message("download {size}", size=size), language)


# --- settings -----------------------------------------------------------------------------------


def settings(language: str) -> dict[str, Any]:
    """The controls of the sampling, with titles, help and bounds from the request's fields."""
    names = [*Sampling.model_fields, "max_new_tokens", "seed", "stop"]
    return {
        "fields": [_field(name, language) for name in names],
        "presets": [
            {
                "name": preset.name,
                "title": text_in(preset.title, language),
                "sampling": preset.sampling.model_dump(exclude_none=True),
            }
            for preset in sampling_presets()
        ],
    }


def _field(name: str, language: str) -> dict[str, Any]:
    field = Generation.model_fields[name]
    low, high = bounds(field)
    return {
        "name": name,
        "title": translate(field.title, language),
        "info": translate(field.description, language),
        "low": low,
        "high": high,
        "step": None if name == "stop" else step(field),
        "slides": name in Sampling.model_fields,
    }
