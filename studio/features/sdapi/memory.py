"""What is remembered of each program: the model that it has chosen, and the jobs it waits for.

A1111 has one model and one job for everybody. Here a program that switches the model, asks how far
its job is or interrupts it does so for itself alone: for those that come with the same key, or for
its owner where it came with a name and a password.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

MOST_PROGRAMS = 10_000


@dataclass(slots=True)
class Program:
    """A program, or several that come with the same key.

    Attributes:
        model: the name of the one that paints where a body names none.
        layers: the option ``CLIP_stop_at_last_layers``.
        jobs: ids of those that it waits for, oldest first.
    """

    model: str | None = None
    layers: int | None = None
    jobs: list[str] = field(default_factory=list)

    @contextmanager
    def note_wait(self, job_id: str) -> Iterator[None]:
        """While it waits for a job."""
        self.jobs.append(job_id)
        try:
            yield
        finally:
            self.jobs.remove(job_id)


class Memory:
    """Kept until the studio stops, of the programs that have asked last.

    Args:
        studio: whose programs.
    """

    def __init__(self, studio: Any) -> None:
        self._lock = threading.Lock()
        self._programs: OrderedDict[str, Program] = OrderedDict()

    def of(self, name: str) -> Program:
        """The program of this name: the id of its key, or else of its owner."""
        with self._lock:
            program = self._programs.setdefault(name, Program())
            self._programs.move_to_end(name)
            if len(self._programs) > MOST_PROGRAMS:
                first = next(iter(self._programs))
                if not self._programs[first].jobs:
                    del self._programs[first]
            return program
