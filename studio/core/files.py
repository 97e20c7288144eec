"""Files that are either whole or not there."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from studio.core.home import NO_SPACE, disk_full

TEMPORARY = ".tmp"


def write_file(path: Path, data: bytes) -> None:
    """Writes ``data`` beside ``path`` under a hidden name, then renames it.

    A process killed at any moment leaves either the whole file or a ``.….tmp`` beside it, never
    half a file under its own name.

    Raises:
        DiskFull: names the bytes needed, the bytes free and the folder.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise disk_full(len(data), _existing(path.parent)) from error
        raise


def is_temporary(name: str) -> bool:
    """Whether a file's name is one that :func:`write_file` gives to what is not whole yet."""
    return name.startswith(".") and name.endswith(TEMPORARY)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself survive a power cut; Windows does so by itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
