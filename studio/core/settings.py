"""What the owner of the machine can set for the whole studio, kept in the database."""

from __future__ import annotations

import json
import threading
from typing import Annotated, Any

from pydantic import Field

from pipelines.core.engine import StrictModel
from pipelines.core.errors import validate
from studio.core.store import Store


class Settings(StrictModel):
    """Field titles and descriptions are the page's labels and help texts."""

    save_metadata: Annotated[
        bool,
        Field(
            title="Settings inside the picture",
            description="Write prompt and settings into each PNG, as A1111 does.",
        ),
    ] = True
    queue_limit: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            title="Queue limit",
            description="How many jobs one person may have waiting or running.",
        ),
    ] = 20
    guest_quota_mb: Annotated[
        int,
        Field(
            ge=1,
            le=1_000_000,
            title="Guest quota (MB)",
            description="How much disk space one guest's pictures, LoRAs and trainings may take.",
        ),
    ] = 500
    outputs_limit_gb: Annotated[
        float,
        Field(
            ge=0,
            le=1_000_000,
            title="Limit of all pictures (GB)",
            description="Above it new jobs are refused; nothing deletes itself. 0 is no limit.",
        ),
    ] = 0.0
    guest_conversations: Annotated[
        int,
        Field(
            ge=1,
            le=100_000,
            title="Guest conversations",
            description="How many conversations one guest may keep.",
        ),
    ] = 100
    key_requests_per_minute: Annotated[
        int,
        Field(
            ge=0,
            le=1_000_000,
            title="Requests per minute and API key",
            description="For keys that have no limit of their own; 0 is no limit.",
        ),
    ] = 600
    key_tokens_per_minute: Annotated[
        int,
        Field(
            ge=0,
            le=1_000_000_000,
            title="Tokens per minute and API key",
            description="Read and written; for keys without a limit of their own. 0 is no limit.",
        ),
    ] = 1_000_000


class StoredSettings:
    """The settings as they are now; threads see a change at once.

    Whether a person may change them is for the caller to check.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        rows = store.rows("SELECT name, value FROM settings")
        stored = {row["name"]: json.loads(row["value"]) for row in rows}
        # Settings of other versions are left alone in the table, not an error.
        known = {name: value for name, value in stored.items() if name in Settings.model_fields}
        self._current = validate(Settings, known)

    @property
    def current(self) -> Settings:
        return self._current

    def change(self, **changes: Any) -> Settings:
        """Sets some fields and keeps the others.

        Raises:
            BadRequest: an unknown field or a value out of bounds; then nothing is changed.
        """
        with self._lock:
            changed = validate(Settings, {**self._current.model_dump(), **changes})
            with self._store.transaction() as connection:
                connection.executemany(
                    "INSERT INTO settings (name, value) VALUES (?, ?) "
                    "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    [(name, json.dumps(changed.model_dump()[name])) for name in changes],
                )
            self._current = changed
            return changed
