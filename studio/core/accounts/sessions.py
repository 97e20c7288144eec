"""What a browser carries along to be known by: signed cookies, which can be ended."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from studio.core.store import Store

SESSION_SECONDS = 30 * 24 * 3600
FEW = 1000  # ended sessions among which it is not worth looking for old ones
DEVICE_SECONDS = 365 * 24 * 3600

Kind = Literal["session", "device"]


class Signer:
    """Writes claims as signed text, and reads those back that it has signed.

    Args:
        secret: 32 bytes; keeping them keeps what was signed valid over a restart.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, kind: Kind, claims: dict[str, Any]) -> str:
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        return f"{payload}.{self._signature(kind, payload)}"

    def read(self, kind: Kind, text: str | None) -> dict[str, Any] | None:
        """The claims of a text that was signed here as this kind, however old; else None."""
        payload, _, signature = (text or "").partition(".")
        expected = self._signature(kind, payload)
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            return None
        return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))

    def _signature(self, kind: Kind, payload: str) -> str:
        return hmac.new(self._secret, f"{kind}:{payload}".encode(), "sha256").hexdigest()


class EndedSessions:
    """The cookies that prove nothing any more although they are signed: somebody logged out.

    Args:
        store: keeps them over a restart; None: in memory only.
    """

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._until: dict[bytes, float] = {}
        if store is not None:
            rows = store.rows("SELECT * FROM ended_sessions")
            self._until = {row["digest"]: row["until"] for row in rows}
        self._forget_old()

    def __contains__(self, cookie: str) -> bool:
        return _digest(cookie) in self._until

    def add(self, cookie: str, until: float) -> None:
        """Ends a session whose cookie would be valid ``until`` then (seconds since 1970)."""
        digest = _digest(cookie)
        with self._lock:
            self._until[digest] = until
            double = len(self._until) > 2 * self._newer
        if double:
            self._forget_old()
        if self._store is not None:
            self._store.write(
                "INSERT OR IGNORE INTO ended_sessions (digest, until) VALUES (?, ?)",
                (digest, until),
            )

    def _forget_old(self) -> None:
        """Forgets those whose cookies have run out by themselves."""
        now = time.time()
        with self._lock:
            self._until = {digest: until for digest, until in self._until.items() if until >= now}
            self._newer = max(FEW, len(self._until))
        if self._store is not None:
            self._store.write("DELETE FROM ended_sessions WHERE until < ?", (now,))


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).digest()
