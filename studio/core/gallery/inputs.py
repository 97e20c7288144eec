"""Pictures that people bring in or draw: everybody's own, asked for by id and never by path.

What lies in ``inputs/`` was decoded and encoded again, so there is nothing in it but pixels and how
opaque they were. A row says whose it is; a picture of another's is not found, as if it were not
there.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from pipelines.core.engine import Use
from pipelines.core.errors import BadRequest, NotFound
from pipelines.core.messages import Message
from pipelines.core.pictures.inputs import FOLDER, input_path, keep_input, open_input
from pipelines.core.pictures.uploads import (
    count_frames,
    is_hdr,
    open_upload,
    plain,
    plain_mask,
    transparent_parts,
    upright_alpha,
)
from pipelines.diffusion.control.conditions import forget_maps
from studio.core.home import room_for, sweep
from studio.core.jobs.job_uses import is_at_work, used_by_jobs
from studio.core.quota import Keeper, Quota

if TYPE_CHECKING:
    import sqlite3

    from studio.core.gallery.gallery import Gallery
    from studio.core.store import Store

MAX_SIDE = 2048  # pixels: no picture that is painted here is larger
KEPT_SECONDS = 7 * 24 * 3600.0  # what no job has used for so long is cleaned up

# No job of the same owner uses it, nor is a data set made of it.
_UNUSED = (
    f"NOT {used_by_jobs('inputs', 'input')} "
    "AND NOT EXISTS (SELECT 1 FROM cluster_data WHERE cluster_data.owner = inputs.owner "
    "AND made_of = inputs.id)"
)


_HDR_NOTE = Message(
    "This is an HDR picture: its colours were brought to those of ordinary screens, and what is "
    "brighter than white was darkened."
)


_FLEETING = ("notes", "alpha")  # attributes that are not in the database


@dataclass(frozen=True, slots=True)
class Input:
    """One picture that somebody has brought in.

    Attributes:
        id: made of its owner and its pixels.
        width, height: pixels.
        bytes: of the PNG.
        created: when it was last brought in; seconds since 1970.
        notes: what was changed of it, just after it was brought in.
        alpha: id of a mask of its transparent parts, just after it was brought in; None: it has
            none.
    """

    id: str
    width: int
    height: int
    bytes: int
    created: float
    notes: tuple[Message, ...] = ()
    alpha: str | None = None


class Inputs(Keeper):
    """Keeps, finds, serves and deletes brought-in pictures; each method works for one owner only.

    Args:
        store: the database.
        home: the home folder; pictures lie in ``inputs/<id>.png``.
        gallery: has pictures to bring in.
        quota: says whether there is room.
    """

    def __init__(self, store: Store, home: Path, gallery: Gallery, quota: Quota) -> None:
        self._store, self._home, self._gallery, self._quota = store, home, gallery, quota
        self._lock = threading.Lock()  # a file and its row come and go together

    # --- bringing in ------------------------------------------------------------------------

    def bring(
        self, owner: str, data: bytes, instead_of: str | None = None, is_mask: bool = False
    ) -> Input:
        """Keeps an uploaded file's pixels, scaled down to 2048 pixels where a side is longer.

        What is transparent becomes white, and a mask of it is kept besides; how opaque it was is
        kept with it, for other backgrounds. Of a file that moves the first frame is kept.

        Args:
            owner: whose it is from now on.
            data: a PNG, JPEG or WEBP.
            instead_of: id of the owner's that this one takes the place of, such as a drawing
                without its newest line; it is deleted, unless a job has used it.
            is_mask: it says where a picture is to change: where it is opaque if it has transparent
                parts, else where it is bright.

        Raises:
            BadRequest: it is no such file, too large, or damaged.
            Busy: the owner keeps as much as is allowed.
            DiskFull: there is no room for the file.
        """
        self._quota.check_room(owner)
        opened = open_upload(data)
        size, alpha = opened.size, None
        if not is_mask and (holes := transparent_parts(opened)) is not None:
            alpha = self._keep(owner, holes).id
        if is_mask:
            kept = self._keep(owner, plain_mask(opened))
        else:
            kept = self._keep(owner, plain(opened), upright_alpha(opened))
        if instead_of is not None and instead_of != kept.id:
            self._delete(f"owner = ? AND id = ? AND {_UNUSED}", (owner, instead_of))
        return replace(kept, notes=tuple(_notes_on(opened, size, kept)), alpha=alpha)

    def from_gallery(self, owner: str, picture_id: str) -> Input:
        """Keeps a copy of a picture of the owner's gallery.

        Raises:
            NotFound: there is none, or it is another's.
            Unavailable: its file is damaged.
            Busy, DiskFull: as for :meth:`bring`.
        """
        self._gallery.path(owner, picture_id)
        self._quota.check_room(owner)
        picture = self._gallery.open(owner, picture_id)
        size = picture.size
        kept = self._keep(owner, picture)
        return replace(kept, notes=tuple(_notes_on_size(size, kept)))

    def _keep(self, owner: str, picture: Image.Image, alpha: Image.Image | None = None) -> Input:
        if alpha is not None and alpha.getextrema()[0] == 255:
            alpha = None
        for each in (picture, alpha):
            if each is not None:  # each by itself: together their edges would be mixed anew
                each.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
        with self._lock:
            channels = 3 if alpha is None else 4
            with room_for(channels * picture.width * picture.height, self._home):
                id = keep_input(self._home, owner, picture, alpha)
            size = input_path(self._home, id).stat().st_size
            self._store.write(
                "INSERT INTO inputs (id, owner, width, height, bytes, created) "
                "VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET created = excluded.created",
                (id, owner, *picture.size, size, time.time()),
            )
        return self.get(owner, id)

    # --- finding ----------------------------------------------------------------------------

    def get(self, owner: str, id: str) -> Input:
        """Raises NotFound when there is none, it is another's, or its file has vanished."""
        row = self._store.row("SELECT * FROM inputs WHERE id = ? AND owner = ?", (id, owner))
        if row is None or not input_path(self._home, row["id"]).is_file():
            raise NotFound("You have no brought-in picture {id}. Bring it in again.", id=id[:60])
        return _input(row)

    def list(self, owner: str, limit: int = 50) -> list[Input]:
        """The owner's, those brought in last first."""
        rows = self._store.rows(
            "SELECT * FROM inputs WHERE owner = ? ORDER BY created DESC, number DESC LIMIT ?",
            (owner, limit),
        )
        return [_input(row) for row in rows]

    def path(self, owner: str, id: str) -> Path:
        """The PNG's path, for serving it; raises NotFound as :meth:`get` does."""
        return input_path(self._home, self.get(owner, id).id)

    def open(self, owner: str, id: str) -> Image.Image:
        """The picture, RGB; raises NotFound as :meth:`get` does."""
        return open_input(self._home, self.get(owner, id).id)

    # --- deleting ---------------------------------------------------------------------------

    def delete(self, owner: str, id: str) -> None:
        """Deletes row, file and the maps made of it.

        Raises:
            NotFound: there is none, or it is another's.
            BadRequest: a job that has not ended follows it.
        """
        self.get(owner, id)
        if is_at_work(self._store, owner, Use("input", id)):
            raise BadRequest(
                "A job that is waiting or running follows this picture. "
                "Cancel it first, or wait for its end."
            )
        self._delete("owner = ? AND id = ?", (owner, id))

    def delete_several(self, owner: str, ids: Sequence[str]) -> int:
        """Deletes those of an owner's that are still there; returns how many were."""
        named = "owner = ? AND id IN (SELECT value FROM json_each(?))"
        return len(self._delete(named, (owner, json.dumps(list(ids)))))

    def delete_all(self, owner: str) -> int:
        """Deletes all of an owner's; returns how many there were."""
        return len(self._delete("owner = ?", (owner,)))

    def bytes_used(self, owner: str) -> int:
        """Bytes of an owner's brought-in pictures."""
        return self._store.sum_of("bytes", "inputs", owner)

    def bytes_of_all(self) -> int:
        """Bytes of everybody's brought-in pictures."""
        return self._store.sum_of("bytes", "inputs", None)

    def clean_up(self, dry_run: bool = False) -> Iterator[int]:
        """Deletes what nobody has used for a week, all maps, and files that belong to nobody.

        A picture that a job of its owner's names has been used: the job can be sent again.

        Yields:
            The bytes that were freed by each, or with ``dry_run`` would be.
        """
        oldest = time.time() - KEPT_SECONDS
        for row in self._store.rows("SELECT id FROM inputs WHERE created < ?", (oldest,)):
            yield from self._delete(f"id = ? AND {_UNUSED}", (row["id"],), dry_run)
        with self._lock:
            known = {row["id"] for row in self._store.rows("SELECT id FROM inputs")}
            swept = [*sweep(self._home / FOLDER, known, dry_run)]
        yield from swept
        yield forget_maps(self._home, dry_run=dry_run)

    def _delete(self, condition: str, values: tuple, dry_run: bool = False) -> list[int]:
        """Deletes what fits an SQL condition on the table; returns the bytes of each."""
        with self._lock:
            rows = self._store.rows(f"SELECT * FROM inputs WHERE {condition}", values)
            for row in rows if not dry_run else ():
                # The row last: should this be cut off, nothing is left behind unseen.
                forget_maps(self._home, row["id"])
                input_path(self._home, row["id"]).unlink(missing_ok=True)
                self._store.write("DELETE FROM inputs WHERE id = ?", (row["id"],))
        return [row["bytes"] for row in rows]


def _notes_on(opened: Image.Image, size: tuple[int, int], kept: Input) -> Iterator[Message]:
    """What was changed of a file; ``size``: of its pixels, as they lie in it."""
    if (count := count_frames(opened)) > 1:
        yield Message("The file moves: the first of its {count} frames was taken.", count=count)
    if is_hdr(opened):
        yield _HDR_NOTE
    yield from _notes_on_size(size, kept)


def _notes_on_size(size: tuple[int, int], kept: Input) -> Iterator[Message]:
    """What is said of a picture that had ``size`` pixels before it was kept."""
    if max(size) > MAX_SIDE:
        yield Message(
            "The picture was made smaller, from {was} to {width}×{height} pixels: larger ones "
            "are not painted here.",
            was="×".join(map(str, sorted(size, reverse=kept.width >= kept.height))),
            width=kept.width,
            height=kept.height,
        )


def _input(row: sqlite3.Row) -> Input:
    return Input(**{name: row[name] for name in Input.__slots__ if name not in _FLEETING})
