"""The routes under ``/sdapi/v1`` and ``/controlnet``; their list is closed."""

from __future__ import annotations

from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from pipelines.core.errors import BadRequest
from studio.api.dependencies import CurrentOwner, CurrentStudio, JsonObject
from studio.api.http import CLOSED, NOT_KEPT
from studio.api.job_waiting import Gone
from studio.core.gallery.metadata import format_parameters, read_settings
from studio.features.sdapi import choices, painting
from studio.features.sdapi.bodies import ChangeBody, OneBody, TextBody, read
from studio.features.sdapi.errors import Route
from studio.features.sdapi.memory import Program
from studio.features.sdapi.pictures import decode
from studio.features.sdapi.progress import interrupt, progress

SDAPI, CONTROLNET = "/sdapi/v1", "/controlnet"
MOST_PICTURES = 100  # of a batch to be enlarged
_ALL = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

router = APIRouter(tags=["sdapi"], route_class=Route)
control_router = APIRouter(tags=["sdapi"], route_class=Route)


def program_of(request: Request, studio: CurrentStudio, owner: CurrentOwner) -> Program:
    """What is remembered of who asks."""
    key = request.state.api_key
    return studio.sdapi_memory.of(owner.id if key is None else f"key {key.id}")


CurrentProgram = Annotated[Program, Depends(program_of)]


async def check_rate(request: Request, studio: CurrentStudio) -> None:
    """Counts a request of a key that may make so many a minute; raises Busy."""
    if (key := request.state.api_key) is not None:
        studio.keys.check_request(key)


RATED = [Depends(check_rate)]

# --- what there is ----------------------------------------------------------------------------


@router.get(f"{SDAPI}/options")
def options(studio: CurrentStudio, owner: CurrentOwner, program: CurrentProgram) -> dict[str, Any]:
    return choices.options(studio, owner, program)


@router.post(f"{SDAPI}/options")
def choose_options(
    studio: CurrentStudio, owner: CurrentOwner, program: CurrentProgram, data: JsonObject
) -> None:
    """Remembers the model for the owner's programs, and for nobody else's."""
    choices.choose_options(studio, owner, program, data)


@router.get(f"{SDAPI}/sd-models")
def models(studio: CurrentStudio, owner: CurrentOwner) -> list[dict[str, Any]]:
    return choices.models(studio, owner)


@router.get(f"{SDAPI}/samplers")
def samplers(studio: CurrentStudio) -> list[dict[str, Any]]:
    return choices.samplers(studio)


@router.get(f"{SDAPI}/schedulers")
def schedulers(studio: CurrentStudio) -> list[dict[str, Any]]:
    return choices.schedulers(studio)


@router.get(f"{SDAPI}/upscalers")
def upscalers(studio: CurrentStudio) -> list[dict[str, Any]]:
    return choices.upscalers(studio)


@router.get(f"{SDAPI}/latent-upscale-modes")
def latent_modes() -> list[dict[str, str]]:
    return choices.latent_modes()


@router.get(f"{SDAPI}/loras")
def loras(studio: CurrentStudio, owner: CurrentOwner) -> list[dict[str, Any]]:
    return choices.loras(studio, owner)


@router.get(f"{SDAPI}/prompt-styles")
def prompt_styles() -> list[dict[str, Any]]:
    return choices.prompt_styles()


@router.get(f"{SDAPI}/embeddings")
def embeddings() -> dict[str, Any]:
    return {"loaded": {}, "skipped": {}}


@router.get(f"{SDAPI}/cmd-flags")
def flags() -> dict[str, Any]:
    return {}


@router.get(f"{SDAPI}/scripts")
def scripts() -> dict[str, list[str]]:
    return {"txt2img": ["controlnet"], "img2img": ["controlnet"]}


for name in choices.NO_LISTS:
    router.add_api_route(f"{SDAPI}/{name}", lambda: [], methods=["GET"], name=name)


@router.post(f"{SDAPI}/refresh-checkpoints")
@router.post(f"{SDAPI}/refresh-loras")
@router.post(f"{SDAPI}/refresh-vae")
def refresh() -> None:
    """Lists are read anew each time that they are asked for."""


# --- painting -----------------------------------------------------------------------------------


@router.post(f"{SDAPI}/txt2img", dependencies=RATED)
async def paint(
    request: Request,
    studio: CurrentStudio,
    owner: CurrentOwner,
    program: CurrentProgram,
    data: JsonObject,
) -> Response:
    """Pictures from words."""
    body = read(TextBody, data)
    asked = await run_sync(painting.text_job, studio, owner, program, body)
    return await _paint(request, program, asked, body, data)


@router.post(f"{SDAPI}/img2img", dependencies=RATED)
async def change(
    request: Request,
    studio: CurrentStudio,
    owner: CurrentOwner,
    program: CurrentProgram,
    data: JsonObject,
) -> Response:
    """Pictures from pictures."""
    body = read(ChangeBody, data)
    asked = await run_sync(painting.change_job, studio, owner, program, body)
    return await _paint(request, program, asked, body, data)


