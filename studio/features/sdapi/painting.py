"""Painting for programs that speak A1111's protocol: jobs as the page sends them, waited for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from anyio.to_thread import run_sync
from PIL import Image

from pipelines.core.errors import BadRequest
from pipelines.core.messages import Message
from pipelines.diffusion.from_picture.sizes import size_like, size_step
from pipelines.upscaling.catalog import LANCZOS, NONE, Upscalers
from studio.api.job_waiting import wait_for_end
from studio.core.gallery.metadata import VERSION
from studio.core.jobs.record import CANCELLED, DONE
from studio.features.sdapi.bodies import (
    ChangeBody,
    OneBody,
    TextBody,
    Wanted,
    change_fields,
    paint_fields,
    same_upscaler,
)
from studio.features.sdapi.choices import DEFAULT_MODEL, find_model
from studio.features.sdapi.errors import Failed
from studio.features.sdapi.pictures import bring, encode, encode_png
from studio.features.sdapi.units import SCRIPT, units_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Receive

    from pipelines.models.catalog import ModelEntry
    from studio.core.accounts.accounts import Owner
    from studio.core.gallery.gallery import SavedPicture
    from studio.core.gallery.inputs import Input
    from studio.core.jobs.record import Job
    from studio.core.services import Studio
    from studio.features.sdapi.memory import Program

TEXT, CHANGE, STEERED, UPSCALE = "text_to_image", "from_picture", "control", "upscale"
_STAMP = "%Y%m%d%H%M%S"
# A1111's names of fields that the studio's sentences are about.
_SENT_AS = {
    "guidance": "cfg_scale",
    "batch_count": "n_iter",
    "sampler": "sampler_name",
    "schedule": "scheduler",
    "model": "sd_model_checkpoint",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A job that a body asks for.

    Attributes:
        kind: of engine.
        fields: of its request.
        notes: what of the body has no effect.
    """

    kind: str
    fields: dict[str, Any]
    notes: list[Message]


def text_job(studio: Studio, owner: Owner, program: Program, body: TextBody) -> Asked:
    """What ``txt2img`` asks for; keeps the pictures that units follow.

    Raises:
        UserError: names what cannot be used.
    """
    wanted = _read_fields(studio, owner, program, body)
    units = [
        {**each.fields, "picture": _unit_picture(studio, owner, each.picture)}
        for each in units_in(body.alwayson_scripts, studio.control)
    ]
    if units:
        return Asked(STEERED, wanted.fields | {"units": units}, wanted.notes)
    return Asked(TEXT, wanted.fields, wanted.notes)


def change_job(studio: Studio, owner: Owner, program: Program, body: ChangeBody) -> Asked:
    """What ``img2img`` asks for; keeps its pictures.

    Without a size the result has the picture's proportions.

    Raises:
        UserError: names what cannot be used.
    """
    if not body.init_images:
        raise BadRequest("{field} is missing.", field="init_images")
    wanted = _read_fields(studio, owner, program, body)
    picture, *others = [bring(studio, owner, each, "init_images") for each in body.init_images]
    mask = None
    if body.mask:
        mask = bring(studio, owner, body.mask, "mask", is_mask=True).id
    start = change_fields(body, picture.id, mask)
    fields = {**wanted.fields, "from_picture": start.fields}
    if body.width is None and body.height is None:
        fields |= _size_of(picture, find_model(studio, owner, fields["model"]))
    if others:
        fields |= {"pictures": [each.id for each in others], "own_sizes": False}
    units = []
    for each in units_in(body.alwayson_scripts, studio.control):
        followed = _unit_picture(studio, owner, each.picture) if each.picture else picture.id
        units.append({**each.fields, "picture": followed})
    return Asked(CHANGE, fields | {"units": units}, [*wanted.notes, *start.notes])


def upscale_job(studio: Studio, owner: Owner, body: OneBody, name: str = "image") -> Asked:
    """What ``extra-single-image`` asks for; keeps its picture.

    Raises:
        UserError: names what cannot be used.
    """
    if not body.image:
        raise BadRequest("{field} is missing.", field=name)
    upscaler = same_upscaler(body.upscaler_1, (each.name for each in
                                               Upscalers(studio.home).list()))  # fmt: skip
    picture = bring(studio, owner, body.image, name)
    scale = body.upscaling_resize
    if body.resize_mode == 1:
        scales = (body.upscaling_resize_w / picture.width, body.upscaling_resize_h / picture.height)
        scale = max(scales) if body.upscaling_crop else min(scales)
    notes = []
    for field in ("gfpgan_visibility", "codeformer_visibility"):
        if getattr(body, field):
            notes.append(Message("{field} has no effect here.", field=field))
    if body.upscaler_2 not in ("", NONE) and body.extras_upscaler_2_visibility:
        notes.append(Message("{field} has no effect here.", field="upscaler_2"))
    fields = {"picture": picture.id, "scale": scale,
              "upscaler": LANCZOS if upscaler == NONE else upscaler}  # fmt: skip
    return Asked(UPSCALE, fields, notes)


async def run(
    studio: Studio, owner: Owner, program: Program, asked: Asked, receive: Receive
) -> Job:
    """The job as it has ended: done, or interrupted by one of the owner's programs.

    Raises:
        Gone: the client has hung up; the job is cancelled.
        Failed: the job has; with its cause.
        UserError: it is refused.
    """
    with _sent_names():
        job = await run_sync(studio.submissions.submit, owner, asked.kind, asked.fields)
    with program.note_wait(job.id):
        job = await wait_for_end(studio, job, receive)
    if job.state not in (DONE, CANCELLED):
        error = job.error or Message("The job failed.")
        raise Failed(error.template, **error.values)
    return job


