"""Small engines that really draw: what the jobs' tests run instead of a model."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator

from PIL import Image
from pydantic import BaseModel

from pipelines.core.errors import Stopped, UserError
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.messages import Message


class DrawRequest(BaseModel):
    """Draws ``pictures`` squares of one colour, ``steps`` steps each."""

    prompt: str = "a square"
    pictures: int = 1
    steps: int = 2
    seconds: float = 0.0  # a step
    colour: tuple[int, int, int] = (200, 30, 30)
    sheet: bool = False
    failure: str = ""  # "user", "bug" or "disk"
    note: str = "Drawing"


class Draw:
    """Counts its runs; ``hold`` keeps it before its first step until it is set."""

    request_class = DrawRequest

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.owners: list[str] = []
        self.hold = threading.Event()
        self.hold.set()
        self.painting = threading.Event()
        self.stopped_after = 0

    def run(
        self, request: DrawRequest, cache, stop, owner=""
    ) -> Iterator[Progress | Picture | Result]:
        self.runs.append(request.prompt)
        self.owners.append(owner)
        self.painting.set()
        while not self.hold.wait(0.01):
            if stop.is_set():
                raise Stopped
        if request.failure == "user":
            raise UserError("The brush has {hairs} hairs; it needs at least {least}.",
                            hairs=1, least=3)  # fmt: skip
        if request.failure == "bug":
            raise ZeroDivisionError("the canvas has no width")
        if request.failure == "disk":
            raise OSError(errno.ENOSPC, "No space left on device")
        total = request.pictures * request.steps
        for index in range(request.pictures):
            image = Image.new("RGB", (40, 30), request.colour)
            for step in range(request.steps):
                if stop.is_set():
                    self.stopped_after = index * request.steps + step
                    raise Stopped
                time.sleep(request.seconds)
                note = Message(request.note) if request.note else None
                done = index * request.steps + step + 1
                yield Progress(done, total, image, note, words=Message("Stroke {n}", n=done))
            yield Picture(image, request.model_copy(update={"pictures": 1}), 0.1, {"Brush": "soft"})
        yield Result({"pictures": request.pictures}, image if request.sheet else None)
