"""Compare samplers: one prompt and seed by several samplers at several step counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from pipelines.core.cache import ModelCache
from pipelines.core.errors import BadRequest, UserError
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.pictures.grid import labelled_grid
from pipelines.diffusion.lora.apply import applied
from pipelines.diffusion.lora.tags import uses_of
from pipelines.diffusion.requests import CompareSamplersRequest, TextToImageRequest
from pipelines.diffusion.resolving import resolve
from pipelines.diffusion.samplers import Samplers, samplers_in
from pipelines.diffusion.text_to_image import notes_on, paint
from pipelines.models.catalog import ModelEntry


def run(
    request: CompareSamplersRequest, cache: ModelCache, stop: threading.Event
) -> Iterator[Progress | Picture | Result]:
    """Paint every cell, each a result of its own, then the sheet of them all.

    Raises:
        Stopped: ``stop`` was set; noticed within one step.
        BadRequest: some combinations make no sense; all of them are named before any is painted.
    """
    yield from cache.warm(request.base.model, stop)
    with cache.lease(request.base.model) as model:
        started = time.perf_counter()
        cells = plan(request, model.entry, samplers_in(model.home))
        total = sum(settings.steps for row in cells for settings in row)
        done = 0
        pictures: list[list[Picture]] = []
        with applied(model, uses_of(cells[0][0]), model.home) as loras:
            for row in cells:
                pictures.append([])
                for settings in row:
                    for event in paint(model, settings, stop, facts=loras.facts):
                        if isinstance(event, Picture):
                            pictures[-1].append(event)
                            yield event
                        else:  # second-order samplers take two evaluations a step
                            steps = settings.steps * event.step // event.total
                            yield Progress(done + steps, total, event.preview)
                    done += settings.steps
        notes = [note for row in cells for note in notes_on(model, request.base, row[0])]
        yield Result(
            {
                "seconds": round(time.perf_counter() - started, 3),
                "pictures": len(cells) * len(cells[0]),
                "device": model.device,
                "loras": loras.to_json(),
                "notes": [note.to_json() for note in dict.fromkeys(notes + loras.notes)],
                "cells": [
                    {
                        "sampler": cell.request.sampler,
                        "schedule": cell.request.schedule,
                        "steps": cell.request.steps,
                        "seconds": round(cell.seconds, 3),
                    }
                    for row in pictures
                    for cell in row
                ],
            },
            labelled_grid(
                rows=[f"{row[0].sampler} {row[0].schedule}" for row in cells],
                columns=[f"{settings.steps} steps" for settings in cells[0]],
                cells=[[cell.image for cell in row] for row in pictures],
                captions=[[f"{cell.seconds:.2f} s" for cell in row] for row in pictures],
            ),
        )


def plan(
    request: CompareSamplersRequest, entry: ModelEntry, samplers: Samplers
) -> list[list[TextToImageRequest]]:
    """The resolved request of each cell: a row for each sampler, a column for each step count.

    Raises:
        BadRequest: names every combination that cannot be painted, and why.
    """
    base = resolve(
        request.base.model_copy(update={"sampler": None, "schedule": None}), entry, samplers
    )
    rows: list[list[TextToImageRequest]] = []
    reasons: list[str] = []
    for sampler in dict.fromkeys(request.samplers):
        rows.append([])
        for steps in dict.fromkeys(request.steps):
            cell = base.model_copy(
                update={
                    "sampler": sampler,
                    "schedule": request.base.schedule,
                    "eta": request.base.eta,
                    "steps": steps,
                    "batch_count": 1,
                    "batch_size": 1,
                }
            )
            try:
                rows[-1].append(resolve(cell, entry, samplers))
            except UserError as error:
                reasons.append(str(error))
    if reasons:
        raise BadRequest(
            "These samplers cannot be compared: {reasons}",
            reasons=" ".join(dict.fromkeys(reasons)),
        )
    return rows
