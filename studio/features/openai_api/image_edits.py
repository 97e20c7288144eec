"""``POST /v1/images/edits`` and ``/v1/images/variations``: pictures that are sent, changed.

A picture is begun from (:mod:`pipelines.diffusion.from_picture`), or shown to a model that edits by
words; with a mask only its transparent parts are painted anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from pipelines.core.errors import BadRequest
from pipelines.diffusion.from_picture.sizes import size_like, size_step
from pipelines.diffusion.requests import TextToImageRequest
from studio.core.replies import FORM_TYPE
from studio.features.openai_api.bodies import rename_fields
from studio.features.openai_api.errors import Invalid
from studio.features.openai_api.images import request_of

if TYPE_CHECKING:
    from pipelines.models.catalog import ModelEntry
    from studio.core.accounts.accounts import Owner
    from studio.core.gallery.inputs import Input
    from studio.core.services import Studio

__all__ = ["KIND", "Sent", "edit_of", "read_form", "variation_of"]

KIND = "from_picture"
EDITED, VARIED = 0.75, 0.5  # strengths, where none is sent
_MOST_FILES, _MOST_FIELDS = 17, 60
_PICTURES = ("image", "image[]")
_NUMBERS = ("n", "seed", "steps", "guidance", "strength")


@dataclass(frozen=True, slots=True)
class Sent:
    """What a form holds.

    Attributes:
        fields: by their names; numbers are read.
        pictures: the files that are to be changed.
        mask: another file, or None.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    pictures: list[bytes] = field(default_factory=list)
    mask: bytes | None = None


async def read_form(request: Request) -> Sent:
    """The fields and files of a body.

    Raises:
        Invalid: it is no form, or has a file by an unknown name.
    """
    fields, pictures, mask = {}, [], None
    if not request.headers.get("content-type", "").lower().startswith(FORM_TYPE):
        raise _no_form()
    try:
        async with request.form(max_files=_MOST_FILES, max_fields=_MOST_FIELDS) as form:
            for name, value in form.multi_items():
                if not isinstance(value, UploadFile):
                    fields[name] = _number(value) if name in _NUMBERS else value
                elif name in _PICTURES:
                    pictures.append(await value.read())
                elif name == "mask":
                    mask = await value.read()
                else:
                    raise Invalid("{field} is not known as a file. Send it as {name}.",
                                  field=name[:40], name="image", param=name[:40])  # fmt: skip
    except HTTPException as error:
        if error.status_code != 400:
            raise
        raise _no_form() from None
    for name in ("image", "image[]", "mask"):
        if fields.pop(name, ""):
            raise Invalid("{field} must be a file: pictures are not fetched from addresses.",
                          field=name, param=name)  # fmt: skip
    if not pictures:
        raise Invalid("{field} is missing.", field="image", param="image")
    return Sent(fields, pictures, mask)


def edit_of(studio: Studio, owner: Owner, sent: Sent) -> dict[str, Any]:
    """What the form of ``/v1/images/edits`` asks for, as fields of a job of :data:`KIND`; keeps its
    pictures.

    Without a size the result has the picture's proportions, or with a mask its very size.

    Raises:
        Invalid: names the first field that cannot be used.
        NotFound: there is no such model.
        Busy, DiskFull: there is no room for the pictures.
    """
    data = request_of(sent.fields)
    entry = _entry_of(studio, owner, data)
    count = len(sent.pictures)
    if count > max(1, entry.references):
        raise Invalid(
            "{model} takes {limit} pictures at once; {count} were sent.",
            model=entry.name,
            limit=max(1, entry.references),
            count=count,
            param="image",
        )
    picture, *others = [_bring(studio, owner, each, "image") for each in sent.pictures]
    start: dict[str, Any] = {"picture": picture.id}
    if entry.references:
        if sent.mask is not None:
            raise Invalid(
                "{model} is told in words what to change. Leave the mask out.",
                model=entry.name,
                param="mask",
            )
        return _change(data, entry, picture, start | {
            "edit": True, "references": [each.id for each in others]
        })  # fmt: skip
    start["strength"] = sent.fields.get("strength", EDITED)
    if sent.mask is not None:
        mask = _bring(studio, owner, sent.mask, "mask")
        if mask.alpha is None:
            raise Invalid(
                "The mask has no transparent part. Make transparent what is to be painted anew.",
                param="mask",
            )
        start |= {"mask": mask.alpha, "area": "masked"}
    elif picture.alpha is not None:  # what of it is transparent is to be filled
        start |= {"mask": picture.alpha, "area": "masked", "masked_content": "fill"}
        start["strength"] = sent.fields.get("strength", 1.0)
    return _change(data, entry, picture, start)


def variation_of(studio: Studio, owner: Owner, sent: Sent) -> dict[str, Any]:
    """What the form of ``/v1/images/variations`` asks for, as :func:`edit_of`: pictures much like
    the one that is sent.

    Raises:
        as :func:`edit_of`.
    """
    if sent.mask is not None:
        raise Invalid("{field} cannot be followed here. Leave it out.", field="mask", param="mask")
    data = request_of({"prompt": "", **sent.fields})
    entry = _entry_of(studio, owner, data)
    if len(sent.pictures) > 1:
        raise Invalid(
            "Variations are made of one picture; {count} were sent.",
            count=len(sent.pictures),
            param="image",
        )
    picture = _bring(studio, owner, sent.pictures[0], "image")
    strength = sent.fields.get("strength", VARIED)
    return _change(data, entry, picture, {"picture": picture.id, "strength": strength})


def _no_form() -> Invalid:
    return Invalid(
        "Send picture, prompt and settings as a form ({type}), with at most {files} files and "
        "{fields} fields.",
        type=FORM_TYPE,
        files=_MOST_FILES,
        fields=_MOST_FIELDS,
    )


def _change(
    data: Mapping[str, Any], entry: ModelEntry, picture: Input, start: dict[str, Any]
) -> dict[str, Any]:
    """The request's fields, with a size of the picture's proportions where none is asked for."""
    size = {}
    if "width" not in data:
        like = size_like((picture.width, picture.height), entry.native_size, size_step(entry))
        size = dict(zip(("width", "height"), like, strict=True))
    return {**data, **size, "from_picture": start}


def _entry_of(studio: Studio, owner: Owner, data: Mapping[str, Any]) -> ModelEntry:
    name = data.get("model", TextToImageRequest.model_fields["model"].default)
    return studio.loras.entry(owner.id, str(name))


def _bring(studio: Studio, owner: Owner, data: bytes, name: str) -> Input:
    try:
        return studio.inputs.bring(owner.id, data)
    except BadRequest as error:
        raise rename_fields(error, {}, name) from None


def _number(text: str) -> Any:
    """A form's text as the number that it is; what is none is refused by the request."""
    try:
        number = json.loads(text)
    except ValueError:
        return text
    return number if isinstance(number, int | float) else text
