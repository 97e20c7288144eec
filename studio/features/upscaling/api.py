"""The list of upscalers, for programs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from pipelines.diffusion.hires.requests import LATENT_MODES
from studio.api.dependencies import CurrentLanguage, CurrentOwner, CurrentStudio
from studio.i18n import translate

router = APIRouter()


@router.get("/upscalers")
def upscalers(
    studio: CurrentStudio, owner: CurrentOwner, language: CurrentLanguage
) -> dict[str, Any]:
    """What makes pictures larger, and of hires passes what enlarges latents.

    ``refused`` tells the host why files of their own cannot be used.
    """
    known = studio.upscalers
    refused = known.list_refusals() if owner.is_host else []
    return {
        "upscalers": [
            {"name": entry.name, "network": entry.path is not None} for entry in known.list()
        ],
        "latent": list(LATENT_MODES),
        "refused": [translate(each, language) for each in refused],
    }
