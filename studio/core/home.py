"""The home folder: the only place the studio writes, used by one studio at a time."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from pipelines.core.errors import Unavailable
from pipelines.core.files import is_full, size_of, write_whole
from pipelines.core.sizes import format_bytes

ENVIRONMENT = "ATELIER_HOME"
DEFAULT = Path("~/.atelier")
FOLDERS = ("outputs", "loras", "jobs", "models", "control", "samplers")
LOCK_FILE = "studio.lock"

WRITING_SECONDS = 600.0  # a file or folder without a row that is younger may be about to get one


_log = logging.getLogger(__name__)


class DiskFull(Unavailable):
    """A file could not be written for want of space; names the bytes needed and free."""


def find_home(given: str | os.PathLike[str] | None = None) -> Path:
    """The absolute home folder: ``given``, else ``ATELIER_HOME``, else ``~/.atelier``.

    Raises:
        Unavailable: the last is meant, and the user has no folder of their own.
    """
    path = Path(given or os.environ.get(ENVIRONMENT) or DEFAULT)
    try:
        return path.expanduser().resolve()
    except RuntimeError as error:
        raise Unavailable(
            "{folder} cannot be found: the user that the studio runs as has no home folder. "
            "Name one for the studio with --home.",
            folder=str(path),
        ) from error


def prepare_home(home: Path) -> Path:
    """Makes the home folder and its subfolders; the home itself is closed to other system users.

    Raises:
        Unavailable: the folder cannot be made or written to.
    """
    try:
        if not home.exists():
            home.mkdir(parents=True, mode=0o700)
        for name in FOLDERS:
            (home / name).mkdir(exist_ok=True)
    except OSError as error:
        raise _unusable(home, error) from error
    return home


def _unusable(home: Path, error: OSError) -> Unavailable:
    return Unavailable(
        "The home folder {home} cannot be used: {reason}. Choose another one with --home.",
        home=readable_path(home),
        reason=error.strerror or str(error),
    )


class HomeLock:
    """Held for as long as a studio runs on a home folder; two would run each other's jobs.

    The operating system lets go of it when the process ends, however it ends.

    Raises:
        Unavailable: another studio holds it, or the folder's file system has no locks.
    """

    def __init__(self, home: Path) -> None:
        try:
            self._file: IO[str] = (home / LOCK_FILE).open("a+", encoding="ascii")
        except OSError as error:
            raise _unusable(home, error) from error
        try:
            _lock(self._file)
        except OSError as error:
            refusal = self._refusal(home, error)
            self._file.close()
            raise refusal from error
        self._file.seek(0)
        self._file.truncate()
        self._file.write(str(os.getpid()))
        self._file.flush()

    def _refusal(self, home: Path, error: OSError) -> Unavailable:
        if error.errno in HELD:
            self._file.seek(0)
            return Unavailable(
                "Another studio (process {process}) is using {home}. "
                "Close it, or start this one with another --home.",
                process=self._file.read().strip() or "?",
                home=readable_path(home),
            )
        return Unavailable(
            "The home folder {home} cannot be locked: {reason}. "
            "Choose one on a disk of this machine with --home.",
            home=readable_path(home),
            reason=error.strerror or str(error),
        )

    def release(self) -> None:
        self._file.close()

    def __enter__(self) -> HomeLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def disk_full(needed: int, folder: Path) -> DiskFull:
    """The error to raise when ``needed`` bytes did not fit into ``folder``.

    Guests read it: which folder that is stands in the log alone.
    """
    _log.warning("%s is full", folder)
    return DiskFull(
        "The disk is full: {needed} are needed and {free} are free. "
        "Free some space, then send the job again.",
        needed=format_bytes(needed),
        free=format_bytes(shutil.disk_usage(folder).free),
    )


@contextlib.contextmanager
def room_for(needed: int, folder: Path) -> Iterator[None]:
    """Writing in here that fails for want of room raises :class:`DiskFull`."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise disk_full(needed, folder) from error
        raise


def write_file(path: Path, data: bytes) -> None:
    """Writes a file as :func:`pipelines.core.files.write_whole` does, and its folder.

    Raises:
        DiskFull: names the bytes needed and free.
    """
    there = next(folder for folder in path.parents if folder.exists())
    with room_for(len(data), there):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)


def sweep(folder: Path, known: set[str], dry_run: bool) -> Iterator[int]:
    """Deletes the files of a folder whose names (without an ending) are none of ``known``, but for
    those that may be about to get a row; yields the bytes of each."""
    young = time.time() - WRITING_SECONDS
    for path in folder.glob("*"):
        if path.is_file() and path.stem not in known and path.stat().st_mtime < young:
            size = path.stat().st_size
            if not dry_run:
                path.unlink(missing_ok=True)
            yield size


def clear_folders(folders: Iterable[Path], dry_run: bool) -> Iterator[int]:
    """Deletes whole folders; yields the bytes of each."""
    for folder in folders:
        size = size_of(folder)
        if not dry_run:
            shutil.rmtree(folder, ignore_errors=True)
        yield size


def readable_path(path: Path) -> str:
    """A path for a sentence, with ``~`` for the user's own folder, whose name stays home."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except (ValueError, RuntimeError):  # it is elsewhere, or the user has no folder
        return str(path)


if os.name == "nt":
    import msvcrt

    HELD = {errno.EACCES, errno.EDEADLK}  # errors of _lock that mean: someone else has it

    def _lock(file: IO[str]) -> None:
        # Far beyond the process number, which others may want to read while the lock is held.
        file.seek(1 << 20)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    HELD = {errno.EWOULDBLOCK, errno.EAGAIN}

    def _lock(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
