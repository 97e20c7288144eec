"""Everybody's own pictures: PNG files below ``outputs/`` and a row each in the database.

A row is written after its file is whole, so the gallery never shows half a picture. A file without
a row (the studio was killed between the two) is written over when its job is run again. Files
without a row are never deleted: after the loss of the database they are all that is left.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import math
import sqlite3
import threading
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from pipelines.core.engine import Use
from pipelines.core.errors import NotFound, Unavailable, UserError
from pipelines.core.pictures.png_files import DAMAGED, read_png
from studio.core.gallery.metadata import format_parameters, parameters_of
from studio.core.gallery.picture_files import PictureFiles
from studio.core.home import DiskFull, write_file
from studio.core.quota import Keeper
from studio.core.store import uses_in

if TYPE_CHECKING:
    from studio.core.settings import StoredSettings
    from studio.core.store import Store

THUMBNAIL = 256  # pixels of the longer side
ID_LENGTH = 16  # characters of a picture's id
WHOLE_RUN = -1  # the position of a picture of the run as a whole, e.g. a comparison's sheet
_THUMBNAILS = ".thumbnails"
MAX_SEARCH = 10_000  # characters that the API searches for: a whole prompt
_SEARCH = """
SELECT * FROM pictures
WHERE owner = :owner AND present AND (:before IS NULL OR number < :before)
AND (:until IS NULL OR created < :until)
AND NOT EXISTS (
    SELECT 1 FROM json_each(:words) AS word WHERE NOT instr(pictures.words, word.value))
ORDER BY number DESC LIMIT :limit
"""
_COLUMNS = ("id", "owner", "job_id", "position", "kind", "request", "parameters", "words",
            "width", "height", "bytes", "seconds", "file", "created")  # fmt: skip
_ENTER = f"INSERT OR IGNORE INTO pictures ({', '.join(_COLUMNS)}) VALUES (:{', :'.join(_COLUMNS)})"


class Unwritten(Unavailable):
    """A picture's file is written, but not its row."""


@dataclass(frozen=True, slots=True)
class SavedPicture:
    """One row of the gallery.

    Attributes:
        number: rises with every picture of anyone's.
        id: made from the job's secret id; the only name under which the picture is ever asked for.
        owner, job_id, kind: whose it is and what made it.
        position: its place in the job, or WHOLE_RUN.
        request: the request that makes exactly this picture.
        parameters: the same as A1111 writes it.
        width, height: pixels.
        bytes: of the PNG.
        seconds: it took.
        created: seconds since 1970.
    """

    number: int
    id: str
    owner: str
    job_id: str
    kind: str
    position: int
    request: dict[str, Any]
    parameters: str
    width: int
    height: int
    bytes: int
    seconds: float
    created: float

    @property
    def cursor(self) -> str:
        """Where a search goes on after this picture, even if it is deleted meanwhile."""
        return str(self.number)


@dataclass(frozen=True, slots=True)
class Span:
    """An owner's pictures as a whole: their number, and the first and the last moment at which one
    was made, in seconds since 1970."""

    count: int
    oldest: float
    newest: float


