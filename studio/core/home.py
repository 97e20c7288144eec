"""The home folder: the only place the studio writes, used by one studio at a time."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import time
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import IO

from pipelines.core.errors import Unavailable
from pipelines.core.files import is_full, size_of, write_whole
from pipelines.core.sizes import format_bytes

ENVIRONMENT = "ATELIER_HOME"
DEFAULT = Path("~/.atelier")
FOLDERS = ("outputs", "loras", "models", "control", "samplers")
LOCK_FILE = "studio.lock"

KEPT_BYTES = 256 * 1024  # of the disk, for rows of the database that say what is full
RESERVE = ".reserve"  # folder of what is given up for such rows
PIECES, PIECE_BYTES = 16, 128 * 1024  # a piece is more than a transaction takes
PLENTY_BYTES = 64 * 2**20  # that must be free before a piece is put back
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
    """The lock that a studio holds on its home folder while it runs.

    Two studios on one folder would run each other's jobs.

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
        with contextlib.suppress(OSError):  # on a full disk others cannot read who holds it
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
    free = format_bytes(free_room(folder))
    if not needed:  # nobody knows how much it would be
        return DiskFull(
            "The disk is full: {free} are free. Free some space, then try again.",
            free=free,
        )
    return DiskFull(
        "The disk is full: {needed} are needed and {free} are free. "
        "Free some space, then try again.",
        needed=format_bytes(needed),
        free=free,
    )


def free_room(folder: Path) -> int:
    """Bytes that files may still take on a folder's disk; the last ones are the database's."""
    return max(0, shutil.disk_usage(folder).free - KEPT_BYTES)


@contextlib.contextmanager
def room_for(needed: int, folder: Path) -> Iterator[None]:
    """Raises :class:`DiskFull` when a write inside fails because the disk is full."""
    if not free_room(folder):
        raise disk_full(needed, folder)
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise disk_full(needed, folder) from error
        raise


class Reserve:
    """A little disk space that is kept for the database, for the moment when the disk is full.

    Whoever deletes pictures to make room needs a row for that job, and a job that fails for want of
    room writes so down. Other programs, and what is written without a look at the disk, take all
    that is left; what lies in these files the database gets, piece by piece.

    Args:
        home: the home folder.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._pieces = [home / RESERVE / str(number) for number in range(PIECES)]
        self._lacks = False  # something that this process has given up

    def fill(self) -> None:
        """Puts back what is missing, where there is plenty of room."""
        if self._free() < PLENTY_BYTES:
            return
        with contextlib.suppress(OSError):  # it is full all the same, or cannot be written to
            self._pieces[0].parent.mkdir(exist_ok=True)
            for piece in self._pieces:
                if not piece.exists() or piece.stat().st_size < PIECE_BYTES:
                    # Not zeros, which some file systems keep without taking room for them.
                    piece.write_bytes(os.urandom(PIECE_BYTES))
            self._lacks = False

    def make_room(self) -> None:
        """Gives up what a transaction needs on a full disk; once there is room, it is put back."""
        free = self._free()
        if self._lacks and free >= PLENTY_BYTES:
            self.fill()
        while free < PIECE_BYTES and self.give_up():
            free = self._free()

    def give_up(self) -> bool:
        """Deletes one piece; returns whether there was any."""
        for piece in self._pieces:
            with contextlib.suppress(OSError):
                piece.unlink()
                self._lacks = True
                return True
        return False

    def _free(self) -> int:
        try:
            return shutil.disk_usage(self._home).free
        except OSError:  # the disk is away; the database says so
            return PLENTY_BYTES


def write_file(path: Path, data: bytes) -> None:
    """Writes a file as :func:`pipelines.core.files.write_whole` does, and its folder.

    Raises:
        DiskFull: names the bytes needed and free.
    """
    there = next(folder for folder in path.parents if folder.exists())
    if len(data) > free_room(there):
        raise disk_full(len(data), there)
    with room_for(len(data), there):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)


def sweep(folder: Path, known: set[str], dry_run: bool) -> Iterator[int]:
    """Deletes the files of a folder that nothing knows; yields the bytes of each.

    Files that were written a moment ago stay: they may be about to get a row.

    Args:
        known: names of files without their endings, which stay.
        dry_run: nothing is deleted.
    """
    young = time.time() - WRITING_SECONDS
    for path in folder.glob("*"):
        if path.is_file() and path.stem not in known and path.stat().st_mtime < young:
            size = path.stat().st_size
            if not dry_run:
                path.unlink(missing_ok=True)
            yield size


def ownerless_folders(folder: Path, known: Container[str]) -> Iterator[Path]:
    """The folders in ``folder`` whose names are not in ``known``.

    Folders that were changed a moment ago are left out: they may be about to get a row or a job.
    """
    young = time.time() - WRITING_SECONDS
    for path in folder.glob("*"):
        if path.is_dir() and path.name not in known and path.stat().st_mtime < young:
            yield path


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
