"""Starts the healing process and follows it; see :mod:`pipelines.chat.pruning.healing.training`."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

from pipelines.chat.pruning.folder import PruneFolder
from pipelines.chat.pruning.model_files import weights_bytes
from pipelines.chat.pruning.requests import PruneRequest
from pipelines.core import child_process
from pipelines.core.cache import ModelCache
from pipelines.core.devices import free_memory
from pipelines.core.errors import Stopped
from pipelines.core.events import Progress
from pipelines.core.files import write_whole
from pipelines.core.messages import Message

MODULE = "pipelines.chat.pruning.healing.process"
_TIMES = 3  # the weights: them, activations and gradients, and the merged model while it is saved

Launch = Callable[[PruneFolder, str, bool], subprocess.Popen]
"""``launch(folder, device, offline)`` starts a healing process."""


def heal(
    request: PruneRequest,
    folder: PruneFolder,
    cache: ModelCache,
    stop: threading.Event,
    launch: Launch | None = None,
    settings: dict[str, Any] | None = None,
) -> Iterator[Progress]:
    """Heals ``folder.cut`` to ``folder.healed``, or goes on from the last checkpoint.

    Yields seconds of ``request.heal_minutes``.

    Args:
        launch: starts the process; None: :func:`launch_healer`.
        settings: fields of :class:`pipelines.chat.pruning.healing.training.Healing` that differ
            from its own.

    Raises:
        Stopped: ``stop`` was set; what was healed until then is in ``folder.healed``, if anything.
        UserError: the process failed; the sentence says why.
    """
    process = None
    if folder.is_running:  # an earlier studio has left it at work
        folder.go_on()
        _, heard = folder.progress()
        yield from _follow(request, folder, None, stop, heard)
    if not stop.is_set():
        if _TIMES * weights_bytes(folder.cut) > free_memory(cache.device):
            cache.clear()
        write_whole(
            folder.path / "heal.json",
            json.dumps({"minutes": request.heal_minutes} | (settings or {}), indent=1).encode(),
        )
        folder.go_on()
        folder.forget_errors()
        # What it says from now on is new, however soon it says it.
        _, heard = folder.progress()
        process = (launch or launch_healer)(folder, cache.device, cache.offline)
        try:
            yield from _follow(request, folder, process, stop, heard)
        finally:
            process.poll()
        # An earlier run may have left a healed model: only the process knows whether it is done.
        if process.returncode != child_process.DONE:
            raise child_process.silent_end(folder, process, _progress_so_far(folder)[0])
    if not folder.healed.is_dir():
        raise Stopped
    steps, seconds = _progress_so_far(folder)
    folder.remember(healing={"steps": steps, "minutes": round(seconds / 60, 2)})
    if stop.is_set() and seconds < request.heal_minutes * 60:
        raise Stopped


def launch_healer(folder: PruneFolder, device: str, offline: bool) -> subprocess.Popen:
    """Starts the process under ``accelerate launch``; what it prints goes to the log."""
    command = child_process.launch_command(MODULE, folder, device, offline)
    return child_process.start(command, folder)


def _follow(
    request: PruneRequest,
    folder: PruneFolder,
    process: subprocess.Popen | None,
    stop: threading.Event,
    heard: int,
) -> Iterator[Progress]:
    total, (_, done) = max(1, round(request.heal_minutes * 60)), _progress_so_far(folder)
    yield Progress(min(total, int(done)), total, note=Message("Starting to heal"))
    for line in child_process.follow(folder, process, stop, heard):
        note = None
        if line["event"] == "error":
            raise child_process.error_of(line)
        if line["event"] == "ended":
            raise Stopped
        if line["event"] == "stopping":
            note = Message("Stopping: what has been learnt is kept")
        elif line["event"] == "note":
            note = child_process.note_of(line)
        elif line["event"] == "step":
            done = line["seconds"]
            note = Message("Healing: step {step}, loss {loss}", step=line["step"],
                           loss=round(line["loss"], 3))  # fmt: skip
        if note is not None:
            yield Progress(min(total, int(done)), total, note=note)


def _progress_so_far(folder: PruneFolder) -> tuple[int, float]:
    """Steps and seconds of healing in all runs."""
    lines: list[dict[str, Any]] = [line for line in folder.progress()[0] if line["event"] == "step"]
    return (lines[-1]["step"], lines[-1]["seconds"]) if lines else (0, 0.0)
