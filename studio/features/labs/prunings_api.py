"""The HTTP API's part for shortened models: what one has, going on with one, deleting one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from studio.core.accounts.accounts import owner_of

if TYPE_CHECKING:
    from studio.core.services import Studio
    from studio.features.labs.prunings import Shortening

_HIDDEN = {"owner"}


def prunings_router(studio: Studio) -> APIRouter:
    """``POST /jobs/shorten`` starts one; the rest is here."""
    routes = APIRouter(tags=["prunings"])

    @routes.get("/prunings")
    def list_prunings(request: Request) -> dict[str, Any]:
        """One's own, those started last first."""
        owner = owner_of(request).id
        return {"prunings": [pruning_json(each) for each in studio.prunings.list(owner)]}

    @routes.get("/prunings/{pruning_id}")
    def one(pruning_id: str, request: Request) -> dict[str, Any]:
        return pruning_json(studio.prunings.get(owner_of(request).id, pruning_id))

    @routes.post("/prunings/{pruning_id}/resume", status_code=202)
    def resume(pruning_id: str, request: Request) -> dict[str, Any]:
        """Goes on from what was done; the answer names the new job."""
        return {"job": studio.prunings.resume(owner_of(request), pruning_id).id}

    @routes.delete("/prunings/{pruning_id}", status_code=204)
    def delete(pruning_id: str, request: Request) -> None:
        """Deletes the model and all that its making has kept."""
        studio.prunings.delete(owner_of(request).id, pruning_id)

    return routes


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
