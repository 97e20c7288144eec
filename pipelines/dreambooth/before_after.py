"""Before and after: the same prompts and seeds without and with what was learnt, on one sheet."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from pipelines.core.cache import ModelCache
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.messages import Message
from pipelines.core.pictures.contact_sheet import labelled_grid
from pipelines.diffusion.loading import DiffusionModel
from pipelines.diffusion.lora.apply import apply_loras
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.diffusion.lora.tags import tags_of
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.resolving import resolve, with_seed
from pipelines.diffusion.samplers import samplers_in
from pipelines.diffusion.text_to_image import backend_of, paint, with_upscaler
from pipelines.dreambooth.requests import BeforeAfterRequest
from pipelines.models.catalog import Catalog


def run(
    request: BeforeAfterRequest, cache: ModelCache, stop: threading.Event
) -> Iterator[Progress | Picture | Result]:
    """Paint every cell, column by column, each a picture of its own, then the sheet of them all.

    Raises:
        Stopped: ``stop`` was set; noticed within one step.
        BadRequest: the LoRA does not fit the model.
    """
    started = time.perf_counter()
    rows = with_seed(request).rows()  # one for all, or nothing could be compared
    catalog = Catalog(cache.home, own=LoraLibrary(cache.home))
    columns, titles = list(zip(*rows, strict=True)), _titles(request, catalog)
    painted: list[list[Picture]] = []
    notes: list[Message] = []
    for column in columns:
        pictures = []
        for event in _column(list(column), cache, stop, notes):
            if isinstance(event, Picture):
                pictures.append(event)
                yield event
            elif event.note is not None:
                yield event
            else:
                done = len(painted) * len(rows) + len(pictures) + event.step / event.total
                yield Progress(round(100 * done), 100 * len(columns) * len(rows), event.preview)
        painted.append(pictures)
    by_row = list(zip(*painted, strict=True))
    yield Result(
        {
            "seconds": round(time.perf_counter() - started, 3),
            "pictures": len(rows) * len(columns),
            "weights": list(request.weights) if request.lora else [0, 1],
            "notes": [note.to_json() for note in notes + _list_left_out(request)],
        },
        labelled_grid(
            rows=list(request.prompts),
            columns=titles,
            cells=[[picture.image for picture in row] for row in by_row],
            captions=[[f"#{picture.request.seed}" for picture in row] for row in by_row],
        ),
    )


def _column(
    cells: list[TextToImageRequest], cache: ModelCache, stop: threading.Event, notes: list[Message]
) -> Iterator[Progress | Picture]:
    """The pictures of one weight: what was learnt is applied once for all prompts.

    ``notes`` has what there is to say of it afterwards; at every weight that is the same.
    """
    yield from cache.warm(cells[0].model, stop)
    with contextlib.ExitStack() as leases:
        model: DiffusionModel = leases.enter_context(cache.lease(cells[0].model))
        backend = yield from with_upscaler(backend_of(model), cells[0], leases, cache, stop)
        loras = leases.enter_context(apply_loras(model, cells[0].loras, model.home))
        samplers = samplers_in(model.home)
        notes[:] = loras.notes or notes
        for cell in cells:
            settings = resolve(cell, model.entry, samplers)
            yield from paint(model, settings, stop, backend, loras.facts)


def _list_left_out(request: BeforeAfterRequest) -> list[Message]:
    """What of the prompts has no effect here."""
    tags = tags_of(request.prompts)
    shown = ", ".join(tags)[:200]
    template = "{tags} was left out: before and after differ by what was learnt alone."
    return [Message(template, tags=shown)] if tags else []


def _titles(request: BeforeAfterRequest, catalog: Catalog) -> list[str]:
    """Weights, or the names of both models: words would be of one language."""
    if request.model is not None:
        return [catalog.get(name).title for name in (request.base.model, request.model)]
    return [f"{weight:g}" for weight in request.weights]
