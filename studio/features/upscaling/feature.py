"""Pictures made larger, by an upscaler alone or painted on at the larger size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.core.engine import Engine
from pipelines.diffusion.requests import ChangeRequest
from pipelines.upscaling.catalog import CACHE_PREFIX, Upscalers
from pipelines.upscaling.requests import UpscaleRequest
from pipelines.upscaling.sizes import scaled_size
from studio.core.feature import Feature
from studio.features.upscaling.api import router
from studio.features.upscaling.tab import ENLARGE, UPSCALE, LargerTab

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio


def check_upscaling(studio: Studio, owner: Owner, request: UpscaleRequest) -> UpscaleRequest:
    """Refuses an upscaler that is not here, and results that are too large."""
    picture = studio.inputs.get(owner.id, request.picture)
    scaled_size((picture.width, picture.height), request.scale)
    entry = studio.upscalers.get(request.upscaler)
    return request.model_copy(update={"upscaler": entry.name})


FEATURE = Feature(
    name="upscaling",
    engines=(
        Engine(UPSCALE, UpscaleRequest, "pipelines.upscaling.engine"),
        Engine(ENLARGE, ChangeRequest, "pipelines.diffusion.text_to_image"),
    ),
    services={"upscalers": lambda studio: Upscalers(studio.home)},
    checks={UpscaleRequest: check_upscaling},
    titles=lambda studio, owner: {CACHE_PREFIX + e.name: e.name for e in studio.upscalers.list()},
    routes=router,
    tabs=(LargerTab,),
)
