"""Keys for the API: made by a host, shown once, kept as a digest.

``python -m studio.keys make NAME`` makes one, ``list`` shows them and ``revoke ID`` ends one,
also while the studio runs: it sees the change at its next request.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import sqlite3
import time
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, field_validator

from pipelines.core.engine import StrictModel
from pipelines.core.errors import NotFound, Refused, UserError, validate
from studio.core.accounts.accounts import NotLoggedIn, Owner
from studio.core.accounts.rate_limits import Minute
from studio.core.settings import StoredSettings
from studio.core.store import Store

PREFIX = "sk-atelier-"
ENDING = 4  # characters of a key that are kept, to tell keys apart
MAX_TOKEN = 200  # characters of what is looked up at all
USED_SECONDS = 60.0  # between two writes of when a key was last used
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key; not the key.

    Attributes:
        number: order of arrival.
        id: names it when it is revoked.
        owner: id of whom its requests belong to.
        name: what its maker calls it.
        ending: its last four characters.
        requests_per_minute, tokens_per_minute: None is what the settings say, 0 no limit.
        created, used, revoked: seconds since 1970, or None.
    """

    number: int
    id: str
    owner: str
    name: str
    ending: str
    requests_per_minute: int | None
    tokens_per_minute: int | None
    created: float
    used: float | None
    revoked: float | None


class KeyRequest(StrictModel):
    """What is asked for when a key is made."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=80,
            title="Name of the key",
            description="What will use it, to tell it from others.",
        ),
    ]
    requests_per_minute: Annotated[
        int | None,
        Field(
            ge=0,
            le=1_000_000,
            title="Requests per minute",
            description="Empty: as the settings say; 0 is no limit.",
        ),
    ] = None
    tokens_per_minute: Annotated[
        int | None,
        Field(
            ge=0,
            le=1_000_000_000,
            title="Tokens per minute",
            description="Empty: as the settings say; 0 is no limit.",
        ),
    ] = None

    @field_validator("name", mode="before")
    @classmethod
    def _one_line(cls, name: str) -> str:
        return " ".join(name.split()) if isinstance(name, str) else name


class Keys:
    """The keys of one studio.

    Args:
        store: the database.
        settings: limits of the keys that have none of their own.
    """

    def __init__(self, store: Store, settings: StoredSettings) -> None:
        self._store, self._settings = store, settings
        self._minute = Minute()

    # --- what hosts do ----------------------------------------------------------------------

    def make(
        self,
        owner: Owner,
        name: str,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> tuple[ApiKey, str]:
        """Makes a key; returns what is kept of it, and the key itself, for this once.

        Raises:
            Refused: the owner is no host.
            BadRequest: the name or a limit cannot be used.
        """
        if not owner.is_host:
            raise Refused("Only the host makes keys for the API.")
        asked = validate(
            KeyRequest,
            {
                "name": name,
                "requests_per_minute": requests_per_minute,
                "tokens_per_minute": tokens_per_minute,
            },
        )
        token = PREFIX + secrets.token_urlsafe(32)
        key_id = secrets.token_hex(6)  # never begins with a dash, as a flag does
        self._store.write(
            "INSERT INTO api_keys (id, owner, name, digest, ending, requests_per_minute, "
            "tokens_per_minute, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key_id,
                owner.id,
                asked.name,
                _digest(token),
                token[-ENDING:],
                asked.requests_per_minute,
                asked.tokens_per_minute,
                time.time(),
            ),
        )
        row = self._store.row("SELECT * FROM api_keys WHERE id = ?", (key_id,))
        return _key(row), token

    def list(self, owner: str) -> list[ApiKey]:
        """The owner's keys, newest first, revoked ones included."""
        return [each for each in self.all_keys() if each.owner == owner]

    def all_keys(self) -> list[ApiKey]:
        """All keys, newest first: for the host of the machine."""
        return [
            _key(row) for row in self._store.rows("SELECT * FROM api_keys ORDER BY number DESC")
        ]

    def revoke(self, owner: str, key_id: str) -> ApiKey:
        """Ends a key for good; no error if it has ended.

        Raises:
            NotFound: there is no such key of the owner's.
        """
        key = next((each for each in self.list(owner) if each.id == key_id), None)
        if key is None:
            raise NotFound("You have no API key {id}.", id=str(key_id)[:60])
        self._store.write(
            "UPDATE api_keys SET revoked = ? WHERE id = ? AND revoked IS NULL",
            (time.time(), key.id),
        )
        self._minute.drop(key.id)
        return next(each for each in self.list(owner) if each.id == key_id)

    # --- what the API does ------------------------------------------------------------------

    def owner_of_key(self, token: str) -> ApiKey:
        """The key that ``token`` is; its ``owner`` is whom the request belongs to.

        Raises:
            NotLoggedIn: it is none, or was revoked.
        """
        digest = _digest(token[:MAX_TOKEN])
        # The time of a look-up by digest tells something about the digest of a guess alone, which
        # leads to no key; what is found is compared in constant time.
        row = self._store.row("SELECT * FROM api_keys WHERE digest = ?", (digest,))
        right = hmac.compare_digest(digest, row["digest"] if row else bytes(len(digest)))
        if row is None or not right or row["revoked"] is not None:
            raise NotLoggedIn("This API key is wrong, or was revoked.")
        key, now = _key(row), time.time()
        if key.used is None or now - key.used >= USED_SECONDS:
            try:
                self._store.write("UPDATE api_keys SET used = ? WHERE id = ?", (now, key.id))
            except (UserError, sqlite3.OperationalError):  # a full disk does not keep anyone out
                _log.exception("when a key was last used could not be written")
        return key

    def check_request(self, key: ApiKey) -> None:
        """Counts one request of a key's.

        Raises:
            Busy: the key has asked for as much as it may; says the seconds until it is free.
        """
        settings = self._settings.current
        requests, tokens = key.requests_per_minute, key.tokens_per_minute
        self._minute.request(
            key.id,
            settings.key_requests_per_minute if requests is None else requests,
            settings.key_tokens_per_minute if tokens is None else tokens,
        )

    def count_tokens(self, key: ApiKey, count: int) -> None:
        """Counts tokens that a request has read and written."""
        self._minute.tokens(key.id, count)


def _digest(token: str) -> bytes:
    """SHA-256 of a key.

    A slow hash such as scrypt guards passwords, of which there are few enough to try them all. A
    key has 256 random bits: nobody tries those, however fast a try is; and each request needs one.
    """
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _key(row: sqlite3.Row) -> ApiKey:
    return ApiKey(**{name: row[name] for name in ApiKey.__slots__})