class Gallery(Keeper):
    """Saves, finds, serves and deletes pictures; each method works for one owner only.

    Args:
        store: the database.
        home: the home folder; pictures lie in ``outputs/<owner>/<day>/<id>.png``.
        settings: whether settings go into the PNG.
    """

    def __init__(self, store: Store, home: Path, settings: StoredSettings) -> None:
        self._store, self._home, self._settings = store, home, settings
        self._outputs = home / "outputs"
        self._thumbnails = self._outputs / _THUMBNAILS
        self._files = PictureFiles(self._outputs)
        self._absent: dict[str, tuple[str, str]] = {}  # id → owner and file, of those away
        self._lock = threading.Lock()  # one thumbnail is made once
        self._sweep()

    # --- saving -----------------------------------------------------------------------------

    def save(
        self,
        owner: str,
        job_id: str,
        position: int,
        kind: str,
        image: Image.Image,
        request: dict[str, Any],
        seconds: float = 0.0,
        extra: dict[str, Any] | None = None,
        uses: Iterable[Use] = (),
    ) -> SavedPicture:
        """Writes a picture and its row; a job's position that is saved already is left as it is.

        Args:
            uses: what the request names of what is stored.

        Raises:
            DiskFull, Unavailable: the file cannot be written; no row is written then.
            Unwritten: the file is there, but not its row; the same call may be made again.
        """
        if (known := self._at(job_id, position)) is not None:
            return known
        parameters = parameters_of(request, image.size, extra)
        text = format_parameters(parameters)
        picture_id = _picture_id(job_id, position)
        inside = text if self._settings.current.save_metadata else None
        file, size = self._files.write(image, owner_folder(owner), picture_id, inside)
        row = {
            "id": picture_id,
            "owner": owner,
            "job_id": job_id,
            "position": position,
            "kind": kind,
            "request": json.dumps(request),
            "parameters": text,
            "words": fold(f"{parameters['prompt']}\n{parameters['negative_prompt']}"),
            "width": image.width,
            "height": image.height,
            "bytes": size,
            "seconds": seconds,
            "file": file,
            "created": time.time(),
            "uses": list(uses),
        }
        try:
            self._enter(row)
        except (UserError, sqlite3.OperationalError) as error:
            # The picture stays: its row is entered by the next try, or at the next start.
            with contextlib.suppress(OSError, UserError):
                self._files.note(row)
            raise Unwritten(
                "The picture is painted, but cannot be entered in the gallery: {reason}",
                reason=error.message if isinstance(error, UserError) else str(error),
            ) from error
        self._files.forget_note(picture_id)
        return self.get(owner, picture_id)

    # --- finding ----------------------------------------------------------------------------

    def get(self, owner: str, picture_id: str) -> SavedPicture:
        """Raises NotFound when there is none, or it is another's."""
        return _picture(self._row(owner, picture_id))

    def of_job(self, owner: str, job_id: str) -> list[SavedPicture]:
        """A job's pictures in their order, the picture of the whole run first."""
        self._look_again(owner)
        rows = self._store.rows(
            "SELECT * FROM pictures WHERE owner = ? AND job_id = ? AND present ORDER BY position",
            (owner, job_id),
        )
        return [_picture(row) for row in rows]

    def search(
        self,
        owner: str,
        text: str = "",
        limit: int = 50,
        before: str | None = None,
        until: date | None = None,
    ) -> list[SavedPicture]:
        """The owner's pictures, newest first.

        Args:
            text: words that prompt and negative prompt must all hold, in any order and case.
            limit: how many at most.
            before: the cursor or the id of a picture; only older ones are returned.
            until: the last day of which pictures are returned.

        Raises:
            NotFound: ``before`` is an id, and not that of a picture of the owner's.
            Busy: so many words in so many prompts are not found in time.
        """
        self._look_again(owner)
        values = {
            "owner": owner,
            "words": search_words(text),
            "before": None if before is None else self._number(owner, before),
            "until": None if until is None else _end_of(until),
            "limit": limit,
        }
        with self._store.search_connection() as connection:
            return [_picture(row) for row in connection.execute(_SEARCH, values)]

    def ids_found(self, owner: str, text: str) -> list[str]:
        """The ids of all that :meth:`search` finds."""
        return [row.id for row in self.search(owner, text, limit=-1)]

    def span(self, owner: str) -> Span | None:
        """How many pictures an owner has, and from when to when; None where there are none."""
        row = self._store.row(
            "SELECT COUNT(*) AS count, MIN(created) AS oldest, MAX(created) AS newest "
            "FROM pictures WHERE owner = ? AND present",
            (owner,),
        )
        return Span(**row) if row["count"] else None

    def ids_using(self, owner: str, use: Use) -> list[str]:
        """The ids of the owner's pictures that were made with a thing, the oldest first."""
        rows = self._store.rows(
            "SELECT id FROM pictures WHERE owner = ? AND present "
            "AND id IN (SELECT picture FROM picture_uses WHERE kind = ? AND item = ?) "
            "ORDER BY number",
            (owner, *use),
        )
        return [row["id"] for row in rows]

    def ids(self, owner: str, limit: int = -1) -> list[str]:
        """The ids of the owner's pictures, the newest first; −1: of all."""
        self._look_again(owner)
        rows = self._store.rows(
            "SELECT id FROM pictures WHERE owner = ? AND present ORDER BY number DESC LIMIT ?",
            (owner, limit),
        )
        return [row["id"] for row in rows]

    def bytes_used(self, owner: str) -> int:
        """Bytes of an owner's pictures."""
        return self._store.sum_of("bytes", "pictures WHERE present", owner)

    def bytes_of_all(self) -> int:
        """Bytes of everybody's pictures."""
        return self._store.sum_of("bytes", "pictures WHERE present", None)

    # --- files ------------------------------------------------------------------------------

    def path(self, owner: str, picture_id: str) -> Path:
        """The PNG's path, for serving it.

        Raises:
            NotFound: there is none, it is another's, or its file has vanished.
        """
        row = self._row(owner, picture_id)
        if not self._files.is_there(row["file"]):
            self._absent[picture_id] = owner, row["file"]
            self._set_present([picture_id], False)
            raise _not_found_error(picture_id)
        return self._outputs / row["file"]

    def thumbnail(self, owner: str, picture_id: str) -> Path:
        """The path of a WEBP of at most 256 pixels a side; made at the first call.

        While there is no room for one, it is the path of the picture itself.

        Raises:
            NotFound: as for :meth:`path`.
            Unavailable: the picture's file is damaged.
        """
        source = self.path(owner, picture_id)
        target = self._thumbnails / f"{picture_id}.webp"
        with self._lock:
            if not target.is_file():
                small = _read(source, picture_id)
                small.thumbnail((THUMBNAIL, THUMBNAIL))
                buffer = io.BytesIO()
                small.save(buffer, "WEBP", quality=82)
                try:
                    write_file(target, buffer.getvalue())
                except DiskFull:
                    return source
        return target

    def open(self, owner: str, picture_id: str) -> Image.Image:
        """The picture, RGB.

        Raises:
            NotFound: as for :meth:`path`.
            Unavailable: its file is damaged.
        """
        return _read(self.path(owner, picture_id), picture_id)

    def files_of(self, owner: str, ids: Sequence[str]) -> list[tuple[str, Path]]:
        """The files of those of an owner's pictures that are there, the oldest first, each with the
        name that it gets elsewhere: its day and its id."""
        rows = self._store.rows(
            "SELECT id, file, created FROM pictures WHERE owner = ? AND present "
            "AND id IN (SELECT value FROM json_each(?)) ORDER BY number",
            (owner, json.dumps(list(ids))),
        )
        return [
            (f"{date.fromtimestamp(row['created'])}-{row['id']}.png", self._outputs / row["file"])
            for row in rows
        ]

    def delete(self, owner: str, picture_id: str) -> None:
        """Deletes row, file and thumbnail.

        Raises:
            NotFound: there is none, or it is another's.
        """
        row = self._row(owner, picture_id)
        # The row last: should this be cut off, the picture is gone and not left behind unseen.
        (self._thumbnails / f"{picture_id}.webp").unlink(missing_ok=True)
        (self._outputs / row["file"]).unlink(missing_ok=True)
        self._store.write("DELETE FROM pictures WHERE id = ?", (picture_id,))

    def delete_several(self, owner: str, ids: Sequence[str]) -> int:
        """Deletes those of an owner's pictures that are still there; returns how many were.

        One transaction for all: some dozens at a time, so that others may write in between.
        """
        rows = self._store.rows(
            "SELECT id, file FROM pictures WHERE owner = ? "
            "AND id IN (SELECT value FROM json_each(?))",
            (owner, json.dumps(list(ids))),
        )
        for row in rows:  # the rows last, as in delete()
            (self._thumbnails / f"{row['id']}.webp").unlink(missing_ok=True)
            (self._outputs / row["file"]).unlink(missing_ok=True)
        with self._store.transaction() as connection:
            connection.executemany(
                "DELETE FROM pictures WHERE id = ?", [(row["id"],) for row in rows]
            )
        return len(rows)

    def delete_all(self, owner: str) -> int:
        """Deletes all of an owner's pictures; returns how many there were."""
        rows = self._store.rows("SELECT id FROM pictures WHERE owner = ?", (owner,))
        return self.delete_several(owner, [row["id"] for row in rows])

    def clean_up(self, dry_run: bool = False) -> Iterator[int]:
        """Deletes the thumbnails, which are made again when needed; yields the bytes of each."""
        for path in self._thumbnails.glob("*.webp"):
            with contextlib.suppress(FileNotFoundError):  # its picture has just been deleted
                size = path.stat().st_size
                if not dry_run:
                    path.unlink()
                yield size

    def _sweep(self) -> None:
        """Enters what could not be entered, and sees which pictures are there."""
        for row in self._files.notes():
            self._enter(row)
            self._files.forget_note(row["id"])
        rows = self._store.rows("SELECT id, owner, file, present FROM pictures")
        self._files.sweep(row["file"] for row in rows)
        found = self._files.present(row["file"] for row in rows)
        # In both directions: the folder may lie on a drive that is not always there.
        for there in (True, False):
            changed = [
                row["id"] for row in rows if (row["file"] in found) == there != row["present"]
            ]
            self._set_present(changed, there)
        self._absent = {
            row["id"]: (row["owner"], row["file"]) for row in rows if row["file"] not in found
        }

    def _enter(self, row: Mapping[str, Any]) -> None:
        """Writes a row and what the picture was made with, unless it is there already."""
        if (uses := row.get("uses")) is None:  # noted by an earlier version
            uses = uses_in(row["request"])
        with self._store.transaction() as connection:
            if connection.execute(_ENTER, {name: row[name] for name in _COLUMNS}).rowcount:
                connection.executemany(
                    "INSERT OR IGNORE INTO picture_uses (picture, kind, item) VALUES (?, ?, ?)",
                    [(row["id"], *use) for use in uses],
                )

    def _look_again(self, owner: str) -> None:
        """Shows pictures again whose files are back, as on a disk that was away for a moment."""
        if absent := {id: file for id, (whose, file) in [*self._absent.items()] if whose == owner}:
            found = self._files.present(absent.values())
            self._come_back([id for id, file in absent.items() if file in found])

    def _come_back(self, ids: list[str]) -> None:
        self._set_present(ids, True)
        for picture_id in ids:
            self._absent.pop(picture_id, None)

    def _set_present(self, ids: list[str], present: bool) -> None:
        if ids:
            # While the database is held, the file itself says whether it is there.
            with contextlib.suppress(UserError), self._store.transaction() as connection:
                connection.executemany(
                    "UPDATE pictures SET present = ? WHERE id = ?", [(present, id) for id in ids]
                )

    def _row(self, owner: str, picture_id: str) -> sqlite3.Row:
        row = self._store.row(
            "SELECT * FROM pictures WHERE id = ? AND owner = ?", (picture_id, owner)
        )
        if row is not None and not row["present"]:
            if self._files.is_there(row["file"]):
                self._come_back([picture_id])
            else:
                row = None
        if row is None:
            raise _not_found_error(picture_id)
        return row

    def _number(self, owner: str, before: str) -> int:
        if before.isdecimal() and len(before) < ID_LENGTH:
            return int(before)
        # The file may have vanished: the place of the picture is known all the same.
        row = self._store.row(
            "SELECT number FROM pictures WHERE id = ? AND owner = ?", (before, owner)
        )
        if row is None:
            raise _not_found_error(before)
        return row["number"]

    def _at(self, job_id: str, position: int) -> SavedPicture | None:
        row = self._store.row(
            "SELECT * FROM pictures WHERE job_id = ? AND position = ?", (job_id, position)
        )
        return _picture(row) if row is not None else None


