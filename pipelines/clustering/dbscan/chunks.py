"""Long compiled passes in chunks of about equal time, with a look at the stop flag between them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from pipelines.core.errors import Stopped
from pipelines.core.events import Progress
from pipelines.core.messages import Message

CHUNK_SECONDS = 0.05  # between two looks at the stop flag

Notes = Callable[[Progress], None]


class Chunks:
    """Cuts passes into ranges that take about :data:`CHUNK_SECONDS` each.

    Args:
        names: what each pass does, for the progress told.
        stop: what ends the work when it is set.
        notes: told the progress, in steps of a pass over all passes.
    """

    def __init__(
        self, names: tuple[str, ...], stop: threading.Event | None, notes: Notes | None
    ) -> None:
        self.names = names
        self.stop = stop
        self.notes = notes

    def check(self) -> None:
        """Raises :class:`Stopped` when it is to end."""
        if self.stop is not None and self.stop.is_set():
            raise Stopped

    def chunks(
        self, steps: int, part: int, end: float = 1.0, begin: float = 0.0
    ) -> Iterator[tuple[int, int]]:
        """Ranges that cover all steps; their time sets how many steps the next one has.

        Args:
            part: which of the passes this is.
            end: how much of the pass is done after these steps.
            begin: how much of it was done before them.
        """
        size, first = 1, 0
        while first < steps:
            self.check()
            if self.notes:
                step = round((part + begin) * steps + (end - begin) * first)
                self.notes(Progress(step, len(self.names) * steps, note=Message(self.names[part])))
            last = min(steps, first + size)
            began = time.perf_counter()
            yield first, last
            seconds = time.perf_counter() - began
            size = max(1, min(8 * size, int(size * CHUNK_SECONDS / max(seconds, 1e-9))))
            first = last
