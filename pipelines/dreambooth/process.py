"""The training engine: starts the trainer in its own process and follows what it reports.

A crash or too little memory over there leaves the studio standing, and the trainer outlives a
studio that is stopped hard: the next one finds it at work and follows it again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from pipelines.core import child_process, errors
from pipelines.core.cache import ModelCache
from pipelines.core.devices import free_memory
from pipelines.core.errors import Stopped, Unavailable, UserError
from pipelines.core.events import Progress, Result
from pipelines.core.files import is_full
from pipelines.core.limits import available_cores
from pipelines.core.messages import Message
from pipelines.core.sizes import format_bytes
from pipelines.diffusion.lora.entries import MODEL, WEIGHTS
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.diffusion.lora.record import LoraRecord
from pipelines.dreambooth.data.subjects import Subject
from pipelines.dreambooth.folder import TrainingFolder
from pipelines.dreambooth.preflight import Preflight, check_room, preflight, remember_speed
from pipelines.dreambooth.requests import TrainingRequest
from pipelines.models.catalog import OWN, Catalog

_ENDING_SECONDS = 10.0  # until a trainer that has let go of its folder has given its memory back

Launch = Callable[[TrainingFolder, TrainingRequest, str, bool], subprocess.Popen]
"""``launch(folder, request, device, offline)`` starts a trainer."""


def run(
    request: TrainingRequest,
    cache: ModelCache,
    stop: threading.Event,
    launch: Launch | None = None,
) -> Iterator[Progress | Result]:
    """Train, or go on from the last checkpoint, and put the result in the owner's library.

    ``Result.data`` has ``lora`` (the id in the library), ``name``, ``training``, ``steps`` and
    ``seconds``.

    Args:
        launch: starts the trainer; None: :func:`launch_trainer`.

    Raises:
        Stopped: ``stop`` was set. What was learnt until then is in the library.
        Unavailable: the disk is full.
        UserError: it cannot work, or the trainer failed; the sentence says why.
    """
    home = cache.home
    started = time.monotonic()
    folder = TrainingFolder(home, request.training)
    if (kept := _find_finished(folder, request)) is not None:
        folder.begin(request)
        yield _result(folder, kept, folder.steps_in_library, started)
        return
    subject = Subject.open(home, request.subject)
    entry = Catalog(home, own=LoraLibrary(home)).get(request.model)
    expected = preflight(request, entry, subject, home, cache.device, available_cores())
    follower, process = _Follower(folder, request), None
    found = folder.is_running
    if found:
        # An earlier studio has left it at work, and asked it to stop if it had the time to. That is
        # taken back; where it was seen already, the trainer is started again below.
        folder.go_on()
        yield from follower.follow(None, stop)
    if not found or follower.cut_short(stop):
        _make_room(cache, expected, _ENDING_SECONDS if found else 0.0)
        folder.begin(request)
        folder.go_on()
        folder.forget_result()
        folder.forget_errors()
        follower = _Follower(folder, request)
        process = (launch or launch_trainer)(folder, request, cache.device, cache.offline)
        try:
            yield from follower.follow(process, stop)
        finally:
            process.poll()
    if follower.error is not None:
        raise follower.error
    about = folder.about_result
    if about is None:
        # Stopped before the first step: there is nothing to keep.
        if stop.is_set() and follower.last_step < request.steps:
            raise Stopped
        raise child_process.silent_end(folder, process, follower.last_step)
    kept = put_in_library(folder, request)
    if about["steps"] < request.steps:
        raise Stopped
    if follower.seconds_a_step:
        resolution = request.resolution or entry.native_size
        with contextlib.suppress(OSError):
            remember_speed(request, resolution, home, cache.device, follower.seconds_a_step)
    yield _result(folder, kept, about["steps"], started, follower.preview)


def _result(
    folder: TrainingFolder,
    kept: LoraRecord,
    steps: int,
    started: float,
    preview: Image.Image | None = None,
) -> Result:
    notes = []
    with contextlib.suppress(ValueError):  # there is none; the trainer could say anything
        notes = [Message.from_untrusted_json((folder.about_result or {}).get("remark")).to_json()]
    return Result(
        {
            "notes": notes,
            "lora": kept.id,
            "name": kept.name,
            "training": folder.id,
            "steps": steps,
            "seconds": round(time.monotonic() - started, 1),
        },
        preview,
    )


def _find_finished(folder: TrainingFolder, request: TrainingRequest) -> LoraRecord | None:
    """What all steps have made, where it is still in the library.

    The studio may have ended before it could say so, and there is nothing left to go on from.
    """
    if folder.library_id is not None and folder.steps_in_library >= request.steps:
        with contextlib.suppress(errors.NotFound):
            return LoraLibrary(folder.home).by_id(folder.library_id)
    return None


def launch_command(
    folder: TrainingFolder, request: TrainingRequest, device: str, offline: bool
) -> list[str]:
    """``accelerate launch …`` as a list of arguments."""
    return child_process.launch_command(
        "pipelines.dreambooth.train", folder, device, offline, request.processes
    )


def launch_trainer(
    folder: TrainingFolder, request: TrainingRequest, device: str, offline: bool
) -> subprocess.Popen:
    """Starts the trainer; what it prints goes to the training's log."""
    return child_process.start(launch_command(folder, request, device, offline), folder)


