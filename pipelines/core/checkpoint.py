"""Checkpoints: all that a training needs to go on as if nothing had happened.

Whatever is drawn at random is a function of the seed and the step, in every trainer here, and so is
the learning rate; what remains is weights, optimiser, and the step itself.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch

from pipelines.core.errors import UserError
from pipelines.core.files import is_full
from pipelines.core.sizes import format_bytes

FILE = "state.pt"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Writes ``state`` beside the last checkpoint and then takes its place.

    A kill or a full disk at any moment leaves the last complete one.

    Args:
        folder: ``checkpoint/`` of the training.
        state: tensors, numbers, strings, and lists and dicts of them; has ``"step"``.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    new = folder / f"{FILE}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with new.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, folder / FILE)
    except (OSError, RuntimeError) as error:  # torch's writer says RuntimeError of a full disk
        new.unlink(missing_ok=True)
        raise cannot_write(error, folder, state["step"]) from error


def load(folder: Path) -> dict[str, Any] | None:
    """The last complete checkpoint, on the CPU; None if there is none.

    Raises:
        UserError: it is there and cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            "The checkpoint of this training cannot be read ({reason}). Duplicate the training to "
            "begin anew.",
            reason=str(error).partition("\n")[0][:200],
        ) from error


def cannot_write(error: BaseException, folder: Path, step: int) -> UserError:
    """The sentence for an error while writing at ``step``."""
    free = shutil.disk_usage(folder if folder.exists() else folder.parent).free
    if is_full(error) or free < 2**20:
        return UserError(
            "The disk is full: the checkpoint of step {step} could not be written, {free} are "
            "free. The one before it is kept. Make room and resume.",
            step=step,
            free=format_bytes(free),
        )
    return UserError(
        "The checkpoint of step {step} could not be written ({reason}). The one before it is kept. "
        "Resume when that is mended.",
        step=step,
        reason=str(error).partition("\n")[0][:200],
    )
