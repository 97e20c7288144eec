"""Whose page is whose: a page's session is the owner's who has begun it.

The page's script makes up the session's name. Who learns that of somebody else's page reads and
sends nothing by it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

REMEMBERED = 5000  # sessions; the one used longest ago is forgotten first


class SessionOwners:
    """Remembers who has begun which of the page's sessions."""

    def __init__(self) -> None:
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def claim(self, session: str, owner_id: str) -> bool:
        """Whether a session is the owner's, who begins it now where nobody has yet."""
        with self._lock:
            owner = self._owners.setdefault(session, owner_id)
            self._owners.move_to_end(session)
            while len(self._owners) > REMEMBERED:
                self._owners.popitem(last=False)
        return owner == owner_id
