"""Repaints the parts of a finished picture one after another, each at the model's own size."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageDraw

from pipelines.core.devices import empty_cache, is_out_of_memory
from pipelines.core.errors import Stopped, UserError
from pipelines.core.events import Progress
from pipelines.core.messages import Message
from pipelines.core.pictures.inputs import input_path, keep_input
from pipelines.diffusion.details.finding import Part, find_parts
from pipelines.diffusion.from_picture.outpainting import resize_to
from pipelines.diffusion.from_picture.repainting import open_repainting
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.diffusion.latents.stopping import watch_stop
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

    A part that cannot be painted stays as it was, and so does what the request's own mask leaves.

    Args:
        request: the resolved request of this picture alone, with ``detail_fix``.
        image: RGB.
        backend: paints one batch.

    Raises:
        Stopped: ``stop`` was set; noticed within one step.
    """
    allowed = _open_own_mask(request, image.size, model.home)
    parts = find_parts(image, request.detail_fix, allowed)
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
            repainting = _repaint(model, request, image, part, number, backend, stop, allowed)
            painted = yield from _count_on(repainting, number, len(parts), part.what)
        except (UserError, RuntimeError, MemoryError) as error:
            if not isinstance(error, UserError):
                if not is_out_of_memory(error):
                    raise
                empty_cache(model.device)
            _log.warning("a part was left as it was: %s", error)
            failed += 1
        else:
            # As the mask's edge is soft, both go into one another; where it is 0 nothing changes.
            image = painted if allowed is None else Image.composite(painted, image, allowed)
            boxes.append("{} {} {} {}".format(*part.box))
    facts = {"ADetailer parts": f"{len(boxes)} of {len(parts)}"}
    if boxes:
        facts["ADetailer boxes"] = ", ".join(boxes)
    if failed:
        facts["ADetailer parts that failed"] = str(failed)
    return image, facts


def count_as_second_half(
    fixing: Generator[Progress, None, Any], steps: int, batch: tuple[int, int], own: tuple[int, int]
) -> Generator[Progress, None, Any]:
    """Counts on from the first half of a batch, in which its pictures were painted.

    Args:
        fixing: :func:`fix_details` of one picture.
        steps: of that first half.
        batch: how many batches came before, and how many there are.
        own: likewise of the batch's pictures.
    """
    try:
        while True:
            event = next(fixing)
            share = (own[0] + event.step / max(event.total, 1)) / own[1]
            at = steps * (2 * batch[0] + 1 + share)
            yield replace(event, step=int(at), total=2 * steps * batch[1])
    except StopIteration as end:
        return end.value
    finally:
        fixing.close()


def _count_on(
    steps: Generator[Progress, None, Image.Image], number: int, count: int, what: str
) -> Generator[Progress, None, Image.Image]:
    """The steps of one part counted on from those of the ``number`` before, of ``count``."""
    try:
        while True:
            event = next(steps)
            step, total = event.step, event.total
            words = Message(
                "Part {number} of {count}, {what}: step {step} of {total}",
                number=number + 1,
                count=count,
                what=what,
                step=step,
                total=total,
            )
            yield replace(event, step=number * total + step, total=count * total, words=words)
    except StopIteration as end:
        return end.value
    finally:
        steps.close()


def _open_own_mask(
    request: TextToImageRequest, size: tuple[int, int], home: Path
) -> Image.Image | None:
    """The request's own mask over a picture of ``size``: L, 0 where it stays; None: all may change.

    Of a picture that a second pass has made larger it is enlarged as well.
    """
    asked = request.from_picture
    if asked is None:
        return None
    settings = resize_to(request, home)
    mask = open_repainting(asked, (settings.width, settings.height), home).mask
    if mask is None:
        return None
    allowed = Image.fromarray(mask)
    return allowed if allowed.size == size else allowed.resize(size, Image.Resampling.NEAREST)


def _repaint(
    model: DiffusionModel,
    request: TextToImageRequest,
    image: Image.Image,
    part: Part,
    number: int,
    backend: Backend,
    stop: threading.Event,
    allowed: Image.Image | None,
) -> Generator[Progress, None, Image.Image]:
    """The picture with one part repainted, where ``allowed`` is not 0."""
    asked, home = request.detail_fix, model.home
    mask = Image.new("L", image.size)
    left, top, right, bottom = part.box
    ImageDraw.Draw(mask).rectangle((left, top, right - 1, bottom - 1), fill="white")
    if allowed is not None:
        mask = ImageChops.darker(mask, allowed.point(lambda value: 255 if value else 0))
    mask = mask.convert("RGB")
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
            with watch_stop(stop):
                step, total, preview = next(batch)
            shown = preview if isinstance(preview, Image.Image) else None
            yield Progress(step, total, shown)
    except StopIteration as end:
        return end.value[0]
    finally:
        batch.close()
        for id in kept:
            input_path(home, id).unlink(missing_ok=True)
