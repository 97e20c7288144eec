"""How many answers may be written at a time, by one owner and by all."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator

from pipelines.core.errors import Busy, Unavailable
from studio.core.accounts.accounts import is_guest

MAX_ANSWERS = 32  # unfinished, of everybody
MAX_OF_GUEST, MAX_OF_OWNER = 3, 16


class AnswerSlots:
    """Taken while an answer is unfinished."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        self._closed = False

    def take(self, owner: str) -> None:
        """Takes a place, to be given back.

        Raises:
            Busy: the owner has, or all together have, as many as are allowed.
            Unavailable: the studio is closing.
        """
        limit = MAX_OF_GUEST if is_guest(owner) else MAX_OF_OWNER
        with self._lock:
            if self._closed:
                raise Unavailable("The studio is closing. Try again when it runs.")
            if (mine := self._taken[owner]) >= limit:
                raise Busy(
                    "{count} answers are being written for you; {limit} are allowed at a time. "
                    "Wait for one to end, or stop one.",
                    count=mine,
                    limit=limit,
                )
            if (total := self._taken.total()) >= MAX_ANSWERS:
                raise Busy(
                    "{count} answers are being written in this studio; {limit} are allowed at a "
                    "time. Try again in a moment.",
                    count=total,
                    limit=MAX_ANSWERS,
                )
            self._taken[owner] += 1

    def give_back(self, owner: str) -> None:
        with self._lock:
            self._taken[owner] -= 1
            self._taken += Counter()  # forgets those who have none

    @contextlib.contextmanager
    def take_or_give_back(self, owner: str) -> Iterator[None]:
        """Takes a place, and gives it back only when what is inside fails."""
        self.take(owner)
        try:
            yield
        except BaseException:
            self.give_back(owner)
            raise

    def close(self) -> None:
        """Gives no more places."""
        with self._lock:
            self._closed = True
