"""The HTTP API's part for pictures that people bring in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from studio.api.access import BELOW_ROOT
from studio.api.dependencies import CurrentLanguage, CurrentOwner, CurrentStudio, Limit, RawBody
from studio.api.http import KEPT
from studio.i18n import translate

if TYPE_CHECKING:
    from studio.core.gallery.inputs import Input


router = APIRouter(tags=["inputs"])


@router.post("/inputs", status_code=201)
def bring(
    studio: CurrentStudio,
    owner: CurrentOwner,
    language: CurrentLanguage,
    data: RawBody,
    instead_of: Annotated[str | None, Query(max_length=100)] = None,
    mask: bool = False,
) -> dict[str, Any]:
    """Keeps a PNG, JPEG or WEBP, sent as the body; the answer has its id.

    ``instead_of`` is the id of one of one's own that is deleted, unless a job has used it.
    ``mask=true`` keeps it as a mask: white where it is opaque, or where it is bright if nothing
    of it is transparent. ``note`` says what of the picture was changed, or is null; ``alpha``
    is the id of a mask of its transparent parts, or null.
    """
    return _brought_json(studio.inputs.bring(owner.id, data, instead_of, mask), language)


@router.post("/inputs/from-picture/{picture_id}", status_code=201)
def from_picture(
    picture_id: str, studio: CurrentStudio, owner: CurrentOwner, language: CurrentLanguage
) -> dict[str, Any]:
    """Brings in a picture of one's own gallery; ``note`` and ``alpha`` as of an uploaded one."""
    return _brought_json(studio.inputs.from_gallery(owner.id, picture_id), language)


def _brought_json(kept: Input, language: str) -> dict[str, Any]:
    said = " ".join(translate(note, language) for note in kept.notes)
    return {**input_json(kept), "note": said or None, "alpha": kept.alpha}


@router.get("/inputs")
def list_inputs(studio: CurrentStudio, owner: CurrentOwner, limit: Limit = 50) -> dict[str, Any]:
    """One's own brought-in pictures, the last one first."""
    rows = studio.inputs.list(owner.id, limit)
    return {"inputs": [input_json(row) for row in rows]}


@router.get("/inputs/{input_id}.png")
def picture(input_id: str, studio: CurrentStudio, owner: CurrentOwner) -> FileResponse:
    path = studio.inputs.path(owner.id, input_id)
    return FileResponse(path, media_type="image/png", headers=KEPT)


@router.delete("/inputs/{input_id}", status_code=204)
def delete(input_id: str, studio: CurrentStudio, owner: CurrentOwner) -> None:
    studio.inputs.delete(owner.id, input_id)


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
