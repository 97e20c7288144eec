"""Data sets for clustering: everybody's own, asked for by id and never by path.

What a data set is made of can be asked for again and gives the same points, so only those that a
job has used are kept for long; of the others, the last ones.
"""

from __future__ import annotations

import builtins
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.clustering.data.npz_files import FOLDER, Stored, load, path_of, save
from pipelines.clustering.data.sample_data import Dataset
from pipelines.clustering.worker_pool import POOL
from pipelines.core.errors import BadRequest, NotFound
from pipelines.core.messages import Message
from studio.core.cleaning import UPLOADS
from studio.core.gallery.inputs import KEPT_SECONDS
from studio.core.home import room_for, sweep
from studio.core.jobs.job_uses import used_by_jobs
from studio.core.jobs.slots import FairSlots
from studio.core.quota import Keeper, Quota
from studio.features.clustering.data.making import Made, Maker
from studio.features.clustering.data.sources import DrawnSource, Kind, Source, essence, source_of
from studio.features.clustering.data.tables import FOLDER as TABLES
from studio.features.clustering.data.tables import KnownTable, Tables, forget_halves

if TYPE_CHECKING:
    import sqlite3

    import numpy as np

    from studio.core.accounts.accounts import Owner
    from studio.core.gallery.gallery import Gallery
    from studio.core.gallery.inputs import Inputs
    from studio.core.store import Store

AT_ONCE = 2  # data sets that are made; others wait
WAIT_SECONDS = 60.0  # for a turn, before saying that there is none
BUSY = "Other data are being made. Ask for these again in a moment."
# Of those that no job has used, an owner keeps the last so many, of so many bytes together.
KEPT_UNUSED, KEPT_UNUSED_BYTES = 20, 1_000_000_000

_UNUSED = f"NOT {used_by_jobs('cluster_data', 'data')}"
_AT_WORK = used_by_jobs("cluster_data", "data", unfinished=True)


@dataclass(frozen=True, slots=True)
class Known:
    """One data set.

    Attributes:
        id: 32 hexadecimal digits, made of its owner and its source.
        kind: what it was made of.
        title: what it is, in English; of a table, the file's name.
        points: how many rows X has.
        columns: names of the columns of X.
        truth: whether true groups are known.
        source: what it was made of, as JSON; drawn points are not repeated in it.
        notes: what was left out or filled in.
        created: when it was last asked for; seconds since 1970.
        bytes: of the file.
    """

    id: str
    kind: Kind
    title: str
    points: int
    columns: tuple[str, ...]
    truth: bool
    source: dict[str, Any]
    notes: tuple[Message, ...]
    created: float
    bytes: int