def _end_of(day: date) -> float:
    """The first moment after a day of this machine's clock, in seconds since 1970."""
    if not 1970 < day.year < 3000:  # no picture is of such a day, and not every system counts it
        return 0.0 if day.year <= 1970 else math.inf
    return time.mktime((day.year, day.month, day.day + 1, 0, 0, 0, 0, 0, -1))


def owner_folder(owner: str) -> str:
    """The folder of an owner's pictures: readable for ``local``, a digest for everybody else."""
    if owner == "local":
        return owner
    return hashlib.sha256(owner.encode()).hexdigest()[:20]


def _picture_id(job_id: str, position: int) -> str:
    """An id as hard to guess as the job's: the same when the job is run again after a crash."""
    digest = hashlib.sha256(f"{job_id}/{position}".encode()).digest()
    return base64.urlsafe_b64encode(digest[:12]).decode()


def fold(text: str) -> str:
    """Text as it is searched: without case and without differences of writing."""
    whole = text.encode(errors="replace").decode()  # half an emoji is no text to a database
    return unicodedata.normalize("NFKC", whole).casefold()


def search_words(text: str) -> str:
    """The words that a search asks for, each once, as a JSON array for SQLite's ``json_each``.

    The longest come first: they are the rarest, and the first that is missing ends a comparison.
    """
    # A NUL ends a text for SQLite's JSON, and nobody can type one.
    words = dict.fromkeys(fold(text).replace("\0", " ").split())
    return json.dumps(sorted(words, key=len, reverse=True))


def _not_found_error(picture_id: str) -> NotFound:
    return NotFound("There is no picture {id} in your gallery.", id=picture_id[:60])


def _read(path: Path, picture_id: str) -> Image.Image:
    try:
        return read_png(path)
    except FileNotFoundError:
        raise _not_found_error(picture_id) from None
    except DAMAGED as error:
        raise Unavailable(
            "The file of the picture {id} is damaged or cannot be read.", id=picture_id
        ) from error


def _picture(row: sqlite3.Row) -> SavedPicture:
    values = {name: row[name] for name in SavedPicture.__slots__}
    return SavedPicture(**{**values, "request": json.loads(row["request"])})
