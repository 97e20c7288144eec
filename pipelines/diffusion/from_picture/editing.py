"""Which models take a picture in which way, so that a request can be refused before it is queued.

A model can begin from a picture, or be shown it together with an instruction. No torch here.
"""

from __future__ import annotations

from pipelines.core.errors import BadRequest
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.models.catalog import ModelEntry


def resolve_picture(asked: FromPicture | None, entry: ModelEntry) -> FromPicture | None:
    """The request's picture with what was left open; what has no effect is at its default.

    Raises:
        BadRequest: the model does not take a picture in this way, or not so many.
    """
    if asked is None:
        if entry.edits_only:
            raise BadRequest(
                "{model} changes pictures and paints none from words alone. Bring in a picture, "
                "or choose another model.",
                model=entry.title,
            )
        return None
    edit = entry.edits_only if asked.edit is None else asked.edit
    if edit and not entry.edits:
        raise BadRequest(
            "{model} takes no instructions to edit a picture. Choose FLUX.2 or Qwen-Image-Edit, "
            "or begin from the picture instead.",
            model=entry.title,
        )
    if not edit and entry.edits_only:
        raise BadRequest(
            "{model} only takes instructions to edit a picture; it cannot begin from one.",
            model=entry.title,
        )
    count = 1 + len(asked.references)
    if not edit and asked.references:
        raise BadRequest(
            "Further pictures are only shown to models that edit by words: send {count} picture "
            "less, or edit by words.",
            count=count - 1,
        )
    if edit and count > entry.references:
        raise BadRequest(
            "{model} takes at most {limit} pictures, not {count}. Leave some out.",
            model=entry.title,
            limit=entry.references,
            count=count,
        )
    if edit and asked.outpaint is not None:
        raise BadRequest(
            "A picture that is edited by words keeps its sides. Leave Outpaint out, or begin from "
            "the picture, with a model that does."
        )
    changes: dict[str, object] = {"edit": edit}
    if not entry.inpaints:
        changes["mask_weight"] = 1.0
    if edit:
        changes |= {"strength": 1.0, "all_steps": None, "noise_multiplier": 1.0, "extra_noise": 0.0}
        changes["gradual"] = FromPicture.model_fields["gradual"].default
        if asked.masked_content in ("noise", "nothing"):
            changes["masked_content"] = "original"  # it is shown no latents
    return asked.model_copy(update=changes)
