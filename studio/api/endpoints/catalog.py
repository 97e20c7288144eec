"""The HTTP API's part for what there is: models, samplers, styles, schemas, and how busy it is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response

from pipelines.diffusion.samplers import samplers_in
from pipelines.diffusion.styles import styles
from pipelines.models.catalog import OWN
from studio.api.dependencies import CurrentLanguage, CurrentOwner, CurrentStudio
from studio.i18n import text_in

router = APIRouter(tags=["catalog"])


@router.get("/models")
def models(studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    """Everybody's, then those that one has trained or merged oneself."""
    # Not the source: where on this disk a model lies is nobody's business.
    fields = {"source", "words", "strengths", "refused"}
    return {
        "models": [
            {
                **entry.model_dump(mode="json", exclude=fields),
                "refused": entry.refused and str(entry.refused),
            }
            for entry in [*studio.catalog.models(), *studio.loras.models(owner.id)]
        ]
    }


@router.get("/samplers")
def samplers(studio: CurrentStudio, language: CurrentLanguage) -> dict[str, Any]:
    return {
        "samplers": [
            {
                "name": sampler.name,
                "description": text_in(sampler.description, language),
                "schedules": sampler.schedules,
                "stochastic": sampler.stochastic,
                "max_steps": sampler.max_steps,
            }
            for sampler in samplers_in(studio.home)
        ]
    }


@router.get("/schedules")
def schedules(studio: CurrentStudio, language: CurrentLanguage) -> dict[str, Any]:
    known = samplers_in(studio.home).schedules.values()
    return {
        "schedules": [
            {"name": each.name, "description": text_in(each.description, language)}
            for each in known
        ]
    }


@router.get("/styles")
def all_styles(language: CurrentLanguage) -> dict[str, Any]:
    return {
        "styles": [
            {
                "name": style.name,
                "title": text_in(style.title, language),
                "prompt": style.prompt,
                "negative_prompt": style.negative_prompt,
            }
            for style in styles().values()
        ]
    }


@router.get("/schema/{kind}")
def schema(kind: str, studio: CurrentStudio) -> dict[str, Any]:
    """The JSON schema of a kind's request: fields, bounds, defaults, help texts."""
    return studio.submissions.engine(kind).request_class.model_json_schema()


@router.get("/status")
def status(studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    """The device, its memory, the models in it and how busy it is."""
    mine = studio.features.titles(studio, owner.id)
    return {
        **studio.device.status(),
        "loaded": [
            {
                "name": OWN if studio.features.is_own(e.name) and e.name not in mine else e.name,
                "bytes": e.bytes,
                "where": e.where,
                "leases": e.leases,
            }
            for e in studio.device.list_loaded()
        ],
        "queue": studio.jobs.counts(),
    }


@router.get("/health")
def health() -> dict[str, str]:
    """For load balancers; needs no login."""
    return {"status": "ok"}


@router.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
def nothing(path: str) -> Response:
    """Else the page would answer: it is mounted at the root. Of what is asked by another method
    :class:`studio.api.foreign_errors.OwnWords` says so."""
    return PlainTextResponse("", 404)
