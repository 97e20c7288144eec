"""Freeing disk space of what is only kept to be quick, or not used by anybody."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studio.services import Studio

UPLOADS = "cache"  # below the home folder; where Gradio keeps copies of uploads
IN_USE_SECONDS = 600.0  # an upload this young may still be read by its event


def clean_up(studio: Studio, dry_run: bool = False) -> int:
    """Deletes thumbnails and condition maps, which are made again when needed, Gradio's copies of
    uploads, brought-in pictures, tables and data sets that no job has used for a week, class
    pictures that no training uses, checkpoints of trainings that are done, and photos, trainings,
    prunings and clusterings of nobody.

    Returns:
        The bytes that were freed, or with ``dry_run`` would be.
    """
    # Data for clustering before the pictures that they are made of.
    kept = (
        studio.gallery,
        studio.cluster_data,
        studio.inputs,
        studio.subjects,
        studio.trainings,
        studio.prunings,
        studio.clusterings,
    )
    freed = sum(each.clean_up(dry_run=dry_run) for each in kept)
    oldest_in_use = time.time() - IN_USE_SECONDS
    for path, status in _uploads(studio.home):
        if status.st_mtime > oldest_in_use:
            continue
        freed += status.st_size
        if not dry_run:
            path.unlink(missing_ok=True)
    return freed


def forget_uploads(home: Path, paths: Iterable[str | Path]) -> None:
    """Deletes Gradio's copies of uploads that have been read; other files are left alone.

    They are what people have sent, byte for byte: photos among them may tell where they were taken.
    """
    folder = (home / UPLOADS).resolve()
    for path in map(Path, paths):
        if folder in path.resolve().parents:
            with contextlib.suppress(OSError):
                path.unlink()


def _uploads(home: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in (home / UPLOADS).rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # taken meanwhile
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                yield path, status
