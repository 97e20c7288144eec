"""The HTTP API's part for trainings: what they take, how they go, and going on with them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse

from pipelines.dreambooth.presets import presets
from studio.api.access import BELOW_ROOT
from studio.api.http import KEPT, json_object
from studio.core.accounts.accounts import owner_of
from studio.i18n import language_of_request, translate

if TYPE_CHECKING:
    from studio.core.services import Studio
    from studio.features.training.trainings import Training


def trainings_router(studio: Studio) -> APIRouter:
    """``POST /jobs/dreambooth`` starts one; the rest is here."""
    routes = APIRouter(tags=["trainings"])

    @routes.post("/trainings/preflight")
    async def preflight(request: Request) -> dict[str, Any]:
        """Steps, seconds and bytes that these settings would take; nothing is started."""
        data = await json_object(request)
        expected = await run_sync(studio.trainings.preflight, owner_of(request).id, data)
        language = language_of_request(request)
        return {**asdict(expected), "notes": [translate(note, language) for note in expected.notes]}

    @routes.get("/trainings/presets")
    def all_presets(request: Request) -> dict[str, Any]:
        language = language_of_request(request)
        return {
            "presets": [
                {
                    "name": each.name,
                    "title": each.title.get(language, each.title["en"]),
                    "description": each.description.get(language, each.description["en"]),
                }
                for each in presets()
            ]
        }

    @routes.get("/trainings")
    def list_trainings(request: Request) -> dict[str, Any]:
        """One's own trainings, those started last first."""
        owner = owner_of(request).id
        return {"trainings": [training_json(studio, t) for t in studio.trainings.list(owner)]}

    @routes.get("/trainings/{training_id}")
    def one(training_id: str, request: Request) -> dict[str, Any]:
        owner = owner_of(request).id
        return training_json(studio, studio.trainings.get(owner, training_id))

    @routes.get("/trainings/{training_id}/progress")
    def progress(training_id: str, request: Request) -> dict[str, Any]:
        """All that the trainer has reported: steps with loss and rate, samples, checkpoints."""
        lines, _ = studio.trainings.progress(owner_of(request).id, training_id)
        for line in lines:
            if line["event"] == "sample":
                line["url"] = f"{BELOW_ROOT}/trainings/{training_id}/samples/{line['file']}"
        return {"progress": lines}

    @routes.get("/trainings/{training_id}/samples/{file}")
    def sample(training_id: str, file: str, request: Request) -> FileResponse:
        path = studio.trainings.sample(owner_of(request).id, training_id, file)
        return FileResponse(path, media_type="image/png", headers=KEPT)

    @routes.post("/trainings/{training_id}/resume", status_code=202)
    def resume(training_id: str, request: Request) -> dict[str, Any]:
        """Goes on from the last checkpoint; the answer names the new job."""
        job = studio.trainings.resume(owner_of(request).id, training_id)
        return {"job": job.id}

    @routes.delete("/trainings/{training_id}", status_code=204)
    def delete(training_id: str, request: Request) -> None:
        """Deletes checkpoint, samples and logs; what was learnt stays in the library."""
        studio.trainings.delete(owner_of(request).id, training_id)

    return routes


def training_json(studio: Studio, training: Training) -> dict[str, Any]:
    """A training as the API describes it."""
    hidden = {"owner"}
    return {
        "id": training.id,
        "job": training.job.id,
        "state": training.job.state,
        "step": training.job.step,
        "total": training.job.total,
        "lora": studio.trainings.lora(training.job.owner, training.id),
        "request": training.request.model_dump(mode="json", exclude=hidden),
    }
