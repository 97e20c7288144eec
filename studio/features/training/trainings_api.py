"""The HTTP API's part for trainings: what they take, how they go, and going on with them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.responses import FileResponse

from pipelines.dreambooth.presets import presets
from studio.api.access import BELOW_ROOT
from studio.api.dependencies import CurrentLanguage, CurrentOwner, CurrentStudio, JsonObject
from studio.api.http import KEPT
from studio.i18n import text_in, translate

if TYPE_CHECKING:
    from studio.core.services import Studio
    from studio.features.training.training_jobs import Training


router = APIRouter(tags=["trainings"])


@router.post("/trainings/preflight")
def preflight(
    studio: CurrentStudio, owner: CurrentOwner, language: CurrentLanguage, data: JsonObject
) -> dict[str, Any]:
    """Steps, seconds and bytes that these settings would take; nothing is started."""
    expected = studio.trainings.preflight(owner.id, data)
    return {**asdict(expected), "notes": [translate(note, language) for note in expected.notes]}


@router.get("/trainings/presets")
def all_presets(language: CurrentLanguage) -> dict[str, Any]:
    return {
        "presets": [
            {
                "name": each.name,
                "title": text_in(each.title, language),
                "description": text_in(each.description, language),
            }
            for each in presets()
        ]
    }


@router.get("/trainings")
def list_trainings(studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    """One's own trainings, those started last first."""
    return {"trainings": [training_json(studio, t) for t in studio.trainings.list(owner.id)]}


@router.get("/trainings/{training_id}")
def one(training_id: str, studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    return training_json(studio, studio.trainings.get(owner.id, training_id))


@router.get("/trainings/{training_id}/progress")
def progress(training_id: str, studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    """All that the trainer has reported: steps with loss and rate, samples, checkpoints."""
    lines, _ = studio.trainings.progress(owner.id, training_id)
    for line in lines:
        if line["event"] == "sample":
            line["url"] = f"{BELOW_ROOT}/trainings/{training_id}/samples/{line['file']}"
    return {"progress": lines}


@router.get("/trainings/{training_id}/samples/{file}")
def sample(training_id: str, file: str, studio: CurrentStudio, owner: CurrentOwner) -> FileResponse:
    path = studio.trainings.sample(owner.id, training_id, file)
    return FileResponse(path, media_type="image/png", headers=KEPT)


@router.post("/trainings/{training_id}/resume", status_code=202)
def resume(training_id: str, studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    """Goes on from the last checkpoint; the answer names the new job."""
    job = studio.trainings.resume(owner.id, training_id)
    return {"job": job.id}


@router.delete("/trainings/{training_id}", status_code=204)
def delete(training_id: str, studio: CurrentStudio, owner: CurrentOwner) -> None:
    """Deletes checkpoint, samples and logs; what was learnt stays in the library."""
    studio.trainings.delete(owner.id, training_id)


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
