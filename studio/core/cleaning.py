"""Freeing disk space of what is only kept to be quick, or not used by anybody."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

UPLOADS = "cache"  # below the home folder; where Gradio keeps copies of uploads
IN_USE_SECONDS = 600.0  # an upload this young may still be read by its event


class Keeper:
    """A service that keeps things of owners."""

    def bytes_used(self, owner: str) -> int:
        """The bytes that an owner's things take, which count for the owner's quota."""
        return 0

    def cleaning(self, dry_run: bool = False) -> Iterator[int]:
        """Deletes what can be made again, or is used by nobody any more; yields the bytes that were
        freed by each thing, or would be."""
        yield from ()


class Cleaner:
    """Deletes thumbnails and condition maps, which are made again when needed, Gradio's copies of
    uploads, brought-in pictures, tables and data sets that no job has used for a week, class
    pictures that no training uses, checkpoints of trainings that are done, and photos, trainings,
    prunings and clusterings of nobody.

    Attributes:
        keepers: asked in this order: data for clustering before the pictures they are made of.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self.keepers: Sequence[Keeper] = ()

    def clean_up(self, dry_run: bool = False) -> int:
        """As :meth:`cleaning`, to its end; returns the bytes of all."""
        return sum(self.cleaning(dry_run))

    def cleaning(self, dry_run: bool = False) -> Iterator[int]:
        """Deletes one thing after another; between two it can be left off.

        Yields:
            The bytes that were freed by each thing, or with ``dry_run`` would be.
        """
        for each in self.keepers:
            yield from each.cleaning(dry_run)
        oldest_in_use = time.time() - IN_USE_SECONDS
        for path, status in _uploads(self._home):
            if status.st_mtime > oldest_in_use:
                continue
            if not dry_run:
                path.unlink(missing_ok=True)
            yield status.st_size


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