def put_in_library(folder: TrainingFolder, request: TrainingRequest) -> LoraRecord:
    """Puts a training's result in its owner's library, in the place of an earlier one of its own.

    What lies there then, and what only further steps would need, is taken out of the folder.

    Raises:
        Unavailable: the disk is full or cannot be written to; what the library had is still there.
    """
    steps = folder.about_result["steps"]
    try:
        kept = _put_in_library(folder, request)
        folder.remember_library_id(kept.id, steps)
    except OSError as error:
        if not is_full(error):
            raise Unavailable(
                "{name} could not be put in the library: {reason}. All that was learnt is kept. "
                "See that the disk is there and can be written to, then resume.",
                name=request.name,
                reason=error.strerror or str(error),
            ) from error
        raise Unavailable(
            "The disk is full: {name} could not be put in the library, {free} are free. All that "
            "was learnt is kept. Make room and resume.",
            name=request.name,
            free=format_bytes(shutil.disk_usage(folder.home).free),
        ) from error
    folder.forget_weights(done=steps >= request.steps)
    return kept


def _put_in_library(folder: TrainingFolder, request: TrainingRequest) -> LoraRecord:
    library, made = LoraLibrary(folder.home), folder.about_result
    id, name = folder.library_id or secrets.token_hex(16), request.name
    # Remembered first: whatever happens now, there will only ever be one of this training.
    folder.remember_library_id(id)
    with contextlib.suppress(errors.NotFound):
        name = library.by_id(id).name  # perhaps renamed meanwhile
    facts: dict[str, Any] = {
        "id": id,
        "triggers": (made["trigger"],),
        "base": made["base"],
        "training": folder.id,
        "subjects": (request.subject,),
    }
    if made["kind"] == "model":
        if request.model.startswith(OWN):  # all of which is in it too
            with contextlib.suppress(errors.NotFound):
                base = library.by_id(request.model.removeprefix(OWN))
                facts["sources"] = (base.id, *base.sources)
                facts["subjects"] = tuple(dict.fromkeys((request.subject, *base.subjects)))
        return library.add_model(
            request.owner,
            name,
            lambda path: _copy_model(folder.result / MODEL, path),
            family=made["family"],
            **facts,
        )
    return library.add(request.owner, name, folder.result / WEIGHTS, **facts)


def _copy_model(source: Path, target: Path) -> None:
    """Without taking the room twice, where the file system can."""
    try:
        shutil.copytree(source, target, copy_function=os.link)
    except (OSError, shutil.Error):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)


class _Follower:
    """Reads a trainer's progress as it grows.

    What is reported already when it is made is of earlier runs, or of a trainer that was found at
    work.

    Attributes:
        error: what the trainer said before it ended, or None.
        last_step: steps done.
        seconds_a_step: the usual time from one to the next; 0 before there are enough.
        preview: the newest sample picture, or None.
    """

    def __init__(self, folder: TrainingFolder, request: TrainingRequest) -> None:
        self.folder, self.request = folder, request
        self.error: UserError | None = None
        self.last_step = 0
        self.preview: Image.Image | None = None
        self._told, self._heard = folder.progress()
        self._times: list[tuple[int, float]] = []

    @property
    def seconds_a_step(self) -> float:
        pairs = itertools.pairwise(self._times)
        gaps = [at - before for (one, before), (step, at) in pairs if step == one + 1]
        return statistics.median(gaps) if gaps else 0.0

    def cut_short(self, stop: threading.Event) -> bool:
        """Whether the trainer has ended before its last step though nobody here has stopped it."""
        steps = (self.folder.about_result or {}).get("steps", 0)
        return self.error is None and not stop.is_set() and steps < self.request.steps

    def follow(self, process: subprocess.Popen | None, stop: threading.Event) -> Iterator[Progress]:
        """Until the trainer has ended; passes a stop on to it.

        Args:
            process: None: the trainer was found at work.
        """
        yield Progress(0, self.request.steps, note=Message("Starting the trainer"))
        for line in self._told if process is None else ():
            # A trainer at work has said of no error yet: it would end with it.
            progress = self._read(line) if line["event"] != "error" else None
            if progress is not None:
                yield progress
        for line in child_process.follow(self.folder, process, stop, self._heard):
            progress = self._read(line)
            if progress is not None:
                yield progress

    def _read(self, line: dict[str, Any]) -> Progress | None:
        event, total = line["event"], self.request.steps
        if event == "note":
            note = child_process.note_of(line)
            return Progress(self.last_step, total, self.preview, note)
        if event == "stopping":
            note = Message("Stopping: what has been learnt is kept")
            return Progress(self.last_step, total, self.preview, note)
        if event == "step":
            self.last_step = line["step"]
            self._times.append((line["step"], line["at"]))
            return Progress(self.last_step, total, self.preview)
        if event == "sample":
            with (
                contextlib.suppress(OSError),
                Image.open(
                    self.folder.samples / Path(line["file"]).name, formats=("PNG",)
                ) as picture,
            ):
                self.preview = picture.convert("RGB")
            return Progress(self.last_step, total, self.preview)
        if event == "error":
            self.error = child_process.error_of(line)
        return None


def _make_room(cache: ModelCache, expected: Preflight, patience: float) -> None:
    """Lets go of models that nobody uses where the training would not fit beside them.

    Args:
        patience: seconds in which others may still give back what they have.
    """
    if expected.bytes > free_memory(cache.device):
        cache.clear()
    until = time.monotonic() + patience
    while time.monotonic() < until and expected.bytes > free_memory(cache.device):
        time.sleep(child_process.LOOK_SECONDS)
    check_room(expected, cache.home, cache.device, free_memory(cache.device))
