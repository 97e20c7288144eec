"""The HTTP API's part for steering: maps made of pictures, and what there is to make them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from pipelines.core.errors import validated
from pipelines.preprocessors import registry
from studio.api.http import KEPT, NOT_KEPT, json_object
from studio.core.accounts.accounts import owner_of
from studio.features.control.conditions import MapRequest
from studio.i18n import language_of_request, translate

if TYPE_CHECKING:
    from PIL import Image

    from studio.core.services import Studio


def conditions_router(studio: Studio) -> APIRouter:
    routes = APIRouter(tags=["conditions"])

    @routes.post("/condition")
    async def condition(request: Request) -> Response:
        """The map that a unit of these settings would follow, as PNG."""
        wanted = validated(MapRequest, await json_object(request))
        made = await run_sync(studio.conditions.map, owner_of(request), wanted, wanted.size)
        return _png(made, NOT_KEPT)

    @routes.get("/pictures/{picture_id}/condition/{number}.png")
    def followed_map(picture_id: str, number: int, request: Request) -> Response:
        """The map that a finished picture followed; ``number`` counts its units from 0."""
        owner = owner_of(request)
        return _png(studio.conditions.of_picture(owner, studio.gallery, picture_id, number), KEPT)

    @routes.get("/preprocessors")
    def preprocessors() -> dict[str, Any]:
        """What can be read from a picture, each with the JSON schema of its parameters."""
        return {
            "preprocessors": [
                {
                    "name": annotator.name,
                    "title": annotator.title,
                    "description": annotator.description,
                    "makes": annotator.makes,
                    "here": studio.conditions.is_here(annotator),
                    "parameters": annotator.parameters.model_json_schema(),
                }
                for annotator in registry.ANNOTATORS.values()
            ]
        }

    @routes.get("/control-models")
    def control_models(
        request: Request, base: Annotated[str | None, Query(max_length=200)] = None
    ) -> dict[str, Any]:
        """ControlNets and T2I-Adapters; with ``base`` only those that fit this base model.

        ``refused`` tells the host why files of their own cannot be used.
        """
        known, owner = studio.control, owner_of(request)
        refused = known.refused() if owner.is_host else []
        language = language_of_request(request)
        if base is None:
            entries = known.models()
        else:
            entries = known.fitting(studio.loras.entry(owner.id, base))
        # Not the source: where on this disk a model lies is nobody's business.
        hidden = {"source", "weights", "original"}
        return {
            "control_models": [
                {
                    **entry.model_dump(mode="json", exclude=hidden),
                    "here": entry.is_here(studio.home),
                }
                for entry in entries
            ],
            "refused": [translate(each, language) for each in refused],
        }

    return routes


def _png(image: Image.Image, headers: dict[str, str]) -> Response:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return Response(buffer.getvalue(), media_type="image/png", headers=headers)
