"""The HTTP API's part for LoRAs: one's own library, files brought in and handed out, merging."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from pipelines.diffusion.lora.families import title_of
from pipelines.diffusion.lora.library import Style
from pipelines.diffusion.lora.record import SHARED, LoraRecord
from pipelines.diffusion.lora.use import MAX_NAME
from studio.api.access import API, BELOW_ROOT
from studio.api.dependencies import (
    CurrentLanguage,
    CurrentOwner,
    CurrentStudio,
    JsonObject,
    body_as,
)
from studio.api.http import attachment, receive_body
from studio.i18n import translate

MERGE = "merge_loras"


class _Name(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME, title="Name")]


router = APIRouter(tags=["loras"])


@router.get("/loras")
def list_loras(
    studio: CurrentStudio, owner: CurrentOwner, language: CurrentLanguage
) -> dict[str, Any]:
    """One's own, newest first, then everybody's; to the host also what cannot be used."""
    refused = studio.library.list_refusals() if owner.is_host else []
    return {
        "loras": [lora_json(record) for record in studio.loras.list(owner.id)],
        "refused": [translate(reason, language) for reason in refused],
    }


@router.post("/loras", status_code=201)
async def bring(
    request: Request,
    studio: CurrentStudio,
    owner: CurrentOwner,
    name: Annotated[str, Query(min_length=1, max_length=MAX_NAME)],
) -> dict[str, Any]:
    """Keeps a ``.safetensors``, sent as the body: a LoRA of kohya's, diffusers' or PEFT's
    style, or an embedding; or a zip file of a PEFT adapter with its configuration. The answer
    says what it is and how many modules it changes."""
    await run_sync(studio.loras.check_room, owner.id)
    async with receive_body(request, studio.home) as file:
        record = await run_sync(studio.loras.bring, owner.id, name, Path(file.name))
    return lora_json(record)


@router.post("/loras/merge", status_code=202)
def merge(studio: CurrentStudio, owner: CurrentOwner, data: JsonObject) -> dict[str, Any]:
    """Queues the merging of several into one LoRA, or into a model: ``{"loras": [{"name": …,
    "weight": …}], "name": …, "rank": …, "model": …}``. The job's result names the new one."""
    job = studio.submissions.submit(owner, MERGE, data)
    return {"job": job.id, "url": f"{BELOW_ROOT}/jobs/{job.id}"}


@router.get("/loras/{lora_id}")
def one(lora_id: str, studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    return lora_json(studio.loras.get(owner.id, lora_id))


@router.get("/loras/{lora_id}/{style}.safetensors")
def download(lora_id: str, style: Style, studio: CurrentStudio, owner: CurrentOwner) -> Response:
    """The file for diffusers, or for kohya's tools, A1111, Forge and ComfyUI."""
    name, data = studio.loras.export(owner.id, lora_id, style)
    return Response(data, media_type="application/octet-stream", headers=attachment(name))


@router.patch("/loras/{lora_id}")
def rename(
    lora_id: str,
    studio: CurrentStudio,
    owner: CurrentOwner,
    wanted: Annotated[_Name, body_as(_Name)],
) -> dict[str, Any]:
    """``{"name": …}``; a number is added where the name is taken."""
    return lora_json(studio.loras.rename(owner.id, lora_id, wanted.name))


@router.delete("/loras/{lora_id}", status_code=204)
def delete(lora_id: str, studio: CurrentStudio, owner: CurrentOwner) -> None:
    studio.loras.delete(owner.id, lora_id)


def lora_json(record: LoraRecord) -> dict[str, Any]:
    """An entry of the library as the API describes it."""
    files = {} if record.kind == "model" else {
        style: f"{API}/loras/{record.id}/{style}.safetensors" for style in ("diffusers", "kohya")
    }  # fmt: skip
    return {
        **record.model_dump(mode="json", exclude={"owner"}),
        "shared": record.owner == SHARED,
        "family_title": title_of(record.family),
        "files": files,
    }
