"""Bodies as A1111's clients send them, read as requests of the studio.

Numbers may be texts, null stands for a default, and names that mean nothing here are ignored: the
clients send their own settings along. What is asked for and cannot be done is a note. Source:
AUTOMATIC1111's ``modules/api/models.py`` and the fields of ``modules/processing.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from pipelines.core.errors import BadRequest, NotFound, validate
from pipelines.core.matching import find_name
from pipelines.core.messages import Message
from pipelines.diffusion.hires.requests import LATENT_MODES
from pipelines.diffusion.picture_sides import LARGEST_SIDE, LEAST_SIDE, SIZE_STEP
from pipelines.diffusion.samplers import Samplers
from pipelines.diffusion.seeds import RANDOM
from pipelines.diffusion.styles import styles
from studio.core.gallery.reuse import fields_of
from studio.features.sdapi.errors import UnknownSampler

if TYPE_CHECKING:
    from pathlib import Path

MOST_GUIDANCE = 30.0
LAST_LAYERS = 12  # of the text encoder that can be skipped to
_LONG = 200  # characters of a name
HIRES_STRENGTH, CHANGED = 0.7, 0.75  # where none is sent
# A1111's older names, and those of the library that it is built on.
_ALIASES = {
    "k_euler": "Euler",
    "k_euler_a": "Euler a",
    "k_euler_ancestral": "Euler a",
    "k_lms": "LMS",
    "k_heun": "Heun",
    "k_dpm_2": "DPM2",
    "k_dpm_2_a": "DPM2 a",
    "k_dpmpp_2m": "DPM++ 2M",
    "k_dpmpp_3m_sde": "DPM++ 3M SDE",
    "k_dpmpp_2m_sde": "DPM++ 2M SDE",
    "k_dpmpp_sde": "DPM++ SDE",
    "plms": "PNDM",
}
_AS_FIRST = {"use same checkpoint", "use same sampler", "use same scheduler", ""}
_LEFT_TO_THE_MODEL = {"automatic", ""}
_FITS = {0: "stretch", 1: "crop", 2: "pad", 3: "stretch"}
_LATENT_RESIZE = 3
_CONTENTS = {0: "fill", 1: "original", 2: "noise", 3: "nothing"}


def _round_number(value: Any) -> Any:
    """A whole number where one is sent as 0.0 or "0"; what is none is refused by the field."""
    try:
        return round(float(value))
    except (TypeError, ValueError, OverflowError):
        return value


Whole = Annotated[int, BeforeValidator(_round_number)]
Name = Annotated[str, Field(max_length=_LONG)]


class TextBody(BaseModel):
    """``POST /sdapi/v1/txt2img``. Names and defaults are A1111's, whose own documentation has them;
    where it has fixed steps, sizes and guidance, the model's own are the defaults here.
    """

    model_config = ConfigDict(extra="ignore")

    prompt: str = ""
    negative_prompt: str = ""
    styles: list[str] = Field(default=[], max_length=100)
    seed: Whole = RANDOM
    subseed: Whole = RANDOM
    subseed_strength: float = 0.0
    seed_resize_from_w: Whole = -1
    seed_resize_from_h: Whole = -1
    sampler_name: Name | None = None
    sampler_index: Name | None = None
    scheduler: Name | None = None
    batch_size: Whole = 1
    n_iter: Whole = 1
    steps: Whole | None = None
    cfg_scale: float | None = None
    width: Whole | None = None
    height: Whole | None = None
    eta: float | None = None
    clip_skip: Whole | None = None
    denoising_strength: float | None = None
    restore_faces: bool = False
    tiling: bool = False
    enable_hr: bool = False
    hr_scale: float = 2.0
    hr_upscaler: Name | None = None
    hr_second_pass_steps: Whole = 0
    hr_resize_x: Whole = 0
    hr_resize_y: Whole = 0
    hr_checkpoint_name: Name | None = None
    hr_sampler_name: Name | None = None
    hr_scheduler: Name | None = None
    hr_prompt: str = ""
    hr_negative_prompt: str = ""
    hr_cfg: float | None = None
    override_settings: dict[str, Any] = {}
    script_name: Name | None = None
    alwayson_scripts: dict[str, Any] = {}
    send_images: bool = True
    force_task_id: Name | None = None


class ChangeBody(TextBody):
    """``POST /sdapi/v1/img2img``."""

    init_images: list[Any] = Field(default=[], max_length=100)
    mask: str | None = None
    resize_mode: Whole = 0
    mask_blur: Whole | None = None
    mask_blur_x: Whole = 4
    mask_blur_y: Whole = 4
    inpainting_fill: Whole = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: Whole = 0
    inpainting_mask_invert: Whole = 0
    initial_noise_multiplier: float | None = None
    include_init_images: bool = False


class OneBody(BaseModel):
    """``POST /sdapi/v1/extra-single-image``."""

    model_config = ConfigDict(extra="ignore")

    image: str = ""
    resize_mode: Whole = 0
    upscaling_resize: float = 2.0
    upscaling_resize_w: Whole = 512
    upscaling_resize_h: Whole = 512
    upscaling_crop: bool = True
    upscaler_1: Name = "None"
    upscaler_2: Name = "None"
    extras_upscaler_2_visibility: float = 0.0
    gfpgan_visibility: float = 0.0
    codeformer_visibility: float = 0.0


@dataclass(slots=True)
class Wanted:
    """A body as the studio takes it.

    Attributes:
        fields: of a request; the model is a name as it was sent.
        notes: what of the body has no effect.
    """

    fields: dict[str, Any]
    notes: list[Message] = field(default_factory=list)


def read(model: type[BaseModel], body: Mapping[str, Any]) -> Any:
    """The body as ``model``; what is null is left at its default.

    Raises:
        BadRequest: names the first field that cannot be used.
    """
    return validate(model, {name: value for name, value in body.items() if value is not None})


def paint_fields(body: TextBody, model: str | None, home: Path) -> Wanted:
    """What a body asks for, but for its pictures.

    Args:
        model: what the program has chosen before, where the body names none.
        home: where samplers of one's own lie.

    Raises:
        BadRequest: a script is asked for that is not here.
        UnknownSampler: there is no such sampler.
    """
    if body.script_name:
        raise BadRequest(
            "There is no script called {name} here. Leave script_name out.",
            name=body.script_name,
        )
    wanted = Wanted({"prompt": body.prompt, "negative_prompt": body.negative_prompt})
    fields, samplers = wanted.fields, Samplers(home)
    fields |= {"batch_size": body.batch_size, "batch_count": body.n_iter}
    fields["seed"] = max(body.seed, RANDOM)
    fields |= {name: value for name, value in {"steps": body.steps, "eta": body.eta}.items()
               if value is not None}  # fmt: skip
    fields |= _how(samplers, body.sampler_name or body.sampler_index, body.scheduler, wanted)
    if body.cfg_scale is not None:
        fields["guidance"] = _guidance(body.cfg_scale, wanted)
    for side in ("width", "height"):
        if (pixels := getattr(body, side)) is not None:
            fields[side] = _snap(pixels)
    settings = body.override_settings
    if chosen := settings.get("sd_model_checkpoint") or model:
        fields["model"] = str(chosen)
    layers = body.clip_skip or settings.get("CLIP_stop_at_last_layers")
    if isinstance(layers := _round_number(layers), int):
        fields["clip_skip"] = min(max(1, layers), LAST_LAYERS)
    if body.subseed_strength > 0 or body.seed_resize_from_w > 0 < body.seed_resize_from_h:
        fields["variation"] = _variation(body)
    if body.enable_hr:
        fields["hires"] = _hires(body, samplers, wanted)
    elif body.hr_upscaler is not None and type(body) is TextBody:
        wanted.notes.append(Message("There is no hires pass: enable_hr is not set."))
    _style(body.styles, wanted)
    for name in ("restore_faces", "tiling"):
        if getattr(body, name):
            wanted.notes.append(Message("{field} has no effect here.", field=name))
    return wanted


def change_fields(body: ChangeBody, picture: str, mask: str | None) -> Wanted:
    """What a body asks for of the picture that is changed, as fields of ``FromPicture``.

    Args:
        picture, mask: their ids.

    Raises:
        BadRequest: a number means nothing.
    """
    fit = _look_up(_FITS, body.resize_mode, "resize_mode")
    wanted = Wanted({"picture": picture, "fit": fit})
    if body.resize_mode == _LATENT_RESIZE:
        wanted.notes.append(Message("The picture was stretched before it was encoded, not after."))
    strength = body.denoising_strength
    wanted.fields["strength"] = CHANGED if strength is None else strength
    if body.initial_noise_multiplier is not None:
        wanted.fields["noise_multiplier"] = body.initial_noise_multiplier
    if mask is not None:
        blur = max(body.mask_blur_x, body.mask_blur_y) if body.mask_blur is None else body.mask_blur
        wanted.fields |= {
            "mask": mask,
            "invert_mask": bool(body.inpainting_mask_invert),
            "mask_blur": blur,
            "masked_content": _look_up(_CONTENTS, body.inpainting_fill, "inpainting_fill"),
            "area": "masked" if body.inpaint_full_res else "whole",
            "padding": body.inpaint_full_res_padding,
        }
    return wanted


def same_upscaler(name: str, known: Iterable[str]) -> str:
    """The upscaler that a program calls ``name``.

    Raises:
        NotFound: there is none.
    """
    names = [*known]
    found = find_name(name, names)
    if found is None:
        raise NotFound(
            "There is no upscaler called {name}. There are {names}.",
            name=name,
            names=", ".join(names[:20]),
        )
    return found


def _how(
    samplers: Samplers, name: str | None, schedule: str | None, wanted: Wanted
) -> dict[str, str]:
    """Sampler and schedule by their names here."""
    sent = {}
    if name and name.casefold() not in _LEFT_TO_THE_MODEL:
        sent["Sampler"] = _ALIASES.get(name.casefold(), name)
    if schedule and schedule.casefold() not in _LEFT_TO_THE_MODEL:
        sent["Schedule type"] = schedule
    fields = {field: value for field, value in fields_of(sent).items()
              if field in ("sampler", "schedule")}  # fmt: skip
    if "Sampler" in sent:
        try:
            fields["sampler"] = samplers.get(fields.get("sampler", sent["Sampler"])).name
        except NotFound as error:
            raise UnknownSampler(error.message.template, **error.message.values) from None
    if "schedule" in fields:
        known = find_name(fields["schedule"], samplers.schedules)
        if known is None:
            wanted.notes.append(
                Message(
                    "There is no schedule called {name}: the model's own was taken.",
                    name=fields["schedule"],
                )
            )
            del fields["schedule"]
        else:
            fields["schedule"] = known
    return fields


def _guidance(scale: float, wanted: Wanted) -> float:
    if scale > MOST_GUIDANCE:
        wanted.notes.append(
            Message("{field} was lowered to {limit}.", field="cfg_scale", limit=MOST_GUIDANCE)
        )
    return min(scale, MOST_GUIDANCE)


def _snap(pixels: int) -> int:
    """A side as a multiple of eight, as A1111 makes it; what is out of bounds is refused later."""
    if LEAST_SIDE <= pixels <= LARGEST_SIDE:
        return pixels // SIZE_STEP * SIZE_STEP
    return pixels


def _variation(body: TextBody) -> dict[str, Any]:
    size = {"width": body.seed_resize_from_w, "height": body.seed_resize_from_h}
    return {
        "seed": max(body.subseed, RANDOM),
        "strength": body.subseed_strength,
        **{side: _snap(pixels) for side, pixels in size.items() if min(size.values()) > 0},
    }


def _hires(body: TextBody, samplers: Samplers, wanted: Wanted) -> dict[str, Any]:
    how = _how(samplers, _own(body.hr_sampler_name), _own(body.hr_scheduler), wanted)
    strength = body.denoising_strength
    fields = {
        "strength": HIRES_STRENGTH if strength is None else strength,
        "upscaler": body.hr_upscaler or next(iter(LATENT_MODES)),
        "steps": body.hr_second_pass_steps or None,
        "prompt": body.hr_prompt,
        "negative_prompt": body.hr_negative_prompt,
        "guidance": None if body.hr_cfg is None else _guidance(body.hr_cfg, wanted),
        "model": _own(body.hr_checkpoint_name),
        **how,
    }
    size = {"width": body.hr_resize_x, "height": body.hr_resize_y}
    if any(size.values()):
        fields |= {side: _snap(pixels) for side, pixels in size.items() if pixels}
    else:
        fields["scale"] = body.hr_scale
    return fields


def _own(name: str | None) -> str | None:
    """A name of the second pass; None where it is as in the first."""
    return None if name is None or name.casefold() in _AS_FIRST else name


def _style(names: list[str], wanted: Wanted) -> None:
    known = [name for name in names if name in styles()]
    if known:
        wanted.fields["style"] = known[0]
    if left := [name for name in names if name not in known[:1]]:
        wanted.notes.append(
            Message("These styles were left out: {names}.", names=", ".join(left)[:_LONG])
        )


def _look_up(names: Mapping[int, str], number: int, name: str) -> str:
    if number not in names:
        raise BadRequest(
            "{field} is {value}; it must be one of {known}.",
            field=name,
            value=number,
            known=", ".join(map(str, names)),
        )
    return names[number]