class ClusterData(Keeper):
    """Makes, finds and deletes data sets; each method works for one owner only.

    Attributes:
        tables: those that were brought in.

    Args:
        store: the database.
        home: the home folder; data sets lie in ``cluster_data/<id>.npz``.
        gallery: has pictures to make data of.
        inputs: brought-in pictures, likewise.
        cache: the model cache, which has the network that looks at pictures.
        quota: says whether there is room.
    """

    def __init__(
        self,
        store: Store,
        home: Path,
        gallery: Gallery,
        inputs: Inputs,
        cache: Any,
        quota: Quota,
    ) -> None:
        self._store, self._home, self._gallery, self._quota = store, home, gallery, quota
        self.tables = Tables(store, home, quota)
        forget_halves(home / FOLDER)
        # Tables are read, and downloads written, in processes that see nothing else of the home.
        POOL.allow(home / TABLES, home / UPLOADS, compiled=home / "numba")
        self._maker = Maker(self.tables, gallery, inputs, cache, self._of_gallery)
        self._lock = threading.Lock()  # a file and its row come and go together
        self._slots = FairSlots(AT_ONCE, each=AT_ONCE, asked=None, busy=BUSY)

    # --- making -----------------------------------------------------------------------------

    def make(
        self, owner: Owner, source: dict[str, Any], stop: threading.Event | None = None
    ) -> Known:
        """The data set that ``source`` describes; the same one for the same source.

        Of a large table or gallery it takes seconds: call it in a thread.

        Args:
            source: ``kind`` and what belongs to it; see
                :mod:`studio.features.clustering.data.sources`.

        Raises:
            BadRequest: it describes none; the sentence names the field and the limit.
            NotFound: the table or picture is not the owner's.
            Busy: the owner keeps as much as is allowed, or others' data took all turns for a
                minute.
            DiskFull: there is no room for the file.
            Stopped: ``stop`` was set.
        """
        wanted = source_of(source)
        id = _id(owner.id, wanted, self._maker.state(owner.id, wanted))
        if (known := self._refresh(owner.id, id)) is not None:
            return known
        self._quota.check_room(owner.id)
        with self._slots.take(owner.id, WAIT_SECONDS, stop):
            if (known := self._refresh(owner.id, id)) is not None:
                return known
            made = self._maker.make(owner.id, wanted, stop)
            if made.stored.pictures is not None:  # perhaps not all: asking again goes on
                id = _id(owner.id, wanted, list(made.stored.pictures))
            kept = wanted.model_dump(mode="json")
            if isinstance(wanted, DrawnSource):
                del kept["points"]
            self._keep(owner.id, id, wanted.kind, made, kept)
        self._trim(owner.id)
        return self.get(owner.id, id)

    def _refresh(self, owner_id: str, id: str) -> Known | None:
        with self._lock:
            self._store.write(
                "UPDATE cluster_data SET created = ? WHERE id = ? AND owner = ?",
                (time.time(), id, owner_id),
            )
        try:
            return self.get(owner_id, id)
        except NotFound:
            return None

    def _keep(self, owner_id: str, id: str, kind: Kind, made: Made, source: dict) -> None:
        stored = made.stored
        data = stored.data
        with self._lock:
            with room_for(data.X.nbytes, self._home):
                size = save(self._path(id), stored)
            self._store.write(
                "INSERT INTO cluster_data (id, owner, kind, title, points, columns, truth, "
                "source, notes, bytes, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET created = excluded.created, bytes = excluded.bytes",
                (
                    id,
                    owner_id,
                    kind,
                    data.title,
                    len(data.X),
                    json.dumps(data.columns),
                    data.truth is not None,
                    json.dumps(source),
                    json.dumps([note.to_json() for note in made.notes]),
                    size,
                    time.time(),
                ),
            )

    def _trim(self, owner_id: str) -> None:
        """Deletes what no job has used but for the last ones."""
        rows = self._store.rows(
            f"SELECT id, bytes FROM cluster_data WHERE owner = ? AND {_UNUSED} "
            "ORDER BY created DESC, number DESC",
            (owner_id,),
        )
        together = 0
        for place, row in enumerate(rows):
            together += row["bytes"]
            if place and (place >= KEPT_UNUSED or together > KEPT_UNUSED_BYTES):
                self._delete(f"owner = ? AND id = ? AND {_UNUSED}", (owner_id, row["id"]))

    # --- finding ----------------------------------------------------------------------------

    def get(self, owner_id: str, id: str) -> Known:
        """Raises NotFound when there is none, it is another's, or its file has vanished."""
        row = self._store.row(
            "SELECT * FROM cluster_data WHERE id = ? AND owner = ?", (id, owner_id)
        )
        if row is None or not self._path(row["id"]).is_file():
            raise NotFound("You have no data set {id}. Make it again.", id=id[:60])
        return _from_row(row)

    def load_stored(self, owner_id: str, id: str) -> Stored:
        """All that is kept of a data set; raises NotFound as :meth:`get` does."""
        return load(self._path(self.get(owner_id, id).id))

    def dataset(self, owner_id: str, id: str) -> Dataset:
        """The points; raises NotFound as :meth:`get` does."""
        return self.load_stored(owner_id, id).data

    def rows(self, owner_id: str, id: str) -> np.ndarray | None:
        """(n,) int64: the row of the table (from 0), or the number of the picture's pixel (row by
        row), of each point; None where points come from neither. Raises as :meth:`get`."""
        return self.load_stored(owner_id, id).rows

    def pictures(self, owner_id: str, id: str) -> builtins.list[str | None]:
        """The ids of the gallery's pictures that the points stand for, None for one that has been
        deleted since; empty where points are no pictures. Raises as :meth:`get`."""
        ids = self.load_stored(owner_id, id).pictures or ()
        there = set(self._gallery.ids(owner_id))
        return [each if each in there else None for each in ids]

    def _of_gallery(self, owner_id: str) -> Stored | None:
        """The owner's data set of the gallery with the most pictures."""
        row = self._store.row(
            "SELECT id FROM cluster_data WHERE owner = ? AND kind = 'gallery' "
            "ORDER BY points DESC, number DESC LIMIT 1",
            (owner_id,),
        )
        try:
            return None if row is None else self.load_stored(owner_id, row["id"])
        except NotFound:
            return None

    def table(self, owner_id: str, table_id: str) -> KnownTable:
        """A table; raises NotFound when there is none, or it is another's."""
        return self.tables.get(owner_id, table_id)

    def list(self, owner_id: str, limit: int = 50) -> builtins.list[Known]:
        """The owner's, those asked for last first."""
        rows = self._store.rows(
            "SELECT * FROM cluster_data WHERE owner = ? ORDER BY created DESC, number DESC LIMIT ?",
            (owner_id, limit),
        )
        return [_from_row(row) for row in rows]

    # --- deleting ---------------------------------------------------------------------------

    def delete(self, owner_id: str, id: str) -> None:
        """Deletes row and file.

        Raises:
            NotFound: there is none, or it is another's.
            BadRequest: a job that has not ended works on it.
        """
        self.get(owner_id, id)
        if not self._delete(f"owner = ? AND id = ? AND NOT {_AT_WORK}", (owner_id, id)):
            raise BadRequest(
                "A job that is waiting or running works on this data. "
                "Cancel it first, or wait for its end."
            )

    def delete_all(self, owner_id: str) -> int:
        """Deletes all of an owner's, tables among them, but for what a job that has not ended works
        on; returns how many that were."""
        deleted = self._delete(f"owner = ? AND NOT {_AT_WORK}", (owner_id,))
        return len(deleted) + self.tables.delete_all(owner_id)

    def bytes_used(self, owner: str) -> int:
        """Bytes of an owner's data and tables."""
        return self._bytes(owner)

    def bytes_of_all(self) -> int:
        """Bytes of everybody's data and tables."""
        return self._bytes(None)

    def _bytes(self, owner: str | None) -> int:
        tables = ("cluster_tables", "cluster_data")
        return sum(self._store.sum_of("bytes", table, owner) for table in tables)

    def clean_up(self, dry_run: bool = False) -> Iterator[int]:
        """Deletes what nobody has asked for in a week and no job has used, tables among them, and
        files that belong to nobody.

        Yields:
            The bytes that were freed by each, or with ``dry_run`` would be.
        """
        oldest = time.time() - KEPT_SECONDS
        for row in self._store.rows("SELECT id FROM cluster_data WHERE created < ?", (oldest,)):
            yield from self._delete(f"id = ? AND {_UNUSED}", (row["id"],), dry_run)
        with self._lock:
            known = {row["id"] for row in self._store.rows("SELECT id FROM cluster_data")}
            swept = [*sweep(self._home / FOLDER, known, dry_run)]
        yield from swept
        yield from self.tables.clean_up(dry_run)

    # --- within -----------------------------------------------------------------------------

    def _path(self, id: str) -> Path:
        return path_of(self._home / FOLDER, id)

    def _delete(self, condition: str, values: tuple, dry_run: bool = False) -> builtins.list[int]:
        """Deletes what fits an SQL condition on the table; returns the bytes of each."""
        with self._lock:
            rows = self._store.rows(f"SELECT id, bytes FROM cluster_data WHERE {condition}", values)
            for row in rows if not dry_run else ():
                # The row last: should this be cut off, nothing is left behind unseen.
                self._path(row["id"]).unlink(missing_ok=True)
                self._store.write("DELETE FROM cluster_data WHERE id = ?", (row["id"],))
        return [row["bytes"] for row in rows]


def _id(owner_id: str, source: Source, state: Any) -> str:
    text = json.dumps([owner_id, essence(source), state], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _from_row(row: sqlite3.Row) -> Known:
    values = {name: row[name] for name in Known.__slots__}
    values["columns"] = tuple(json.loads(row["columns"]))
    values["truth"] = bool(row["truth"])
    values["source"] = json.loads(row["source"])
    values["notes"] = tuple(Message.from_json(each) for each in json.loads(row["notes"]))
    return Known(**values)
