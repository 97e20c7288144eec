"""``POST /v1/images/generations``: a job as the page sends it, waited for."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from anyio.to_thread import run_sync
from pydantic import Field
from starlette.types import Receive

from pipelines.core.errors import BadRequest, UserError
from pipelines.core.messages import Message
from studio.api.job_waiting import wait_for_end
from studio.core.jobs.record import DONE, Job
from studio.features.openai_api.bodies import Options, drop_nulls, rename_fields, validate_body
from studio.features.openai_api.errors import Invalid
from studio.features.openai_api.schemas import Image, Images

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio

KIND = "text_to_image"
_SIZE = re.compile(r"(\d{1,6})[xX×](\d{1,6})")
# Fields that would be ignored to the caller's harm, and their values that ask for nothing.
_UNSUPPORTED = {
    "background": ("auto", "opaque"),
    "partial_images": (0,),
    "output_compression": (100,),
    "quality": ("auto", "standard", "medium", ""),
    "image": ("", []),
    "mask": ("",),
    "loras": ([],),
}
# What other servers call a field of this protocol → its name here.
_OTHER_NAMES = {
    "guidance_scale": "guidance",
    "cfg_scale": "guidance",
    "num_inference_steps": "steps",
    "sampler_name": "sampler",
    "width": "size",
    "height": "size",
    "batch_size": "n",
    "num_images": "n",
}
_SAME = ("prompt", "model", "negative_prompt", "seed", "steps", "guidance", "sampler")


class Form(Options):
    n: Annotated[int, Field(ge=1, le=10)] = 1
    size: str = "auto"
    response_format: str = "b64_json"
    output_format: str = "png"
    stream: bool = False


class Failed(UserError):
    """A job that did not end with pictures (HTTP 500)."""


def request_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the body asks for, as fields of the job's request.

    Raises:
        Invalid: names the first field that cannot be used.
    """
    given = drop_nulls(body)
    form = validate_body(Form, given)
    if form.response_format != "b64_json":
        raise Invalid(
            "Pictures are sent inside the answer only: leave response_format out, or ask for "
            "b64_json.",
            param="response_format",
        )
    if form.output_format != "png":
        raise Invalid("Pictures are PNG here; {kind} is not made.", kind=form.output_format[:40],
                      param="output_format")  # fmt: skip
    for name, neutral in _UNSUPPORTED.items():
        if given.get(name) not in (None, *neutral):
            raise Invalid("{field} cannot be followed here. Leave it out.", field=name, param=name)
    for name, ours in _OTHER_NAMES.items():
        if name in given and given[name] != given.get(ours, 1 if ours == "n" else None):
            raise Invalid(
                "{field} is not known here. Send it as {name}.", field=name, name=ours, param=name
            )
    if form.stream:
        raise Invalid("Pictures are not streamed. Leave stream out.", param="stream")
    if "prompt" not in given:
        raise Invalid("{field} is missing.", field="prompt", param="prompt")
    data = {name: given[name] for name in _SAME if name in given}
    data["batch_count"] = form.n
    if form.size != "auto":
        size = _SIZE.fullmatch(form.size)
        if size is None:
            raise Invalid("{field} is {value}; give it as WIDTHxHEIGHT, such as 512x512.",
                          field="size", value=form.size[:40], param="size")  # fmt: skip
        data["width"], data["height"] = int(size[1]), int(size[2])
    return data


async def generate(
    studio: Studio, owner: Owner, data: Mapping[str, Any], receive: Receive, kind: str = KIND
) -> str:
    """Paints, and returns the answer as JSON.

    The job, which is of ``kind``, is cancelled when the client hangs up.

    Raises:
        Gone: the client has hung up.
        Failed: the job has; with its cause.
        UserError: as :meth:`studio.core.jobs.submission.Submissions.submit`.
    """
    try:
        job = await run_sync(studio.submissions.submit, owner, kind, dict(data))
    except BadRequest as error:
        raise rename_fields(error, {"width": "size", "height": "size"}) from None
    job = await wait_for_end(studio, job, receive)
    if job.state != DONE:
        if job.error is None:
            raise Failed("The job was cancelled in the studio.")
        raise Failed(job.error.template, **job.error.values)
    return await run_sync(_answer, studio, job)


def _answer(studio: Studio, job: Job) -> str:
    pictures = studio.gallery.of_job(job.owner, job.id)
    data = [
        Image(b64_json=base64.b64encode(path.read_bytes()).decode(), seed=picture.request["seed"])
        for picture in pictures
        for path in [studio.gallery.path(job.owner, picture.id)]
    ]
    size = f"{pictures[0].width}x{pictures[0].height}"
    notes = [str(Message.from_json(note)) for note in (job.result or {}).get("notes", ())]
    images = Images(created=int(time.time()), data=data, size=size, notes=notes or None)
    return json.dumps(images.model_dump())
