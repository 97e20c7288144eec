"""The same change of several pictures, one after another: each as it would be alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from pipelines.core.cache import ModelCache
from pipelines.core.errors import UserError
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.messages import Message
from pipelines.core.pictures.inputs import open_input
from pipelines.diffusion import text_to_image
from pipelines.diffusion.from_picture.sizes import change_of
from pipelines.diffusion.lora.applied_loras import LoraSession
from pipelines.diffusion.lora.apply import apply_loras
from pipelines.diffusion.requests import ChangePicturesRequest
from pipelines.diffusion.resolving import with_seed

Paint = Callable[..., Iterator[Progress | Picture | Result]]
"""``paint(request, cache, stop, apply)``, as :func:`text_to_image.run`."""


def run(
    request: ChangePicturesRequest,
    cache: ModelCache,
    stop: threading.Event,
    paint: Paint = text_to_image.run,
) -> Iterator[Progress | Picture | Result]:
    """Change every picture of a request in the same way, with the same seed.

    A picture that cannot be changed is left out, and says why.

    Args:
        paint: the engine for one.

    Raises:
        Stopped: ``stop`` was set; noticed within one step.
        UserError: no picture could be changed; why the first could not.
    """
    if not request.pictures:
        alone = request.alone(request.from_picture.picture)
        yield from paint(alone, cache, stop, apply_loras)
        return
    with LoraSession(cache) as loras:
        yield from _run(with_seed(request), cache, stop, loras, paint)  # one seed for all


def _run(
    request: ChangePicturesRequest,
    cache: ModelCache,
    stop: threading.Event,
    loras: LoraSession,
    paint: Paint,
) -> Iterator[Progress | Picture | Result]:
    started = time.perf_counter()
    yield from cache.warm(request.model, stop)
    with cache.lease(request.model) as model:
        entry, home = model.entry, model.home
    ids = request.all_pictures()
    each = request.batch_count * request.batch_size
    length = (request.steps or entry.defaults.steps) * request.batch_count
    facts: dict[str, Any] = {"device": cache.device, "loras": []}
    notes: list[dict[str, Any]] = []
    outcomes: list[dict[str, Any]] = []
    failed: list[UserError] = []
    for number, id in enumerate(ids, start=1):
        part, done = (number, len(ids)), (number - 1) * length
        step = done
        yield Progress(done, len(ids) * length, part=part)
        outcome: dict[str, Any] = {"picture": id, "pictures": 0}
        try:
            own = change_of(request, id, lambda id: open_input(home, id).size, entry)
            for event in paint(own, cache, stop, loras.apply):
                if isinstance(event, Picture):
                    # Run again after a crash, the others keep their places if one is left out now.
                    place = (number - 1) * each + outcome["pictures"]
                    outcome["pictures"] += 1
                    yield replace(event, place=place)
                elif isinstance(event, Result):
                    facts |= {name: event.data[name] for name in facts if name in event.data}
                    notes += event.data.get("notes", ())
                else:  # second-order samplers take two evaluations a step
                    share = event.share if event.note is None else 0
                    step = max(step, done + int(length * share))  # a note comes in between
                    yield replace(event, step=step, total=len(ids) * length, part=part, work=None)
        except UserError as error:
            failed.append(error)
            outcome["error"] = str(error)
            said = Message(
                "Picture {number} could not be changed: {reason}",
                number=number,
                reason=error.message,
            )
            notes.append(said.to_json())
        outcomes.append(outcome)
    if len(failed) == len(ids):
        raise failed[0]
    unique = {str(note): note for note in notes}
    yield Result(
        {
            "seconds": round(time.perf_counter() - started, 3),
            "pictures": sum(outcome["pictures"] for outcome in outcomes),
            **facts,
            "notes": [*unique.values()],
            "changed": outcomes,
        }
    )
