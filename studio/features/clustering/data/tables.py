"""Tables that people bring in, as files; everybody's own, asked for by id and never by path."""

from __future__ import annotations

import builtins
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.clustering.data.csv_dialect import CsvDialect, Guess, Reading
from pipelines.clustering.data.profile import Column
from pipelines.clustering.data.tables import Table
from pipelines.core.errors import BadRequest, NotFound
from pipelines.core.messages import Message
from studio.core.gallery.inputs import KEPT_SECONDS
from studio.core.home import room_for, sweep
from studio.core.jobs.slots import FairSlots
from studio.features.clustering.data.reading import look_apart

if TYPE_CHECKING:
    import sqlite3

    from studio.core.quota import Quota
    from studio.core.store import Store

FOLDER = "cluster_tables"
MAX_NAME = 200  # characters of a file's name that are kept
MAX_COLUMN_NAME = 1000
AT_ONCE = 2  # tables that are read; others wait
WAIT_SECONDS = 60.0  # for a turn, before saying that there is none
_BUSY = "Other tables are being read. Bring this one in again in a moment."

# No data set of the same owner was made of it.
_UNUSED = (
    "NOT EXISTS (SELECT 1 FROM cluster_data WHERE cluster_data.owner = cluster_tables.owner "
    "AND made_of = cluster_tables.id)"
)


@dataclass(frozen=True, slots=True)
class KnownTable:
    """One table that somebody has brought in.

    Attributes:
        id: 32 hexadecimal digits, made of its owner, its bytes and how they are read.
        name: the file's, to be shown.
        table: what one look has found; its path is the server's.
        bytes: of the file.
        created: when it was last brought in; seconds since 1970.
    """

    id: str
    name: str
    table: Table
    bytes: int
    created: float


class Tables:
    """Keeps, finds and deletes tables; each method works for one owner only.

    Args:
        store: the database.
        home: the home folder; files lie in ``cluster_tables/<id>``, byte for byte.
        quota: says whether there is room.
    """

    def __init__(self, store: Store, home: Path, quota: Quota) -> None:
        self._store, self._home, self._quota = store, home, quota
        self._lock = threading.Lock()  # a file and its row come and go together
        self._slots = FairSlots(AT_ONCE, each=AT_ONCE, asked=None, busy=_BUSY)
        forget_halves(home / FOLDER)

    def check_room(self, owner: str) -> None:
        """Raises Busy when the owner keeps as much as is allowed."""
        self._quota.check_room(owner)

    def bring(
        self,
        owner: str,
        path: Path,
        name: str,
        reading: Reading | None = None,
        stop: threading.Event | None = None,
    ) -> KnownTable:
        """Looks at an uploaded file and keeps it.

        Args:
            path: of the upload, which stays where it is.
            name: the file's, to be shown.
            reading: how a text file is read; what is empty is found by looking.

        Raises:
            BadRequest: it is too large, damaged, or no table; see
                :func:`pipelines.clustering.data.tables.look`.
            Busy: the owner keeps as much as is allowed, or others' tables took all turns for a
                minute.
            OutOfMemory, Unavailable: reading it takes more memory or time than it may.
            DiskFull: there is no room for the file.
            Stopped: ``stop`` was set.
        """
        self.check_room(owner)
        reading = reading or Reading()
        with self._slots.take(owner, WAIT_SECONDS, stop):
            table = look_apart(owner, path, reading, stop)
        _check_names(table)
        digest = hashlib.sha256(f"{owner}\0{reading.model_dump_json()}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
        id, size = digest.hexdigest()[:32], path.stat().st_size
        name = _readable_name(name)
        with self._lock:
            with room_for(size, self._home):
                self._keep(path, self._path(id))
            self._store.write(
                "INSERT INTO cluster_tables (id, owner, name, about, bytes, created) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE "
                "SET name = excluded.name, created = excluded.created",
                (id, owner, name, json.dumps(_about(table)), size, time.time()),
            )
        return self.get(owner, id)

    def read_again(
        self, owner: str, id: str, reading: Reading, stop: threading.Event | None = None
    ) -> KnownTable:
        """The same file read in another way, as a table of another id; the one that was read
        before is deleted, unless data were made of it. Raises as :meth:`bring`, and NotFound."""
        before = self.get(owner, id)
        after = self.bring(owner, before.table.path, before.name, reading, stop)
        if after.id != id:
            self._delete(f"owner = ? AND id = ? AND {_UNUSED}", (owner, id))
        return after

    def get(self, owner: str, id: str) -> KnownTable:
        """Raises NotFound when there is none, it is another's, or its file has vanished."""
        row = self._store.row(
            "SELECT * FROM cluster_tables WHERE id = ? AND owner = ?", (id, owner)
        )
        if row is None or not self._path(row["id"]).is_file():
            raise NotFound("You have no table {id}. Bring it in again.", id=id[:60])
        return self._from_row(row)

    def list(self, owner: str, limit: int = 50) -> builtins.list[KnownTable]:
        """The owner's, those brought in last first."""
        rows = self._store.rows(
            "SELECT * FROM cluster_tables WHERE owner = ? ORDER BY created DESC, number DESC "
            "LIMIT ?",
            (owner, limit),
        )
        return [self._from_row(row) for row in rows]

    def delete(self, owner: str, id: str) -> None:
        """Deletes row and file; data sets that were made of it stay. Raises NotFound."""
        self.get(owner, id)
        self._delete("owner = ? AND id = ?", (owner, id))

    def delete_all(self, owner: str) -> int:
        """Deletes all of an owner's; returns how many there were."""
        return len(self._delete("owner = ?", (owner,)))

    def clean_up(self, dry_run: bool = False) -> Iterator[int]:
        """Deletes what is a week old and no data set is made of, and files that belong to nobody.

        Yields:
            The bytes that were freed by each, or with ``dry_run`` would be.
        """
        oldest = time.time() - KEPT_SECONDS
        for row in self._store.rows("SELECT id FROM cluster_tables WHERE created < ?", (oldest,)):
            yield from self._delete(f"id = ? AND {_UNUSED}", (row["id"],), dry_run)
        with self._lock:
            known = {row["id"] for row in self._store.rows("SELECT id FROM cluster_tables")}
            swept = [*sweep(self._home / FOLDER, known, dry_run)]
        yield from swept

    # --- within -----------------------------------------------------------------------------

    def _path(self, id: str) -> Path:
        return self._home / FOLDER / id

    def _from_row(self, row: sqlite3.Row) -> KnownTable:
        about = json.loads(row["about"])
        table = Table(
            self._path(row["id"]),
            about["format"],
            _layout(about["layout"]),
            about["rows"],
            tuple(map(_column, about["columns"])),
            tuple(tuple(each) for each in about["preview"]),
            tuple(about["left_out"]),
            tuple(map(_guess, about.get("guesses", ()))),
            about.get("short_rows", 0),
            tuple(about.get("passed", ())),
        )
        return KnownTable(row["id"], row["name"], table, row["bytes"], row["created"])

    def _keep(self, source: Path, target: Path) -> None:
        """The bytes of ``source`` under another name, whole or not at all."""
        if target.exists():
            return
        target.parent.mkdir(exist_ok=True)
        part = target.with_name(f".{target.name}.tmp")
        part.unlink(missing_ok=True)
        try:
            try:
                os.link(source, part)
            except OSError:  # not every file system can
                shutil.copyfile(source, part)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)

    def _delete(self, condition: str, values: tuple, dry_run: bool = False) -> builtins.list[int]:
        """Deletes what fits an SQL condition on the table; returns the bytes of each."""
        with self._lock:
            rows = self._store.rows(
                f"SELECT id, bytes FROM cluster_tables WHERE {condition}", values
            )
            for row in rows if not dry_run else ():
                # The row last: should this be cut off, nothing is left behind unseen.
                self._path(row["id"]).unlink(missing_ok=True)
                self._store.write("DELETE FROM cluster_tables WHERE id = ?", (row["id"],))
        return [row["bytes"] for row in rows]


