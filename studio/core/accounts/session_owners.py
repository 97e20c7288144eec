"""The owners of the page's sessions and uploads: each belongs to the owner who began it.

The page's script makes up their names. Who learns that of somebody else's page reads and sends
nothing by it.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict

REMEMBERED = 5000  # sessions
MAX_NAME = 100  # characters that tell sessions apart; the page's own names are shorter


class SessionOwners:
    """Remembers who has begun which of the page's sessions.

    Where they become too many, who has most forgets the one used longest ago: who begins thousands
    has no page of others forgotten, which could then be claimed.
    """

    def __init__(self) -> None:
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._counts: Counter[str] = Counter()  # of sessions, by owner
        self._lock = threading.Lock()

    def claim(self, session: str, owner_id: str) -> bool:
        """Whether a session is the owner's, who begins it now where nobody has yet."""
        session = session[:MAX_NAME]
        with self._lock:
            if session not in self._owners:
                self._owners[session] = owner_id
                self._counts[owner_id] += 1
            self._owners.move_to_end(session)
            owner = self._owners[session]
            while len(self._owners) > REMEMBERED:
                self._forget_one()
        return owner == owner_id

    def owns(self, session: str, owner_id: str) -> bool:
        """Whether the owner has begun a session."""
        with self._lock:
            return self._owners.get(session[:MAX_NAME]) == owner_id

    def _forget_one(self) -> None:
        ((owner, _),) = self._counts.most_common(1)
        del self._owners[next(each for each, whose in self._owners.items() if whose == owner)]
        self._counts[owner] -= 1
        if not self._counts[owner]:
            del self._counts[owner]
