"""The HTTP API under ``/api/v1``, and the pictures that page and API show.

Every route works for the :class:`Owner` who asks: another's job or picture is not found, be its
id guessed or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from datetime import date
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from pipelines.core.errors import UserError, bad_value, unforeseen
from pipelines.diffusion.samplers import samplers_in
from pipelines.diffusion.styles import styles
from pipelines.models.catalog import OWN
from studio.api import sse
from studio.api.access import API
from studio.api.endpoints.inputs import inputs_router
from studio.api.http import KEPT, NOT_KEPT, json_object, list_that_fits
from studio.core.accounts.accounts import owner_of
from studio.core.broadcast import Broadcast
from studio.core.device import is_own
from studio.core.gallery.gallery import MAX_SEARCH
from studio.core.gallery.metadata import read_settings
from studio.core.gallery.picture_deletion import KIND as DELETING
from studio.core.jobs.record import QUEUED
from studio.core.replies import Refusal, error_body, status_of
from studio.i18n import language_of_request, translate

if TYPE_CHECKING:
    from studio.core.gallery.gallery import SavedPicture
    from studio.core.jobs.queue import Job
    from studio.core.services import Studio

UPDATE_SECONDS = 0.1  # between two looks at a job that is watched


def install(app: FastAPI, studio: Studio) -> None:
    """Adds the API's routes, the picture files and the form of errors to ``app``."""
    # Those of the features before those that take any name; the last one takes every path.
    app.include_router(jobs_router(studio), prefix=API)
    for feature in studio.features:
        try:
            own = [make(studio) for make in feature.routes]
            foreign = [api.routes(studio) for api in feature.foreign_apis]
        except Exception as error:
            studio.features.leave_out(feature.name, error)
            continue
        for router in own:
            app.include_router(router, prefix=API)
        for router in foreign:
            app.include_router(router)
    for make in (pictures_router, inputs_router, catalog_router):
        app.include_router(make(studio), prefix=API)
    app.include_router(files_router(studio))
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unforeseen_error)


def jobs_router(studio: Studio) -> APIRouter:
    routes = APIRouter(tags=["jobs"])
    watched = Broadcast(_job_descriptions(studio))

    @routes.post("/jobs/{kind}", status_code=202)
    async def submit(kind: str, request: Request) -> dict[str, Any]:
        """Queues a job of this kind; ``GET /schema/{kind}`` says what the body may hold."""
        data = await json_object(request)
        job = await run_sync(studio.submissions.submit, owner_of(request), kind, data)
        return describe(job, request)

    @routes.get("/jobs")
    def list_jobs(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        before: Annotated[str | None, Query(max_length=100)] = None,
    ) -> dict[str, Any]:
        """One's own jobs, newest first, as many as go into an answer of a megabyte.

        ``before`` is the ``next`` of the answer before; ``next`` is null where nothing more can
        come.
        """
        jobs = studio.jobs.list(owner_of(request).id, limit=limit, before=before)
        shown = list_that_fits(describe(job, request) for job in jobs)
        more = len(shown) < len(jobs) or len(jobs) == limit
        return {"jobs": shown, "next": shown[-1]["id"] if shown and more else None}

    @routes.get("/jobs/{job_id}")
    def one(job_id: str, request: Request) -> dict[str, Any]:
        return describe(studio.jobs.get(owner_of(request).id, job_id), request)

    @routes.post("/jobs/{job_id}/cancel")
    def cancel(job_id: str, request: Request) -> dict[str, Any]:
        """Stops a running job within one step, or takes a queued one out of the queue."""
        return describe(studio.jobs.cancel(owner_of(request).id, job_id), request)

    @routes.post("/jobs/{job_id}/retry", status_code=202)
    def retry(job_id: str, request: Request) -> dict[str, Any]:
        """Queues the same request again, as a new job."""
        return describe(studio.submissions.retry(owner_of(request), job_id), request)

    @routes.get("/jobs/{job_id}/preview")
    def preview(job_id: str, request: Request) -> Response:
        """The newest preview of a running job as JPEG; 204 while there is none."""
        image = studio.jobs.preview(owner_of(request).id, job_id)
        if image is None:
            return Response(status_code=204, headers=NOT_KEPT)
        buffer = BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=85)
        return Response(buffer.getvalue(), media_type="image/jpeg", headers=NOT_KEPT)

    @routes.get("/jobs/{job_id}/events")
    async def events(job_id: str, request: Request) -> StreamingResponse:
        """Server-sent events: the job each time it has changed, the last one when it has ended."""
        owner = owner_of(request)
        # Not found must be a status, so the first look happens before the stream begins.
        await run_sync(studio.jobs.get, owner.id, job_id)
        return sse.stream(watched.listen((owner.id, job_id, language_of_request(request))))

    def describe(job: Job, request: Request) -> dict[str, Any]:
        return job_json(studio, job, language_of_request(request))

    return routes


