"""What an engine yields: progress while it works, pictures as they come, one result at the end.

Engines are generators ``run(request, cache, stop) -> Iterator[Progress | Picture | Result]``.
Whoever iterates decides what to do with the events; an engine never calls back. ``stop`` is a
``threading.Event``: an engine reads it at every step and raises
:class:`pipelines.core.errors.Stopped`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.core.messages import Message

if TYPE_CHECKING:
    from PIL import Image
    from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Progress:
    """Work done so far.

    Attributes:
        step: units done, 0 … ``total``.
        total: units in all; 0 when not known.
        preview: a small picture of the state of things, or None.
        note: what is being done when it is not the main work (loading, downloading), or None.
        part: of work in several equal parts, which one this is, from 1 on, and of how many.
        words: what is said of the step, where people are told another count than that of the units.
        work: done so far and in all, in any measure, where some units take longer than others.
    """

    step: int
    total: int
    preview: Image.Image | None = None
    note: Message | None = None
    part: tuple[int, int] | None = None
    words: Message | None = None
    work: tuple[float, float] | None = None

    @property
    def share(self) -> float:
        """The share of the work that is done, 0 … 1."""
        done, whole = self.work or (self.step, self.total)
        return done / whole if whole else 0.0


@dataclass(frozen=True, slots=True)
class Picture:
    """One finished picture of a batch, yielded as soon as it exists.

    Attributes:
        image: RGB.
        request: the request that makes exactly this picture alone (seed resolved, batch of one).
        seconds: time spent on it; a batch's time is shared evenly.
        parameters: further facts for the metadata, e.g. ``{"Model hash": "…"}``.
        place: in its job, from 0 on, where some before it may be left out; None: after the last.
    """

    image: Image.Image
    request: BaseModel
    seconds: float
    parameters: dict[str, Any] = field(default_factory=dict)
    place: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The last event of a run that was not stopped.

    Attributes:
        data: JSON-serialisable facts about the run as a whole (seconds, device, counts …).
        image: a picture of the run as a whole that is not one of its pictures (a grid), or None.
    """

    data: dict[str, Any] = field(default_factory=dict)
    image: Image.Image | None = None
