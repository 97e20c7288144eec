"""The HTTP API's part for jobs: sending, watching, cancelling and sending them again."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse

from pipelines.core.messages import Message, is_message
from studio.api import sse
from studio.api.dependencies import (
    Before,
    CurrentLanguage,
    CurrentOwner,
    CurrentStudio,
    JsonObject,
    Limit,
)
from studio.api.endpoints.pictures import picture_json
from studio.api.http import NOT_KEPT, list_that_fits
from studio.core.accounts.deletion import KIND as EVERYTHING
from studio.core.accounts.deletion import EverythingRequest
from studio.core.broadcast import Broadcast
from studio.core.gallery.picture_deletion import KIND as DELETING
from studio.core.jobs.record import QUEUED
from studio.i18n import translate

if TYPE_CHECKING:
    from studio.core.jobs.queue import Job
    from studio.core.services import Studio

UPDATE_SECONDS = 0.1  # between two looks at a job that is watched

router = APIRouter(tags=["jobs"])


@router.post("/jobs/{kind}", status_code=202)
def submit(
    kind: str,
    studio: CurrentStudio,
    owner: CurrentOwner,
    language: CurrentLanguage,
    data: JsonObject,
) -> dict[str, Any]:
    """Queues a job of this kind; ``GET /schema/{kind}`` says what the body may hold."""
    return job_json(studio, studio.submissions.submit(owner, kind, data), language)


@router.get("/jobs")
def list_jobs(
    studio: CurrentStudio,
    owner: CurrentOwner,
    language: CurrentLanguage,
    limit: Limit = 50,
    before: Before = None,
) -> dict[str, Any]:
    """One's own jobs, newest first, as many as go into an answer of a megabyte.

    ``before`` is the ``next`` of the answer before; ``next`` is null where nothing more can
    come.
    """
    jobs = studio.jobs.list(owner.id, limit=limit, before=before)
    shown = list_that_fits(job_json(studio, job, language) for job in jobs)
    more = len(shown) < len(jobs) or len(jobs) == limit
    return {"jobs": shown, "next": shown[-1]["id"] if shown and more else None}


@router.get("/jobs/{job_id}")
def one(
    job_id: str, studio: CurrentStudio, owner: CurrentOwner, language: CurrentLanguage
) -> dict[str, Any]:
    return job_json(studio, studio.jobs.get(owner.id, job_id), language)


@router.post("/jobs/{job_id}/cancel")
def cancel(
    job_id: str, studio: CurrentStudio, owner: CurrentOwner, language: CurrentLanguage
) -> dict[str, Any]:
    """Stops a running job within one step, or takes a queued one out of the queue."""
    return job_json(studio, studio.jobs.cancel(owner.id, job_id), language)


@router.post("/jobs/{job_id}/retry", status_code=202)
def retry(
    job_id: str, studio: CurrentStudio, owner: CurrentOwner, language: CurrentLanguage
) -> dict[str, Any]:
    """Queues the same request again, as a new job."""
    return job_json(studio, studio.submissions.retry(owner, job_id), language)


@router.get("/jobs/{job_id}/preview")
def preview(job_id: str, studio: CurrentStudio, owner: CurrentOwner) -> Response:
    """The newest preview of a running job as JPEG; 204 while there is none."""
    image = studio.jobs.preview(owner.id, job_id)
    if image is None:
        return Response(status_code=204, headers=NOT_KEPT)
    buffer = BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=85)
    return Response(buffer.getvalue(), media_type="image/jpeg", headers=NOT_KEPT)


@router.delete("/everything", status_code=202)
def delete_everything(
    studio: CurrentStudio, owner: CurrentOwner, language: CurrentLanguage
) -> dict[str, Any]:
    """Cancels all of one's own jobs, then deletes all that one has here for good: a job of its own,
    whose progress /jobs tells."""
    job = studio.jobs.submit(owner.id, EVERYTHING, EverythingRequest())
    return job_json(studio, job, language)


async def watched_jobs(request: Request) -> Broadcast[tuple[str, str, str], str]:
    """The studio's jobs that somebody watches, as events; see :func:`job_descriptions`."""
    return request.app.state.watched_jobs


@router.get("/jobs/{job_id}/events")
async def events(
    job_id: str,
    studio: CurrentStudio,
    owner: CurrentOwner,
    language: CurrentLanguage,
    watched: Annotated[Broadcast, Depends(watched_jobs)],
) -> StreamingResponse:
    """Server-sent events: the job each time it has changed, the last one when it has ended."""
    # Not found must be a status, so the first look happens before the stream begins.
    await run_sync(studio.jobs.get, owner.id, job_id)
    return sse.stream(watched.listen((owner.id, job_id, language)))


def job_json(studio: Studio, job: Job, language: str) -> dict[str, Any]:
    """A job as the API describes it; sentences in ``language``, times in seconds since 1970.

    ``wait`` is in how many seconds a queued job is expected to start; None where nothing tells it.
    ``part`` is which of several pictures a running job is at, from 1 on, and of how many.
    """
    pictures = studio.gallery.of_job(job.owner, job.id)
    wait = studio.jobs.wait(job.id) if job.state == QUEUED else None
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "step": job.step,
        "total": job.total,
        "position": studio.jobs.position(job.id),
        "wait": None if wait is None else round(wait),
        "part": studio.jobs.part(job.id),
        "note": job.note and translate(job.note, language),
        "error": job.error and translate(job.error, language),
        "result": _in_words(job.result, language),
        "request": _shown_request(job),
        "pictures": [picture_json(picture) for picture in pictures],
        "created": job.created,
        "started": job.started,
        "finished": job.finished,
    }


def _in_words(data: Any, language: str) -> Any:
    """Facts of a job with sentences in the places of messages, such as its notes."""
    if is_message(data):
        return translate(Message.from_json(data), language)
    if isinstance(data, dict):
        return {name: _in_words(value, language) for name, value in data.items()}
    if isinstance(data, list) and data and isinstance(data[0], dict | list):  # not numbers
        return [_in_words(value, language) for value in data]
    return data


def _shown_request(job: Job) -> dict[str, Any]:
    """The request; of one that names thousands of pictures, how many."""
    if job.kind != DELETING:
        return job.request
    return {"pictures": len(job.request["ids"]) + len(job.request["inputs"])}


def job_descriptions(
    studio: Studio,
) -> Callable[[tuple[str, str, str]], AsyncGenerator[str, None]]:
    """A source of a job's description as an event: each time it has changed, until it has ended.

    Its key is the owner's id, the job's id and the language.
    """

    async def descriptions(key: tuple[str, str, str]) -> AsyncGenerator[str, None]:
        owner_id, job_id, language = key
        shown = None
        ended, loop = asyncio.Event(), asyncio.get_running_loop()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the studio is closing
                loop.call_soon_threadsafe(ended.set)

        def look() -> tuple[str, bool]:
            job = studio.jobs.get(owner_id, job_id)
            return json.dumps(job_json(studio, job, language), ensure_ascii=False), job.ended

        with studio.jobs.on_job_end(tell):
            while True:
                ended.clear()
                facts, over = await run_sync(look)
                if facts != shown:
                    shown = facts
                    yield sse.event(facts, "job")
                if over:
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), UPDATE_SECONDS)

    return descriptions
