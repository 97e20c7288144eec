"""An engine for chat that says what it is told to, as slowly as it is told to."""

from __future__ import annotations

import threading
import time

from pipelines.chat.events import Reading, Words
from pipelines.core.errors import Stopped, UserError
from pipelines.core.events import Progress, Result
from pipelines.core.messages import Message


class Parrot:
    """Says ``words``, a token each. ``allow(n)`` lets it say so many more once it is ``held``."""

    def __init__(self, words=("a ", "b ", "c"), *, held=False, seconds=0.0, failure="") -> None:
        self.words, self.held, self.seconds, self.failure = words, held, seconds, failure
        self.allowed = threading.Semaphore(0)
        self.requests, self.made, self.ended = [], 0, 0
        self.together, self.most_together = 0, 0
        self._lock = threading.Lock()

    def allow(self, count: int) -> None:
        self.allowed.release(count)

    def run(self, request, cache, stop):
        with self._lock:
            self.requests.append(request)
            self.together += 1
            self.most_together = max(self.most_together, self.together)
        try:
            yield from self._run(stop)
        finally:
            with self._lock:
                self.together -= 1
                self.ended += 1

    def _run(self, stop):
        yield Progress(1, 2, note=Message("Loading {model}", model="parrot"))
        if self.failure == "load":
            raise UserError("The file {file} of {model} is not there.", file="x", model="parrot")
        yield Reading(0, 7)
        yield Reading(7, 7)
        if self.failure == "bug":
            raise ZeroDivisionError("no feathers")
        for word in self.words:
            self._wait(stop)
            with self._lock:
                self.made += 1
            yield Words(word, 1)
        if self.failure == "no result":
            return
        facts = {"finish_reason": "length", "completion_tokens": len(self.words), "seconds": 1.0,
                 "dropped": 0}  # fmt: skip
        yield Result(facts)

    def _wait(self, stop) -> None:
        if stop.is_set():
            raise Stopped
        time.sleep(self.seconds)
        while self.held and not self.allowed.acquire(timeout=0.01):
            if stop.is_set():
                raise Stopped
