"""Paint a grid: every cell a picture of its own, then the sheet of them all."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

from pipelines.core.cache import ModelCache
from pipelines.core.errors import UserError
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.messages import Message
from pipelines.diffusion.control.paint import paint_either
from pipelines.diffusion.lora.applied_loras import LoraSession
from pipelines.diffusion.resolving import resolve, with_seed
from pipelines.diffusion.samplers import samplers_in
from pipelines.grids.cells import Cell, cannot_be_painted
from pipelines.grids.requests import CompareSamplersRequest, GridRequest
from pipelines.grids.sheet import Outcome, draw_sheet
from pipelines.grids.verdicts import judge

_USUAL_STEPS = 20


def run(
    request: GridRequest | CompareSamplersRequest, cache: ModelCache, stop: threading.Event
) -> Iterator[Progress | Picture | Result]:
    """Paint every cell, each a result of its own, then the sheet.

    A cell that cannot be painted is left out, and says why.

    Raises:
        Stopped: ``stop`` was set; noticed within one step.
        BadRequest: the axes cannot be read, or cells make no sense.
        UserError: no cell could be painted; why the first could not.
    """
    with LoraSession(cache) as loras:
        yield from _run(request, cache, stop, loras)


def _run(
    request: GridRequest | CompareSamplersRequest,
    cache: ModelCache,
    stop: threading.Event,
    loras: LoraSession,
) -> Iterator[Progress | Picture | Result]:
    grid = request.as_grid() if isinstance(request, CompareSamplersRequest) else request
    grid = with_seed(grid)  # one for all cells
    started = time.perf_counter()
    cells = grid.cells()
    lengths = yield from _lengths(cells, cache, stop)
    outcomes: dict[tuple[int, int, int], Outcome] = {}
    facts: dict[str, Any] = {"device": cache.device, "loras": []}
    notes: list[dict[str, Any]] = []
    failed: list[tuple[Cell, UserError]] = []
    done = 0
    for cell, length in zip(cells, lengths, strict=True):
        try:
            loras.expect(cell.request.model)
            for event in paint_either(cell.request, cache, stop, loras.apply):
                if isinstance(event, Picture):
                    right, asked = judge(event, cache)
                    outcomes[cell.place] = Outcome(
                        event.image, seconds=event.seconds, right=right, asked=asked
                    )
                    yield event
                elif isinstance(event, Result):
                    facts |= {name: event.data[name] for name in facts if name in event.data}
                    notes += event.data.get("notes", ())
                elif event.note is not None:
                    yield Progress(done, sum(lengths), note=event.note)
                else:  # second-order samplers take two evaluations a step
                    step = done + int(length * event.share)
                    yield Progress(step, sum(lengths), event.preview)
        except UserError as error:
            failed.append((cell, error))
            outcomes[cell.place] = Outcome(None, str(error))
        done += length
    if len(failed) == len(cells):
        raise failed[0][1]
    unique = {str(note): note for note in notes}
    unpainted = [
        Message("{cell} could not be painted: {reason}", cell=cell.name, reason=error.message)
        for cell, error in failed
    ]
    yield Result(
        {
            "seconds": round(time.perf_counter() - started, 3),
            "pictures": len(cells) - len(failed),
            **facts,
            "notes": [*unique.values(), *(note.to_json() for note in unpainted)],
            "cells": [_cell_json(cell, outcomes[cell.place]) for cell in cells],
        },
        draw_sheet(outcomes, cells),
    )


def _lengths(
    cells: list[Cell], cache: ModelCache, stop: threading.Event
) -> Generator[Progress, None, list[int]]:
    """How many steps each cell has; yields how loading the first model goes.

    Raises:
        BadRequest: cells of that model make no sense.
    """
    first = cells[0].request.model
    usual, lengths, reasons = _USUAL_STEPS, [], {}
    try:
        yield from cache.warm(first, stop)
        with cache.lease(first) as model:
            entry, samplers = model.entry, samplers_in(model.home)
    except UserError:  # its cells will say why
        return [cell.request.steps or usual for cell in cells]
    usual = entry.defaults.steps
    for cell in cells:
        if cell.request.model == first:
            try:
                lengths.append(resolve(cell.request, entry, samplers).steps)
                continue
            except UserError as error:
                reasons[cell.name] = error.message
        lengths.append(cell.request.steps or usual)
    if reasons:
        raise cannot_be_painted(reasons)
    return lengths


def _cell_json(cell: Cell, outcome: Outcome) -> dict[str, Any]:
    facts: dict[str, Any] = {"place": list(cell.place), "values": list(cell.values)}
    if outcome.image is None:
        return {**facts, "error": outcome.reason}
    facts["seconds"] = round(outcome.seconds, 3)
    if outcome.asked:
        facts |= {"right": outcome.right, "asked": outcome.asked}
    return facts
