"""The HTTP API under ``/api/v1``, and the pictures that page and API show.

Every route works for the :class:`Owner` who asks: another's job or picture is not found, be its
id guessed or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from pipelines.core.errors import UserError, bad_value, unforeseen
from studio.api.access import API
from studio.api.endpoints import catalog, inputs, jobs, pictures
from studio.core.broadcast import Broadcast
from studio.core.replies import Refusal, error_body, status_of
from studio.i18n import language_of_request, translate

if TYPE_CHECKING:
    from studio.core.services import Studio


def install(app: FastAPI, studio: Studio) -> None:
    """Adds the API's routes, the picture files and the form of errors to ``app``.

    The handlers find the studio, and what is the app's own, in ``app.state``.
    """
    app.state.studio = studio
    app.state.watched_jobs = Broadcast(jobs.job_descriptions(studio))
    # Those of the features before those that take any name; the last one takes every path.
    app.include_router(jobs.router, prefix=API)
    for feature in studio.features:
        try:
            if feature.routes is not None:
                app.include_router(feature.routes, prefix=API)
            for api in feature.foreign_apis:
                app.include_router(api.routes)
        except Exception as error:
            studio.features.leave_out(feature.name, error)
    for router in (pictures.router, inputs.router, catalog.router):
        app.include_router(router, prefix=API)
    app.include_router(pictures.files)
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unforeseen_error)


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
