"""Conversations with language models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.chat.catalog import ChatCatalog
from pipelines.chat.engine import run
from pipelines.chat.entries import OWN
from pipelines.chat.loading import PREFIXES
from pipelines.chat.model_library import ModelLibrary
from pipelines.core.paths import ASSETS
from studio.core.feature import Feature, Upload
from studio.features.chat.answers.answers import Answers
from studio.features.chat.chats_api import router
from studio.features.chat.conversations import Conversations
from studio.features.chat.files.exchange import Exchange
from studio.features.chat.models import ChatModels
from studio.features.chat.tab import ChatTab

if TYPE_CHECKING:
    from studio.core.services import Studio


def titles(studio: Studio, owner: str) -> dict[str, str]:
    """Everybody's models and the owner's, as they are called in the cache."""
    entries = (*studio.chat_models.models(), *studio.chat_models.models_of(owner))
    return {prefix + entry.name: entry.title for entry in entries for prefix in PREFIXES}


FEATURE = Feature(
    name="chat",
    services={
        "chat_library": lambda studio: ModelLibrary(studio.home),
        "chat_models": lambda studio: ChatCatalog(studio.home, own=studio.chat_library),
        "usable_chat_models": lambda studio: ChatModels(studio.chat_models, studio.accounts),
        "conversations": lambda studio: Conversations(studio.store, studio.settings),
        "exchange": lambda studio: Exchange(studio.store, studio.settings),
        "answers": lambda studio: Answers(
            studio.conversations, run, studio.cache, studio.usable_chat_models.check
        ),
    },
    titles=titles,
    own_models=tuple(prefix + OWN for prefix in PREFIXES),
    keepers=("conversations",),
    uploads={"chats/import": Upload.FILE},
    scripts={"/scripts": ASSETS / "chat"},
    routes=router,
    tabs=(ChatTab,),
)
