"""LoRAs, learned words and models of one's own."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from pipelines.core.engine import Engine
from pipelines.diffusion.lora.requests import MergeRequest
from pipelines.diffusion.requests import TextToImageRequest
from studio.core.feature import Feature, Upload
from studio.features.library.loras_api import router
from studio.features.library.tab import LibraryTab

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio


def check_merge(studio: Studio, owner: Owner, request: MergeRequest) -> MergeRequest:
    """The request with the ids of its LoRAs; the model that they go into must be usable."""
    studio.loras.check_room(owner.id)
    loras = studio.loras.with_ids(owner.id, request.loras)
    changes = {"loras": loras, "owner": owner.id, "id": secrets.token_hex(16)}
    if request.model is not None:
        changes["model"] = studio.loras.model_name(owner.id, request.model)
        studio.paintings.check(owner, TextToImageRequest(prompt="", model=changes["model"]))
    return request.model_copy(update=changes)


FEATURE = Feature(
    name="library",
    engines=(Engine("merge_loras", MergeRequest, "pipelines.diffusion.lora.merge"),),
    checks={MergeRequest: check_merge},
    titles=lambda studio, owner: {e.name: e.title for e in studio.loras.models(owner)},
    uploads={"loras": Upload.LARGE},
    routes=router,
    tabs=(LibraryTab,),
)
