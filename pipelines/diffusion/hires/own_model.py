"""A second pass by another model than the first one's: how both count, and what files say of it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from pipelines.core.events import Picture, Progress
from pipelines.core.messages import Message
from pipelines.diffusion.loading import DiffusionModel
from pipelines.models.catalog import OWN

_UNITS = 1000  # of progress, for both passes


def count_pass(
    painting: Generator[Progress | Picture, None, Any], number: int, shares: tuple[float, float]
) -> Generator[Progress | Picture, None, Any]:
    """One of two passes, whose progress is counted as a part of both.

    Args:
        number: 0 or 1.
        shares: how long each of them takes, in any measure.
    """
    before, whole = sum(shares[:number]), sum(shares)
    try:
        while True:
            event = next(painting)
            if isinstance(event, Progress):
                done = before + shares[number] * event.step / max(event.total, 1)
                words = event.words or Message(
                    "Step {step} of {total}", step=event.step, total=event.total
                )
                event = replace(
                    event, step=int(_UNITS * done / whole), total=_UNITS, words=words, work=None
                )
            yield event
    except StopIteration as end:
        return end.value
    finally:
        painting.close()


def of_both_passes(first: Picture, second: Picture, model: DiffusionModel) -> Picture:
    """The finished picture with the time of both passes and what there is to say of both.

    Args:
        first: what the first pass has made of it, by the request's own model.
        model: the second pass's.
    """
    entry = model.entry
    name = entry.title if entry.name.startswith(OWN) else entry.name
    checkpoint = name if model.hash is None else f"{name} [{model.hash}]"
    facts = {**second.parameters, **first.parameters, "Hires checkpoint": checkpoint}
    return replace(second, seconds=first.seconds + second.seconds, parameters=facts)
