"""Repaints the parts of a finished picture one after another, each at the model's own size."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Generator
from typing import Any

from PIL import Image, ImageDraw

from pipelines.core.devices import empty_cache, is_out_of_memory
from pipelines.core.errors import Stopped, UserError
from pipelines.core.events import Progress
from pipelines.core.messages import Message
from pipelines.core.pictures.inputs import input_path, keep_input
from pipelines.diffusion.details.finding import Part, find_parts
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.diffusion.loading import DiffusionModel
from pipelines.diffusion.requests import MAX_SEED, TextToImageRequest

_log = logging.getLogger(__name__)
# Parts are painted once, by the words alone.
_LEFT_OUT = ("detail_fix", "hires", "variation")

Backend = Callable[..., Generator[tuple[int, int, Any], None, list[Image.Image]]]


def fix_details(
    model: DiffusionModel,
    request: TextToImageRequest,
    image: Image.Image,
    backend: Backend,
    stop: threading.Event,
) -> Generator[Progress, None, tuple[Image.Image, dict[str, str]]]:
    """The picture with its parts repainted, and what is said of them in its file.

    A part that cannot be painted stays as it was.

    Args:
        request: the resolved request of this picture alone, with ``detail_fix``.
        image: RGB.
        backend: paints one batch.

    Raises:
        Stopped: ``stop`` was set; noticed within one step.
    """
    parts = find_parts(image, request.detail_fix)
    boxes, failed = [], 0
    for number, part in enumerate(parts):
        note = Message(
            "Repainting part {number} of {count}: {what}",
            number=number + 1,
            count=len(parts),
            what=part.what,
        )
        yield Progress(number, len(parts), note=note)
        try:
            image = yield from _repaint(model, request, image, part, number, backend, stop)
        except (UserError, RuntimeError, MemoryError) as error:
            if not isinstance(error, UserError):
                if not is_out_of_memory(error):
                    raise
                empty_cache(model.device)
            _log.warning("a part was left as it was: %s", error)
            failed += 1
        else:
            boxes.append("{} {} {} {}".format(*part.box))
    facts = {"ADetailer parts": f"{len(boxes)} of {len(parts)}"}
    if boxes:
        facts["ADetailer boxes"] = ", ".join(boxes)
    if failed:
        facts["ADetailer parts that failed"] = str(failed)
    return image, facts


def _repaint(
    model: DiffusionModel,
    request: TextToImageRequest,
    image: Image.Image,
    part: Part,
    number: int,
    backend: Backend,
    stop: threading.Event,
) -> Generator[Progress, None, Image.Image]:
    """The picture with one part repainted."""
    asked, home = request.detail_fix, model.home
    mask = Image.new("RGB", image.size)
    left, top, right, bottom = part.box
    ImageDraw.Draw(mask).rectangle((left, top, right - 1, bottom - 1), fill="white")
    # For the time of one part they lie among the brought-in pictures, as nobody else's.
    owner = f"details {secrets.token_hex(8)}"
    kept = [keep_input(home, owner, each) for each in (image, mask)]
    side = model.entry.native_size
    changes = {
        "prompt": asked.prompt_of(request.prompt, part.what, number),
        "negative_prompt": asked.negative_prompt_of(request.negative_prompt, part.what, number),
        "width": side,
        "height": side,
        "seed": (request.seed + number) % (MAX_SEED + 1),
        "from_picture": FromPicture(
            picture=kept[0],
            mask=kept[1],
            strength=asked.strength,
            mask_blur=asked.mask_blur,
            padding=asked.padding,
            area="masked",
            edit=model.entry.edits_only,
        ),
    }
    fields = type(request).model_fields
    changes |= {name: None for name in _LEFT_OUT if name in fields}
    settings = request.model_copy(update=changes)
    batch = backend(model, settings, [settings.seed])
    try:
        while True:
            if stop.is_set():
                raise Stopped
            step, total, preview = next(batch)
            shown = preview if isinstance(preview, Image.Image) else None
            yield Progress(step, total, shown)
    except StopIteration as end:
        return end.value[0]
    finally:
        batch.close()
        for id in kept:
            input_path(home, id).unlink(missing_ok=True)
