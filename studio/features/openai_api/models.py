"""The models that other programs may ask for: those that are here, and one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.chat.entries import ChatEntry
from pipelines.core.errors import NotFound
from pipelines.core.matching import find_name
from pipelines.models.catalog import ModelEntry
from studio.features.openai_api.schemas import ChatModel, Model

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio


def list_models(studio: Studio, owner: Owner) -> dict[str, Model]:
    """Name → model as OpenAI describes one, chat models first."""
    found: dict[str, Model] = {
        entry.name: ChatModel(id=entry.name, title=entry.title, context_length=entry.context_length)
        for entry in _chat_models(studio, owner)
    }
    for entry in _image_models(studio, owner):
        found.setdefault(entry.name, Model(id=entry.name, kind="image", title=entry.title))
    return found


def one(studio: Studio, owner: Owner, name: str) -> Model:
    """Raises NotFound when the owner has no model of that name here."""
    found = list_models(studio, owner)
    known = find_name(name, found)
    if known is None:
        raise _absence(name)
    return found[known]


def _absence(name: str) -> NotFound:
    return NotFound("There is no model called {model} here. See GET /v1/models.", model=name[:200])


def chat_model(studio: Studio, owner: Owner, name: str) -> ChatEntry:
    """The model of that name, which the owner may ask.

    Raises:
        NotFound: there is none.
        Refused: it would have to be downloaded first, which only the host may do.
    """
    known = studio.find("usable_chat_models")
    if known is None:
        raise _absence(name)
    return known.entry(owner, name)


def _chat_models(studio: Studio, owner: Owner) -> list[ChatEntry]:
    """Those that answer at once: nobody should wait for a download within a request."""
    known, catalog = studio.find("usable_chat_models"), studio.find("chat_models")
    return [e for e in known.of(owner) if catalog.is_here(e)] if known and catalog else []


def _image_models(studio: Studio, owner: Owner) -> list[ModelEntry]:
    everybodys = [
        entry
        for entry in studio.catalog.models()
        if entry.refused is None and studio.paintings.is_here(entry)
    ]
    return [*everybodys, *studio.loras.models(owner.id)]
