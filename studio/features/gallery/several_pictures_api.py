"""The HTTP API's part for many pictures at once: listing, downloading and deleting them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, FailFast, Field

from pipelines.core.errors import validated
from studio.api.http import NOT_KEPT, json_object
from studio.core.accounts.accounts import owner_of
from studio.core.gallery.gallery import MAX_SEARCH
from studio.core.gallery.picture_archive import archive
from studio.core.gallery.picture_deletion import MOST

if TYPE_CHECKING:
    from studio.core.jobs.record import Job
    from studio.core.services import Studio


class SeveralPictures(BaseModel):
    """Pictures of one's own gallery."""

    ids: Annotated[list[str], Field(max_length=MOST), FailFast()]


def several_pictures_router(studio: Studio) -> APIRouter:
    routes = APIRouter(tags=["pictures"])

    @routes.get("/pictures/ids")
    def ids(
        request: Request, search: Annotated[str, Query(max_length=MAX_SEARCH)] = ""
    ) -> dict[str, Any]:
        """The ids of all of one's own pictures that are found, newest first."""
        return {"ids": studio.gallery.ids_found(owner_of(request).id, search)}

    @routes.post("/pictures/delete", status_code=202)
    async def delete(request: Request) -> dict[str, Any]:
        """Deletes the pictures of these ``ids`` for good: a job, whose progress /jobs tells."""
        ids = validated(SeveralPictures, await json_object(request)).ids
        return begun_json(await run_sync(studio.picture_deletions.begin, owner_of(request), ids))

    @routes.delete("/pictures", status_code=202)
    def delete_all(request: Request) -> dict[str, Any]:
        """Deletes all of one's own pictures for good, those brought in as well; not photos."""
        return begun_json(studio.picture_deletions.begin_all(owner_of(request)))

    @routes.post("/pictures/archive")
    async def download(request: Request, ids: Annotated[str, Form()]) -> StreamingResponse:
        """A ZIP of the pictures whose ids stand in the form, between commas.

        What is no longer there is left out, and named by a text in it. A form, so that the
        browser itself stores what comes.
        """
        wanted = validated(SeveralPictures, {"ids": ids.split(",")}).ids
        files = await run_sync(studio.gallery.files_of, owner_of(request).id, wanted)
        return StreamingResponse(
            archive(files),
            media_type="application/zip",
            headers={**NOT_KEPT, "content-disposition": 'attachment; filename="atelier.zip"'},
        )

    return routes


def begun_json(job: Job) -> dict[str, Any]:
    """What is said of a job that has just been queued."""
    return {"id": job.id, "kind": job.kind, "state": job.state}
