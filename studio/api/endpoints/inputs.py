"""The HTTP API's part for pictures that people bring in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse

from studio.api.access import BELOW_ROOT
from studio.api.http import KEPT
from studio.core.accounts.accounts import owner_of
from studio.i18n import language_of_request, translate

if TYPE_CHECKING:
    from studio.core.gallery.inputs import Input
    from studio.core.services import Studio


def inputs_router(studio: Studio) -> APIRouter:
    routes = APIRouter(tags=["inputs"])

    @routes.post("/inputs", status_code=201)
    async def bring(
        request: Request,
        instead_of: Annotated[str | None, Query(max_length=100)] = None,
        mask: bool = False,
    ) -> dict[str, Any]:
        """Keeps a PNG, JPEG or WEBP, sent as the body; the answer has its id.

        ``instead_of`` is the id of one of one's own that is deleted, unless a job has used it.
        ``mask=true`` keeps it as a mask: white where it is opaque, or where it is bright if nothing
        of it is transparent. ``note`` says what of the picture was changed, or is null; ``alpha``
        is the id of a mask of its transparent parts, or null.
        """
        data = await request.body()
        owner = owner_of(request).id
        kept = await run_sync(studio.inputs.bring, owner, data, instead_of, mask)
        language = language_of_request(request)
        said = " ".join(translate(note, language) for note in kept.notes)
        return {**input_json(kept), "note": said or None, "alpha": kept.alpha}

    @routes.post("/inputs/from-picture/{picture_id}", status_code=201)
    def from_picture(picture_id: str, request: Request) -> dict[str, Any]:
        """Brings in a picture of one's own gallery."""
        return input_json(studio.inputs.from_gallery(owner_of(request).id, picture_id))

    @routes.get("/inputs")
    def list_inputs(
        request: Request, limit: Annotated[int, Query(ge=1, le=200)] = 50
    ) -> dict[str, Any]:
        """One's own brought-in pictures, the last one first."""
        rows = studio.inputs.list(owner_of(request).id, limit)
        return {"inputs": [input_json(row) for row in rows]}

    @routes.get("/inputs/{input_id}.png")
    def picture(input_id: str, request: Request) -> FileResponse:
        path = studio.inputs.path(owner_of(request).id, input_id)
        return FileResponse(path, media_type="image/png", headers=KEPT)

    @routes.delete("/inputs/{input_id}", status_code=204)
    def delete(input_id: str, request: Request) -> None:
        studio.inputs.delete(owner_of(request).id, input_id)

    return routes


def input_json(row: Input) -> dict[str, Any]:
    """A brought-in picture as the API describes it."""
    return {
        "id": row.id,
        "url": f"{BELOW_ROOT}/inputs/{row.id}.png",
        "width": row.width,
        "height": row.height,
        "bytes": row.bytes,
        "created": row.created,
    }
