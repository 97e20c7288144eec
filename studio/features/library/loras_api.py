"""The HTTP API's part for LoRAs: one's own library, files brought in and handed out, merging."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from pipelines.core.errors import validated
from pipelines.diffusion.lora.families import title_of
from pipelines.diffusion.lora.library import Style
from pipelines.diffusion.lora.record import SHARED, LoraRecord
from pipelines.diffusion.lora.use import MAX_NAME
from studio.api.access import API, BELOW_ROOT
from studio.api.http import NOT_KEPT, json_object, receive_body
from studio.core.accounts.accounts import owner_of
from studio.i18n import language_of_request, translate

if TYPE_CHECKING:
    from studio.core.services import Studio

MERGE = "merge_loras"


class _Name(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME, title="Name")]


def loras_router(studio: Studio) -> APIRouter:
    routes = APIRouter(tags=["loras"])

    @routes.get("/loras")
    def list_loras(request: Request) -> dict[str, Any]:
        """One's own, newest first, then everybody's; to the host also what cannot be used."""
        owner, language = owner_of(request), language_of_request(request)
        refused = studio.library.refused() if owner.is_host else []
        return {
            "loras": [lora_json(record) for record in studio.loras.list(owner.id)],
            "refused": [translate(reason, language) for reason in refused],
        }

    @routes.post("/loras", status_code=201)
    async def bring(
        request: Request, name: Annotated[str, Query(min_length=1, max_length=MAX_NAME)]
    ) -> dict[str, Any]:
        """Keeps a ``.safetensors``, sent as the body: a LoRA of kohya's, diffusers' or PEFT's
        style, or an embedding; or a zip file of a PEFT adapter with its configuration. The answer
        says what it is and how many modules it changes."""
        owner = owner_of(request).id
        await run_sync(studio.loras.check_room, owner)
        async with receive_body(request, studio.home) as file:
            record = await run_sync(studio.loras.bring, owner, name, Path(file.name))
        return lora_json(record)

    @routes.post("/loras/merge", status_code=202)
    async def merge(request: Request) -> dict[str, Any]:
        """Queues the merging of several into one LoRA, or into a model: ``{"loras": [{"name": …,
        "weight": …}], "name": …, "rank": …, "model": …}``. The job's result names the new one."""
        data = await json_object(request)
        job = await run_sync(studio.submissions.submit, owner_of(request), MERGE, data)
        return {"job": job.id, "url": f"{BELOW_ROOT}/jobs/{job.id}"}

    @routes.get("/loras/{lora_id}")
    def one(lora_id: str, request: Request) -> dict[str, Any]:
        return lora_json(studio.loras.get(owner_of(request).id, lora_id))

    @routes.get("/loras/{lora_id}/{style}.safetensors")
    def download(lora_id: str, style: Style, request: Request) -> Response:
        """The file for diffusers, or for kohya's tools, A1111, Forge and ComfyUI."""
        name, data = studio.loras.export(owner_of(request).id, lora_id, style)
        disposition = f"attachment; filename*=UTF-8''{quote(name)}"
        return Response(
            data,
            media_type="application/octet-stream",
            headers={**NOT_KEPT, "Content-Disposition": disposition},
        )

    @routes.patch("/loras/{lora_id}")
    async def rename(lora_id: str, request: Request) -> dict[str, Any]:
        """``{"name": …}``; a number is added where the name is taken."""
        wanted = validated(_Name, await json_object(request))
        owner = owner_of(request).id
        return lora_json(await run_sync(studio.loras.rename, owner, lora_id, wanted.name))

    @routes.delete("/loras/{lora_id}", status_code=204)
    def delete(lora_id: str, request: Request) -> None:
        studio.loras.delete(owner_of(request).id, lora_id)

    return routes


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
