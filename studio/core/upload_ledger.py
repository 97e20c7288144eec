"""Whose uploads are on the disk and on their way, so that nobody's fill it or keep others' out.

Room is reserved before anything is written. What nobody waits for any more goes: a file that a tab
has read, and the half of one whose line has broken.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.core.errors import Busy
from pipelines.core.sizes import format_bytes

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner

MAX_WAITING_FILES = 300  # of one owner: no tab takes more at a time
MAX_WAITING_BYTES = 2_000_000_000  # of one owner who is no guest
MANY_OWNERS = 500  # of whom files are remembered before those that are gone are looked for
FREE_BYTES = 500_000_000  # of the disk stay free for pictures and the database


class Reservation:
    """Room for one upload that is on its way.

    Attributes:
        files: what it is written to until it is whole; deleted at its end where still there.
    """

    def __init__(self, ledger: UploadLedger, owner: Owner) -> None:
        self._ledger, self._owner = ledger, owner
        self.reserved = self.arrived = 0
        self.files: list[Path] = []

    def grow(self, size: int) -> None:
        """Reserves room for ``size`` bytes in all; raises Busy where there is none."""
        if size > self.reserved:
            self._ledger._reserve(self._owner, size - self.reserved)
            self.reserved = size

    def take(self, count: int) -> None:
        """Counts bytes that have arrived; raises Busy where nobody has said that they would."""
        self.arrived += count
        self.grow(self.arrived)


# The upload that is being read by the task that asks.
arriving: ContextVar[Reservation | None] = ContextVar("arriving", default=None)


class UploadLedger:
    """Knows every upload of the page that no tab has taken yet, and who sends one now.

    Args:
        folder: where Gradio keeps uploads.
        room: how many bytes an owner may still bring in, what is on the disk already counted; None
            for no limit of the owner's own.
    """

    def __init__(self, folder: Path, room: Callable[[Owner], int | None]) -> None:
        self._folder, self._room = folder, room
        self._lock = threading.Lock()
        self._files: dict[str, set[Path]] = {}  # owner id → what has arrived
        self._many = MANY_OWNERS
        self._reserved: Counter[str] = Counter()

    def count_waiting(self, owner_id: str) -> tuple[int, int]:
        """Number and bytes of an owner's files that have arrived and not been taken yet."""
        sizes: list[int] = []
        for path in list(self._files.get(owner_id, ())):
            try:
                sizes.append(path.stat().st_size)
            except OSError:  # a tab has taken it
                with self._lock:
                    files = self._files.get(owner_id, set())
                    files.discard(path)
                    if not files:
                        self._files.pop(owner_id, None)
        return len(sizes), sum(sizes)

    @contextmanager
    def receive(self, owner: Owner, announced: int) -> Iterator[Reservation]:
        """Room for an upload inside; what has come of one that breaks off is deleted.

        Args:
            announced: its length as its sender says, 0 where that is not said.

        Raises:
            Busy: there is no room.
        """
        reservation = Reservation(self, owner)
        reservation.grow(announced)
        try:
            yield reservation
        finally:
            for path in reservation.files:
                with contextlib.suppress(OSError):  # it was whole, and moved
                    path.unlink()
            with self._lock:
                self._reserved[owner.id] -= reservation.reserved
                if not self._reserved[owner.id]:
                    del self._reserved[owner.id]

    def enter(self, owner: Owner, paths: list[Path]) -> None:
        """Notes the files that have arrived of an upload."""
        with self._lock:
            if len(self._files) >= self._many:  # guests come and go
                self._files = {
                    id: files
                    for id, files in self._files.items()
                    if any(path.exists() for path in files)
                }
                self._many = max(MANY_OWNERS, 2 * len(self._files))
            self._files.setdefault(owner.id, set()).update(paths)

    def holds(self, owner: Owner, path: Path) -> bool:
        """Whether a file, named as the upload was answered, is the owner's and still there."""
        with self._lock:
            return path in self._files.get(owner.id, ()) and path.is_file()

    def _reserve(self, owner: Owner, size: int) -> None:
        count, waiting = self.count_waiting(owner.id)
        if count >= MAX_WAITING_FILES:
            raise Busy(
                "{count} of your files have been uploaded and not been used yet; {limit} are "
                "allowed. Use or remove some first.",
                count=count,
                limit=MAX_WAITING_FILES,
            )
        room = self._room(owner)
        limit = MAX_WAITING_BYTES if room is None else max(0, min(room, MAX_WAITING_BYTES))
        with self._lock:
            free = shutil.disk_usage(self._folder.parent).free - self._reserved.total()
            if free - size < FREE_BYTES:
                raise Busy(
                    "The disk of this studio is nearly full, and {size} more do not fit. The host "
                    "can make room by “Clean up” in the settings.",
                    size=format_bytes(size),
                )
            taken = waiting + self._reserved[owner.id]
            if taken + size > limit:
                raise Busy(
                    "There is room for {room} more of yours, and this upload has {size}. Delete "
                    "some pictures, photos or LoRAs first, or wait for other uploads to end.",
                    room=format_bytes(max(0, limit - taken)),
                    size=format_bytes(size),
                )
            self._reserved[owner.id] += size
