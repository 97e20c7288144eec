"""What keeps things of owners; how much disk space people take, and how much they may."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipelines.core.errors import Busy
from pipelines.core.sizes import format_bytes
from studio.core.accounts.accounts import is_guest

if TYPE_CHECKING:
    from studio.core.settings import StoredSettings


class Keeper(ABC):
    """A service that keeps things of owners. The quota, the cleaning and the deletion of all that
    an owner has ask every one."""

    @abstractmethod
    def delete_all(self, owner: str) -> int:
        """Deletes all things of an owner's, and nobody else's; returns how many there were.

        Raises:
            BadRequest: a job that has not ended works on one of them.
        """

    def bytes_used(self, owner: str) -> int:
        """The bytes that an owner's things take, which count for the owner's quota."""
        return 0

    def bytes_of_all(self) -> int:
        """The bytes of everybody's things, where they count for the limit of all pictures and
        data."""
        return 0

    def clean_up(self, dry_run: bool = False) -> Iterator[int]:
        """Deletes what can be made again, or is used by nobody any more; yields the bytes that were
        freed by each thing, or would be."""
        yield from ()


class Quota:
    """Counts what all keepers keep.

    Args:
        settings: the limits.
        keepers: who is asked; may be filled later.
    """

    def __init__(self, settings: StoredSettings, keepers: Sequence[Keeper] = ()) -> None:
        self._settings, self.keepers = settings, keepers

    def bytes_used(self, owner: str) -> int:
        """Bytes of all that an owner keeps."""
        return sum(each.bytes_used(owner) for each in self.keepers)

    def bytes_of_all(self) -> int:
        """Bytes of everybody's pictures and data, and of what was made of data."""
        return sum(each.bytes_of_all() for each in self.keepers)

    def check_room(self, owner: str) -> None:
        """Raises Busy when the owner, or everybody together, keeps as much as is allowed."""
        settings = self._settings.current
        if (room := self.room(owner)) is not None and room <= 0:
            raise Busy(
                "Your pictures, LoRAs and trainings take {used}; a guest may keep {limit}. "
                "Delete some first.",
                used=format_bytes(settings.guest_quota_mb * 10**6 - room),
                limit=format_bytes(settings.guest_quota_mb * 10**6),
            )
        limit = settings.outputs_limit_gb * 10**9
        if limit and self.bytes_of_all() >= limit:
            raise Busy(
                "All pictures of this studio together have reached its limit of {limit}. "
                "Delete some, or raise the limit in the settings.",
                limit=format_bytes(limit),
            )

    def room(self, owner: str) -> int | None:
        """Bytes that an owner may still keep; None without a limit of the owner's own."""
        if not is_guest(owner):
            return None
        return self._settings.current.guest_quota_mb * 10**6 - self.bytes_used(owner)
