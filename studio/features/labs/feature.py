"""Looking into language models, and shortening them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.chat.pruning.requests import CurveRequest, PruneRequest, ScoreRequest
from pipelines.core.engine import Engine
from studio.core.feature import Feature
from studio.features.labs.inspect import Inspector
from studio.features.labs.inspect_tab import InspectTab
from studio.features.labs.pruned_models import CURVE, SCORE, SHORTEN, Prunings
from studio.features.labs.prunings_api import router
from studio.features.labs.shorten_tab import ShortenTab

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio

_MODULE = "pipelines.chat.pruning.engine"


def fill_pruning(studio: Studio, owner: Owner, data: dict[str, Any]) -> dict[str, Any]:
    """The data with what only the server decides."""
    return studio.prunings.fill_in(owner.id, data)


def check_model(studio: Studio, owner: Owner, request: ScoreRequest) -> ScoreRequest:
    """The request by its model's own name, if that can be shortened."""
    return studio.prunings.check(owner, request)


FEATURE = Feature(
    name="labs",
    engines=(
        Engine(SCORE, ScoreRequest, _MODULE),
        Engine(SHORTEN, PruneRequest, _MODULE, resumes=True),
        Engine(CURVE, CurveRequest, _MODULE),
    ),
    services={
        "inspector": lambda studio: Inspector(
            studio.chat_models, studio.cache, studio.chat_models.models_of
        ),
        "prunings": lambda studio: Prunings(
            *(studio.home, studio.usable_chat_models, studio.chat_library),
            *(studio.cache, studio.jobs),
        ),
    },
    fills={SHORTEN: fill_pruning},
    checks={ScoreRequest: check_model},
    keepers=("prunings",),
    routes=router,
    tabs=(InspectTab, ShortenTab),
)