def forget_halves(folder: Path) -> None:
    """Deletes what a studio that was killed was about to write; for the start of another one."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def _about(table: Table) -> dict[str, Any]:
    return {
        "format": table.format,
        "layout": None if table.layout is None else asdict(table.layout),
        "rows": table.rows,
        "columns": [
            asdict(each) | {"doubts": [doubt.to_json() for doubt in each.doubts]}
            for each in table.columns
        ],
        "preview": table.preview,
        "left_out": table.left_out,
        "guesses": [
            asdict(each) | {"doubt": each.doubt and each.doubt.to_json()} for each in table.guesses
        ],
        "short_rows": table.short_rows,
        "passed": [line[:200] for line in table.passed],
    }


def _column(about: dict[str, Any]) -> Column:
    doubts = tuple(Message.from_json(each) for each in about.get("doubts", ()))
    firsts = tuple((written, read) for written, read in about.get("firsts", ()))
    return Column(**{**about, "doubts": doubts, "firsts": firsts})


def _guess(about: dict[str, Any]) -> Guess:
    doubt = about["doubt"] and Message.from_json(about["doubt"])
    return Guess(**{**about, "doubt": doubt, "others": tuple(about["others"])})


def _layout(about: dict[str, Any] | None) -> CsvDialect | None:
    return None if about is None else CsvDialect(**{**about, "names": tuple(about["names"])})


def _check_names(table: Table) -> None:
    for number, column in enumerate(table.columns, 1):
        if len(column.name) > MAX_COLUMN_NAME:
            raise BadRequest(
                "The name of column {number} has {count} characters ({name} …); at most {limit} "
                "are taken. Is the delimiter right, and does the first row have names?",
                number=number,
                count=f"{len(column.name):,}",
                name=repr(column.name[:40]),
                limit=f"{MAX_COLUMN_NAME:,}",
            )


def _readable_name(name: str) -> str:
    """A file's name for people: of a path its end, without control characters."""
    end = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    plain = "".join(each for each in end if each.isprintable())[:MAX_NAME].strip()
    return plain.encode("utf-8", "replace").decode() or "table"