def pictures_router(studio: Studio) -> APIRouter:
    routes = APIRouter(tags=["pictures"])

    @routes.post("/pictures/read-settings")
    async def settings_of(request: Request) -> dict[str, Any]:
        """The settings inside a PNG, JPEG or WEBP, sent as the body."""
        return {"parameters": await run_sync(read_settings, await request.body())}

    @routes.get("/pictures")
    def search(
        request: Request,
        search: Annotated[str, Query(max_length=MAX_SEARCH)] = "",
        before: Annotated[str | None, Query(max_length=100)] = None,
        until: Annotated[date | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> dict[str, Any]:
        """One's own pictures, newest first.

        ``before`` is the ``next`` of the answer before, or the id of the last picture seen;
        ``next`` is null where nothing more can come. ``until`` is the last day of which pictures
        are wanted.
        """
        rows = studio.gallery.search(owner_of(request).id, search, limit, before, until)
        shown = list_that_fits(map(picture_json, rows))
        more = len(shown) < len(rows) or len(rows) == limit
        return {"pictures": shown, "next": rows[len(shown) - 1].cursor if shown and more else None}

    @routes.get("/pictures/{picture_id}")
    def one(picture_id: str, request: Request) -> dict[str, Any]:
        return picture_json(studio.gallery.get(owner_of(request).id, picture_id))

    @routes.delete("/pictures/{picture_id}", status_code=204)
    def delete(picture_id: str, request: Request) -> None:
        studio.gallery.delete(owner_of(request).id, picture_id)

    return routes


def catalog_router(studio: Studio) -> APIRouter:
    routes = APIRouter(tags=["catalog"])

    @routes.get("/models")
    def models(request: Request) -> dict[str, Any]:
        """Everybody's, then those that one has trained or merged oneself."""
        # Not the source: where on this disk a model lies is nobody's business.
        fields = {"source": True, "words": True, "refused": True}
        return {
            "models": [
                {
                    **entry.model_dump(mode="json", exclude=fields),
                    "refused": entry.refused and str(entry.refused),
                }
                for entry in [
                    *studio.catalog.models(),
                    *studio.loras.models(owner_of(request).id),
                ]
            ]
        }

    @routes.get("/samplers")
    def samplers(request: Request) -> dict[str, Any]:
        language = language_of_request(request)
        return {
            "samplers": [
                {
                    "name": sampler.name,
                    "description": _text_in(sampler.description, language),
                    "schedules": sampler.schedules,
                    "stochastic": sampler.stochastic,
                    "max_steps": sampler.max_steps,
                }
                for sampler in samplers_in(studio.home)
            ]
        }

    @routes.get("/schedules")
    def schedules(request: Request) -> dict[str, Any]:
        language = language_of_request(request)
        known = samplers_in(studio.home).schedules.values()
        return {
            "schedules": [
                {"name": each.name, "description": _text_in(each.description, language)}
                for each in known
            ]
        }

    @routes.get("/styles")
    def all_styles(request: Request) -> dict[str, Any]:
        language = language_of_request(request)
        return {
            "styles": [
                {
                    "name": style.name,
                    "title": _text_in(style.title, language),
                    "prompt": style.prompt,
                    "negative_prompt": style.negative_prompt,
                }
                for style in styles().values()
            ]
        }

    @routes.get("/schema/{kind}")
    def schema(kind: str) -> dict[str, Any]:
        """The JSON schema of a kind's request: fields, bounds, defaults, help texts."""
        return studio.submissions.engine(kind).request_class.model_json_schema()

    @routes.get("/status")
    def status(request: Request) -> dict[str, Any]:
        """The device, its memory, the models in it and how busy it is."""
        mine = studio.features.titles(studio, owner_of(request).id)
        return {
            **studio.device.status(),
            "loaded": [
                {
                    "name": OWN if is_own(e.name) and e.name not in mine else e.name,
                    "bytes": e.bytes,
                    "where": e.where,
                    "leases": e.leases,
                }
                for e in studio.device.loaded()
            ],
            "queue": studio.jobs.counts(),
        }

    @routes.get("/health")
    def health() -> dict[str, str]:
        """For load balancers; needs no login."""
        return {"status": "ok"}

    @routes.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    def nothing(path: str) -> Response:
        """Else the page would answer: it is mounted at the root. Of what is asked by another method
        :class:`studio.api.foreign_errors.OwnWords` says so."""
        return PlainTextResponse("", 404)

    return routes


def files_router(studio: Studio) -> APIRouter:
    """Picture files by id; the only way to any file of the home folder."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/pictures/{picture_id}.png")
    def picture(picture_id: str, request: Request, download: bool = False) -> FileResponse:
        path = studio.gallery.path(owner_of(request).id, picture_id)
        return FileResponse(
            path,
            media_type="image/png",
            headers=KEPT,
            filename=f"atelier-{picture_id}.png",
            content_disposition_type="attachment" if download else "inline",
        )

    @routes.get("/thumbnails/{picture_id}.webp")
    def thumbnail(picture_id: str, request: Request) -> FileResponse:
        path = studio.gallery.thumbnail(owner_of(request).id, picture_id)
        return FileResponse(path, media_type="image/webp", headers=KEPT)

    return routes


def job_json(studio: Studio, job: Job, language: str) -> dict[str, Any]:
    """A job as the API describes it; sentences in ``language``, times in seconds since 1970.

    ``wait`` is in how many seconds a queued job is expected to start; None where nothing tells it.
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
        "note": job.note and translate(job.note, language),
        "error": job.error and translate(job.error, language),
        "result": job.result,
        "request": _shown_request(job),
        "pictures": [picture_json(picture) for picture in pictures],
        "created": job.created,
        "started": job.started,
        "finished": job.finished,
    }


def _shown_request(job: Job) -> dict[str, Any]:
    """The request; of one that names thousands of pictures, how many."""
    if job.kind != DELETING:
        return job.request
    return {"pictures": len(job.request["ids"]) + len(job.request["inputs"])}


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


def _job_descriptions(
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


def _text_in(texts: Any, language: str) -> str:
    return texts.get(language) or texts.get("en", "")


async def _user_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, UserError)
    return JSONResponse(error_body(error, language_of_request(request)), status_of(error))


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    """A query parameter that FastAPI has refused, in one sentence."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1])
    if isinstance(file := first.get("input"), UploadFile):
        first = {**first, "input": file.filename or "–"}
    sentence = bad_value({**first, "loc": (name,)}, None, {name: first.get("input")})
    return JSONResponse(error_body(sentence, language_of_request(request)), 422)


async def _unforeseen_error(request: Request, error: Exception) -> JSONResponse:
    """A bug; it is raised again behind this answer, so that the log has it."""
    sentence = translate(unforeseen(error), language_of_request(request))
    return JSONResponse({"error": {"message": sentence, "type": "internal_error"}}, 500)


async def _http_error(request: Request, error: Exception) -> Response:
    if isinstance(error, Refusal):
        return JSONResponse(error.body, error.status_code)
    assert isinstance(error, HTTPException)  # a framework's, whose words are replaced
    return PlainTextResponse(str(error.detail), error.status_code, error.headers)