def paint_answer(studio: Studio, job: Job, asked: Asked, body: TextBody, sent: Any) -> str:
    """The answer of ``txt2img`` and ``img2img`` as JSON."""
    pictures = [each for each in studio.gallery.of_job(job.owner, job.id) if each.position >= 0]
    images = [encode(studio.gallery.path(job.owner, each.id).read_bytes()) for each in pictures]
    hidden = set() if getattr(body, "include_init_images", True) else {"init_images", "mask"}
    parameters = {name: value for name, value in sent.items() if name not in hidden}
    return json.dumps(
        {
            "images": images if body.send_images else [],
            "parameters": parameters | ({} if not hidden else dict.fromkeys(hidden)),
            "info": json.dumps(_info(job, pictures, asked), ensure_ascii=False),
        },
        ensure_ascii=False,
    )


def upscale_answer(studio: Studio, job: Job, body: OneBody) -> str:
    """The picture that has been made larger, in base64.

    Raises:
        Failed: it was interrupted.
    """
    pictures = studio.gallery.of_job(job.owner, job.id)
    if not pictures:
        raise Failed("The job was interrupted before a picture was ready.")
    if body.resize_mode == 1 and body.upscaling_crop:
        picture = studio.gallery.open(job.owner, pictures[0].id)
        size = (body.upscaling_resize_w, body.upscaling_resize_h)
        if picture.size != size:
            return encode_png(_crop_middle(picture, size))
    return encode(studio.gallery.path(job.owner, pictures[0].id).read_bytes())


def _crop_middle(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The middle of a picture that is at least as large."""
    left, top = ((have - want) // 2 for have, want in zip(picture.size, size, strict=True))
    return picture.crop((left, top, left + size[0], top + size[1]))


def notes_of(job: Job, asked: Asked) -> list[str]:
    """What had no effect or was done otherwise, in sentences."""
    painted = [Message.from_json(each) for each in (job.result or {}).get("notes", ())]
    return [str(each) for each in [*asked.notes, *painted]]


def _info(job: Job, pictures: list[SavedPicture], asked: Asked) -> dict[str, Any]:
    """What A1111 says of a painted batch, with the job's id and notes besides."""
    requests = [each.request for each in pictures] or [job.request]
    first = requests[0]
    seeds = [each.get("seed") for each in requests]
    subseeds = [(each.get("variation") or {}).get("seed", each.get("seed")) for each in requests]
    return {
        "prompt": first.get("prompt", ""),
        "all_prompts": [each.get("prompt", "") for each in requests],
        "negative_prompt": first.get("negative_prompt", ""),
        "all_negative_prompts": [each.get("negative_prompt", "") for each in requests],
        "seed": seeds[0],
        "all_seeds": seeds,
        "subseed": subseeds[0],
        "all_subseeds": subseeds,
        "subseed_strength": (first.get("variation") or {}).get("strength", 0),
        "width": pictures[0].width if pictures else first.get("width"),
        "height": pictures[0].height if pictures else first.get("height"),
        "sampler_name": first.get("sampler"),
        "cfg_scale": first.get("guidance"),
        "steps": first.get("steps"),
        "batch_size": job.request.get("batch_size", 1),
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": first.get("model"),
        "sd_model_hash": None,
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": _strength(first),
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": [each.parameters for each in pictures],
        "styles": [first["style"]] if first.get("style") else [],
        "job_timestamp": datetime.fromtimestamp(job.created).strftime(_STAMP),
        "clip_skip": first.get("clip_skip", 1),
        "is_using_inpainting_conditioning": False,
        "version": VERSION,
        "id_task": job.id,
        "interrupted": job.state == CANCELLED,
        "notes": notes_of(job, asked),
    }


def _strength(request: Mapping[str, Any]) -> float | None:
    part = request.get("from_picture") or request.get("hires") or {}
    return part.get("strength")


def _read_fields(studio: Studio, owner: Owner, program: Program, body: TextBody) -> Wanted:
    """A body's fields, with the model's name as it is here, and the scripts that are left out."""
    wanted = paint_fields(body, program.model, studio.home)
    name = wanted.fields.get("model", DEFAULT_MODEL)
    wanted.fields["model"] = find_model(studio, owner, name).name
    if "clip_skip" not in wanted.fields and (layers := program.layers):
        wanted.fields["clip_skip"] = layers
    if (hires := wanted.fields.get("hires")) and hires["model"] is not None:
        hires["model"] = find_model(studio, owner, hires["model"]).name
    left = [name for name, each in body.alwayson_scripts.items()
            if name.lower() != SCRIPT and _is_asked(each)]  # fmt: skip
    if left:
        wanted.notes.append(
            Message("These scripts were left out: {names}.", names=", ".join(left)[:200])
        )
    return wanted


def _is_asked(script: Any) -> bool:
    """Whether a script of a body says anything."""
    given = script.get("args") if isinstance(script, Mapping) else script
    return any(given) if isinstance(given, list) else bool(given)


def _unit_picture(studio: Studio, owner: Owner, picture: str | None) -> str:
    if picture is None:
        raise BadRequest("{field} is missing.", field=f"{SCRIPT}.args.image")
    return bring(studio, owner, picture, f"{SCRIPT}.args.image").id


def _size_of(picture: Input, entry: ModelEntry) -> dict[str, int]:
    size = size_like((picture.width, picture.height), entry.native_size, size_step(entry))
    return dict(zip(("width", "height"), size, strict=True))


@contextmanager
def _sent_names() -> Iterator[None]:
    """Errors about a field of a request name it as A1111 does."""
    try:
        yield
    except BadRequest as error:
        name = _SENT_AS.get(str(next(iter(error.path), "")))
        if name is None or "field" not in error.message.values:
            raise
        raise BadRequest(error.message.template, **error.message.values | {"field": name}) from None
