"""The routes under ``/mcp``: the protocol itself, and whole pictures."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response

from pipelines.core.errors import Refused
from studio.api.dependencies import CurrentOwner, CurrentStudio
from studio.api.http import KEPT
from studio.features.mcp.errors import Route

PATH = "/mcp"

router = APIRouter(tags=["mcp"], route_class=Route)


@router.api_route(PATH, methods=["GET", "POST", "DELETE"])
@router.api_route(f"{PATH}/", methods=["GET", "POST", "DELETE"])
def speak(request: Request, studio: CurrentStudio, owner: CurrentOwner) -> Response:
    """One message of the protocol, or a stream of what the studio says unasked."""
    key = request.state.api_key
    if key is None and studio.accounts.needed:
        raise Refused("Send an API key of this studio as a bearer token.")
    if key is not None and request.method == "POST":
        studio.keys.check_request(key)
    return studio.mcp_sessions.of(owner)


@router.get(f"{PATH}/pictures/{{picture_id}}.png")
def picture(picture_id: str, studio: CurrentStudio, owner: CurrentOwner) -> FileResponse:
    """A whole picture, of which tools show a smaller one."""
    path = studio.gallery.path(owner.id, picture_id)
    return FileResponse(path, media_type="image/png", headers=KEPT)


@router.api_route(
    f"{PATH}/{{path:path}}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
)
def nothing(path: str) -> Response:
    """Else the page would answer: it is mounted at the root."""
    return PlainTextResponse("", 404)
