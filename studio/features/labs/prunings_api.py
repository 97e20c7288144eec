"""The HTTP API's part for shortened models: what one has, going on with one, deleting one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter

from studio.api.dependencies import CurrentOwner, CurrentStudio

if TYPE_CHECKING:
    from studio.features.labs.pruned_models import Shortening

_HIDDEN = {"owner"}


router = APIRouter(tags=["prunings"])


@router.get("/prunings")
def list_prunings(studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    """One's own, those started last first."""
    return {"prunings": [pruning_json(each) for each in studio.prunings.list(owner.id)]}


@router.get("/prunings/{pruning_id}")
def one(pruning_id: str, studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    return pruning_json(studio.prunings.get(owner.id, pruning_id))


@router.post("/prunings/{pruning_id}/resume", status_code=202)
def resume(pruning_id: str, studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    """Goes on from what was done; the answer names the new job."""
    return {"job": studio.prunings.resume(owner, pruning_id).id}


@router.delete("/prunings/{pruning_id}", status_code=204)
def delete(pruning_id: str, studio: CurrentStudio, owner: CurrentOwner) -> None:
    """Deletes the model and all that its making has kept."""
    studio.prunings.delete(owner.id, pruning_id)


def pruning_json(known: Shortening) -> dict[str, Any]:
    """A shortening as the API describes it; ``model`` is the name to ask it by, once it is made."""
    facts = known.facts or {}
    return {
        "id": known.id,
        "name": known.name,
        "job": known.job and known.job.id,
        "state": known.job.state if known.job is not None else "done",
        "model": known.made and known.made.model,
        "made_from": known.made_from,
        "request": known.request and known.request.model_dump(mode="json", exclude=_HIDDEN),
        "result": {name: facts[name] for name in facts if name not in _HIDDEN} or None,
    }