@router.post(f"{SDAPI}/extra-single-image", dependencies=RATED)
async def enlarge(
    request: Request,
    studio: CurrentStudio,
    owner: CurrentOwner,
    program: CurrentProgram,
    data: JsonObject,
) -> Response:
    """A larger picture."""
    body = read(OneBody, data)
    try:
        picture, words = await _enlarge(request, program, body, "image")
    except Gone:
        return Response(status_code=CLOSED)
    return JSONResponse({"html_info": words, "image": picture}, headers=NOT_KEPT)


@router.post(f"{SDAPI}/extra-batch-images", dependencies=RATED)
async def enlarge_several(
    request: Request,
    studio: CurrentStudio,
    owner: CurrentOwner,
    program: CurrentProgram,
    data: JsonObject,
) -> Response:
    """Several pictures, made larger in the same way."""
    sent = data.get("imageList")
    if not isinstance(sent, list) or not 0 < len(sent) <= MOST_PICTURES:
        raise BadRequest(
            "{field} must be a list of 1 to {limit} pictures.",
            field="imageList",
            limit=MOST_PICTURES,
        )
    made, words = [], []
    try:
        for each in sent:
            picture = each.get("data") if isinstance(each, dict) else each
            body = read(OneBody, data | {"image": picture})
            found, about = await _enlarge(request, program, body, "imageList")
            made.append(found)
            words.append(about)
    except Gone:
        return Response(status_code=CLOSED)
    return JSONResponse(
        {"html_info": "\n".join(filter(None, words)), "images": made}, headers=NOT_KEPT
    )


@router.post(f"{SDAPI}/png-info")
def png_info(data: JsonObject) -> dict[str, Any]:
    """What a picture's file says of how it was made."""
    parameters = read_settings(decode(data.get("image"), "image"))
    text = format_parameters(parameters)
    return {
        "info": text,
        "items": {"parameters": text} if text else {},
        "parameters": parameters,
    }


@router.post(f"{SDAPI}/interrogate")
async def interrogate() -> None:
    raise choices.no_interrogation()


# --- jobs ---------------------------------------------------------------------------------------


@router.get(f"{SDAPI}/progress")
def tell_progress(
    studio: CurrentStudio,
    owner: CurrentOwner,
    program: CurrentProgram,
    skip_current_image: Annotated[bool, Query()] = False,
) -> dict[str, Any]:
    return progress(studio, owner, program, not skip_current_image)


@router.post(f"{SDAPI}/interrupt")
@router.post(f"{SDAPI}/skip")
def stop(studio: CurrentStudio, owner: CurrentOwner, program: CurrentProgram) -> dict[str, Any]:
    """Stops the owner's newest job; what it has painted is answered where it was asked for."""
    interrupt(studio, owner, program)
    return {}


@router.api_route(f"{SDAPI}/{{path:path}}", methods=_ALL)
def nothing(path: str) -> Response:
    """Else the page would answer: it is mounted at the root."""
    return PlainTextResponse("", 404)


# --- sd-webui-controlnet ------------------------------------------------------------------------


@control_router.get(f"{CONTROLNET}/version")
def control_version() -> dict[str, int]:
    return {"version": 3}


@control_router.get(f"{CONTROLNET}/model_list")
def control_models(studio: CurrentStudio) -> dict[str, list[str]]:
    return {"model_list": choices.control_models(studio)}


@control_router.get(f"{CONTROLNET}/module_list")
def control_modules() -> dict[str, list[str]]:
    return {"module_list": choices.modules()}


@control_router.api_route(f"{CONTROLNET}/{{path:path}}", methods=_ALL)
def no_control(path: str) -> Response:
    return PlainTextResponse("", 404)


# --- how jobs are waited for --------------------------------------------------------------------


async def _paint(
    request: Request,
    program: Program,
    asked: painting.Asked,
    body: TextBody,
    sent: dict[str, Any],
) -> Response:
    studio, owner = request.app.state.studio, request.state.owner
    try:
        job = await painting.run(studio, owner, program, asked, request.receive)
    except Gone:
        return Response(status_code=CLOSED)  # which nobody reads
    text = await run_sync(painting.paint_answer, studio, job, asked, body, sent)
    headers = NOT_KEPT | {"x-atelier-job": job.id}
    return Response(text, media_type="application/json", headers=headers)


async def _enlarge(request: Request, program: Program, body: OneBody, name: str) -> tuple[str, str]:
    """The larger picture in base64, and notes on it."""
    studio, owner = request.app.state.studio, request.state.owner
    asked = await run_sync(painting.upscale_job, studio, owner, body, name)
    job = await painting.run(studio, owner, program, asked, request.receive)
    picture = await run_sync(painting.upscale_answer, studio, job, body)
    return picture, "\n".join(painting.notes_of(job, asked))
