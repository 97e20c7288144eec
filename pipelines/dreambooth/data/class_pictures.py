"""Pictures of the class, painted by the untouched model and kept for next time.

They lie in ``<home>/class_pictures/<hash>/``; the hash is of all that decides what they look like.
Picture number n always has the seed n, so that an interrupted set goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from pipelines.core.paths import ASSETS
from pipelines.core.pictures.png_files import is_whole, read_png
from pipelines.dreambooth.requests import TrainingRequest
from pipelines.models.catalog import ModelEntry

FOLDER = "class_pictures"
STEPS = 15  # at most: they need not be as fine as what people look at
_AT_ONCE = 8


def folder_of(request: TrainingRequest, entry: ModelEntry, home: Path) -> Path:
    """Where the class pictures of a training lie."""
    facts = {
        "model": entry.name,
        "files": _fingerprint(entry),
        "prompts": request.class_prompts or request.class_prompt(0),
        "class": request.class_word,
        "size": request.resolution or entry.native_size,
        "steps": steps_for(entry),
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return home / FOLDER / digest[:32]


def steps_for(entry: ModelEntry) -> int:
    return min(entry.defaults.steps, STEPS)


def list_missing(folder: Path, count: int) -> list[int]:
    """Numbers of the pictures that are still to be painted."""
    return [n for n in range(count) if not is_whole(folder / f"{n:04d}.png")]


def paint_missing(
    folder: Path,
    numbers: list[int],
    prompt_of: Callable[[int], str],
    paint: Callable[[str, int, int], list[Image.Image]],
    done: Callable[[int], Any],
) -> None:
    """Paints pictures and keeps each one as soon as it is there.

    Args:
        numbers: which ones, rising.
        prompt_of: the prompt of a number.
        paint: ``paint(prompt, seed, count)``: pictures with the seeds from ``seed`` on.
        done: told how many are painted so far.
    """
    folder.mkdir(parents=True, exist_ok=True)
    finished = 0
    while finished < len(numbers):
        first = numbers[finished]
        prompt, run = prompt_of(first), 1
        while (
            run < _AT_ONCE
            and numbers[finished : finished + run + 1][-1] == first + run
            and prompt_of(first + run) == prompt
        ):
            run += 1
        for number, picture in enumerate(paint(prompt, first, run), start=first):
            part = folder / f".{number:04d}.{os.getpid()}.part"
            picture.save(part, format="PNG")
            os.replace(part, folder / f"{number:04d}.png")
        finished += run
        done(finished)


def read(folder: Path, count: int) -> list[Image.Image]:
    """The first ``count`` pictures, RGB."""
    return [read_png(folder / f"{number:04d}.png") for number in range(count)]


def _fingerprint(entry: ModelEntry) -> Any:
    """Changes when a model of the same name gets other weights."""
    source = entry.source
    if source.hub is not None:
        return source.hub
    path = source.file or source.folder or ASSETS / source.asset
    files = [path] if path.is_file() else sorted(path.rglob("*.safetensors"))
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
