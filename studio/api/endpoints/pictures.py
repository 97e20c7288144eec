"""The HTTP API's part for the gallery's pictures, and their files."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from studio.api.dependencies import Before, CurrentOwner, CurrentStudio, Limit, RawBody, Search
from studio.api.http import KEPT, NOT_KEPT, list_that_fits
from studio.core.gallery.metadata import read_settings

if TYPE_CHECKING:
    from studio.core.gallery.gallery import SavedPicture

router = APIRouter(tags=["pictures"])
# Picture files by id; the only way to any file of the home folder.
files = APIRouter(include_in_schema=False)


@router.post("/pictures/read-settings")
def settings_of(data: RawBody) -> dict[str, Any]:
    """The settings inside a PNG, JPEG or WEBP, sent as the body."""
    return {"parameters": read_settings(data)}


@router.get("/pictures")
def search(
    studio: CurrentStudio,
    owner: CurrentOwner,
    search: Search = "",
    before: Before = None,
    until: Annotated[date | None, Query()] = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """One's own pictures, newest first.

    ``before`` is the ``next`` of the answer before, or the id of the last picture seen;
    ``next`` is null where nothing more can come. ``until`` is the last day of which pictures
    are wanted.
    """
    rows = studio.gallery.search(owner.id, search, limit, before, until)
    shown = list_that_fits(map(picture_json, rows))
    more = len(shown) < len(rows) or len(rows) == limit
    return {"pictures": shown, "next": rows[len(shown) - 1].cursor if shown and more else None}


@router.get("/pictures/{picture_id}")
def one(picture_id: str, studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    return picture_json(studio.gallery.get(owner.id, picture_id))


@router.delete("/pictures/{picture_id}", status_code=204)
def delete(picture_id: str, studio: CurrentStudio, owner: CurrentOwner) -> None:
    studio.gallery.delete(owner.id, picture_id)


@files.get("/pictures/{picture_id}.png")
def picture(
    picture_id: str, studio: CurrentStudio, owner: CurrentOwner, download: bool = False
) -> FileResponse:
    path = studio.gallery.path(owner.id, picture_id)
    return FileResponse(
        path,
        media_type="image/png",
        headers=KEPT,
        filename=f"atelier-{picture_id}.png",
        content_disposition_type="attachment" if download else "inline",
    )


@files.get("/thumbnails/{picture_id}.webp")
def thumbnail(picture_id: str, studio: CurrentStudio, owner: CurrentOwner) -> FileResponse:
    path = studio.gallery.thumbnail(owner.id, picture_id)
    kind = path.suffix.removeprefix(".")
    headers = KEPT if kind == "webp" else NOT_KEPT
    return FileResponse(path, media_type=f"image/{kind}", headers=headers)


def picture_json(picture: SavedPicture) -> dict[str, Any]:
    """A picture as the API describes it; addresses are below the studio's own."""
    return {
        "id": picture.id,
        "job": picture.job_id,
        "url": f"pictures/{picture.id}.png",
        "thumbnail": f"thumbnails/{picture.id}.webp",
        "width": picture.width,
        "height": picture.height,
        "seconds": picture.seconds,
        "kind": picture.kind,
        "request": picture.request,
        "parameters": picture.parameters,
        "created": picture.created,
    }
