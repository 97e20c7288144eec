"""The HTTP API's part for many pictures at once: listing, downloading and deleting them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Form
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, FailFast, Field

from pipelines.core.errors import validate
from studio.api.dependencies import CurrentOwner, CurrentStudio, Search, body_as
from studio.api.http import NOT_KEPT
from studio.core.gallery.picture_archive import archive
from studio.core.gallery.picture_deletion import MOST

if TYPE_CHECKING:
    from studio.core.jobs.record import Job


class SeveralPictures(BaseModel):
    """Pictures of one's own gallery."""

    ids: Annotated[list[str], Field(max_length=MOST), FailFast()]


router = APIRouter(tags=["pictures"])


@router.get("/pictures/ids")
def ids(
    studio: CurrentStudio,
    owner: CurrentOwner,
    search: Search = "",
) -> dict[str, Any]:
    """The ids of all of one's own pictures that are found, newest first."""
    return {"ids": studio.gallery.ids_found(owner.id, search)}


@router.post("/pictures/delete", status_code=202)
def delete(
    studio: CurrentStudio,
    owner: CurrentOwner,
    chosen: Annotated[SeveralPictures, body_as(SeveralPictures)],
) -> dict[str, Any]:
    """Deletes the pictures of these ``ids`` for good: a job, whose progress /jobs tells."""
    return begun_json(studio.picture_deletions.begin(owner, chosen.ids))


@router.delete("/pictures", status_code=202)
def delete_all(studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    """Deletes all of one's own pictures for good, those brought in as well; not photos."""
    return begun_json(studio.picture_deletions.begin_all(owner))


@router.post("/pictures/archive")
def download(
    studio: CurrentStudio, owner: CurrentOwner, ids: Annotated[str, Form()]
) -> StreamingResponse:
    """A ZIP of the pictures whose ids stand in the form, between commas.

    What is no longer there is left out, and named by a text in it. A form, so that the
    browser itself stores what comes.
    """
    wanted = validate(SeveralPictures, {"ids": ids.split(",")}).ids
    files = studio.gallery.files_of(owner.id, wanted)
    return StreamingResponse(
        archive(files),
        media_type="application/zip",
        headers={**NOT_KEPT, "content-disposition": 'attachment; filename="atelier.zip"'},
    )


def begun_json(job: Job) -> dict[str, Any]:
    """What is said of a job that has just been queued."""
    return {"id": job.id, "kind": job.kind, "state": job.state}
