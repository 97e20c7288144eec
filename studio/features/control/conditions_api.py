"""The HTTP API's part for steering: maps made of pictures, and what there is to make them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from pipelines.diffusion.control.requests import MapRequest
from pipelines.preprocessors import registry
from studio.api.dependencies import CurrentLanguage, CurrentOwner, CurrentStudio, body_as
from studio.api.http import KEPT, NOT_KEPT
from studio.i18n import translate

if TYPE_CHECKING:
    from PIL import Image


router = APIRouter(tags=["conditions"])


@router.post("/condition")
def condition(
    studio: CurrentStudio, owner: CurrentOwner, wanted: Annotated[MapRequest, body_as(MapRequest)]
) -> Response:
    """The map that a unit of these settings would follow, as PNG."""
    return _png(studio.conditions.map(owner, wanted, wanted.size), NOT_KEPT)


@router.get("/pictures/{picture_id}/condition/{number}.png")
def followed_map(
    picture_id: str, number: int, studio: CurrentStudio, owner: CurrentOwner
) -> Response:
    """The map that a finished picture followed; ``number`` counts its units from 0."""
    return _png(studio.conditions.of_picture(owner, studio.gallery, picture_id, number), KEPT)


@router.get("/preprocessors")
def preprocessors(studio: CurrentStudio) -> dict[str, Any]:
    """What can be read from a picture, each with the JSON schema of its parameters."""
    return {
        "preprocessors": [
            {
                "name": preprocessor.name,
                "title": preprocessor.title,
                "description": preprocessor.description,
                "makes": preprocessor.makes,
                "here": studio.conditions.is_here(preprocessor),
                "parameters": preprocessor.parameters.model_json_schema(),
            }
            for preprocessor in registry.PREPROCESSORS.values()
        ]
    }


@router.get("/control-models")
def control_models(
    studio: CurrentStudio,
    owner: CurrentOwner,
    language: CurrentLanguage,
    base: Annotated[str | None, Query(max_length=200)] = None,
) -> dict[str, Any]:
    """ControlNets and T2I-Adapters; with ``base`` only those that fit this base model.

    ``refused`` tells the host why files of their own cannot be used.
    """
    known = studio.control
    refused = known.list_refusals() if owner.is_host else []
    entries = known.models()
    if base is not None:
        entries = known.list_fitting(studio.loras.entry(owner.id, base))
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


def _png(image: Image.Image, headers: dict[str, str]) -> Response:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return Response(buffer.getvalue(), media_type="image/png", headers=headers)
