"""The list of upscalers, for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from pipelines.diffusion.hires.requests import LATENT_MODES
from studio.core.accounts.accounts import owner_of
from studio.i18n import language_of_request, translate

if TYPE_CHECKING:
    from studio.core.services import Studio


def upscalers_router(studio: Studio) -> APIRouter:
    """The routes on upscalers."""
    routes = APIRouter()

    @routes.get("/upscalers")
    def upscalers(request: Request) -> dict[str, Any]:
        """What makes pictures larger, and of hires passes what enlarges latents.

        ``refused`` tells the host why files of their own cannot be used.
        """
        known = studio.upscalers
        refused = known.refused() if owner_of(request).is_host else []
        language = language_of_request(request)
        return {
            "upscalers": [
                {"name": entry.name, "network": entry.path is not None} for entry in known.list()
            ],
            "latent": list(LATENT_MODES),
            "refused": [translate(each, language) for each in refused],
        }

    return routes
