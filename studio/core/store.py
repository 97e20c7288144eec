"""The database: one SQLite file in the home folder, shared by all threads of the studio."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pipelines.core.engine import Use
from pipelines.core.errors import Busy, Unavailable
from studio.core.home import Reserve, disk_full, readable_path

T = TypeVar("T")

FILE_NAME = "atelier.db"
BUSY_SECONDS = 10
SEARCH_SECONDS = 5.0
PROGRESS_STEPS = 1_000  # of SQLite's machine between two looks at the clock
LOOK_SECONDS = 0.05  # between two tries while another program holds the database
HELD = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
UNREACHABLE = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
DAMAGED = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}


def uses_in(request: str) -> set[Use]:
    """The stored things that a request of before version 7 of the database names.

    Names of fields tell, so that requests that no longer validate are read as well.

    Args:
        request: JSON; what is none names nothing.
    """
    with contextlib.suppress(ValueError, RecursionError):
        return set(_uses_within(json.loads(request)))
    return set()


def _uses_within(value: Any, name: str = "") -> Iterator[Use]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _uses_within(each, key)
    elif isinstance(value, list):
        for each in value:
            yield from _uses_within(each)
    elif isinstance(value, str) and value.isascii():  # as every id is
        kind = {"picture": "input", "mask": "input", "id": "lora"}.get(name, name)
        if kind in ("input", "lora", "subject", "training", "pruning", "data"):
            yield Use(kind, value)
        elif name == "model" and value.startswith(("own:", "own-chat:")):
            prefix, _, id = value.partition(":")
            yield Use("lora" if prefix == "own" else "chat_model", id)


def _fill_uses(connection: sqlite3.Connection) -> None:
    for user in ("job", "picture"):
        for row in connection.execute(f"SELECT id, request FROM {user}s"):
            connection.executemany(
                f"INSERT INTO {user}_uses ({user}, kind, item) VALUES (?, ?, ?)",
                [(row["id"], *use) for use in uses_in(row["request"])],
            )


# One script or function per version of the schema, applied in order; the file's `user_version` says
# how many it has seen. A released one is never edited: add another.
MIGRATIONS: tuple[str | Callable[[sqlite3.Connection], None], ...] = (
    """
    CREATE TABLE settings (
        name  TEXT PRIMARY KEY,
        value TEXT NOT NULL                 -- JSON
    ) WITHOUT ROWID;

    CREATE TABLE jobs (
        number   INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
        id       TEXT NOT NULL UNIQUE,
        owner    TEXT NOT NULL,
        kind     TEXT NOT NULL,
        request  TEXT NOT NULL,             -- JSON
        state    TEXT NOT NULL
                 CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
        step     INTEGER NOT NULL DEFAULT 0,
        total    INTEGER NOT NULL DEFAULT 0,
        note     TEXT,                      -- Message, JSON
        result   TEXT,                      -- JSON
        error    TEXT,                      -- Message, JSON
        served   INTEGER NOT NULL DEFAULT 0,  -- rises with every start of any job
        crashes  INTEGER NOT NULL DEFAULT 0,  -- times the studio died while the job ran
        stopping INTEGER NOT NULL DEFAULT 0,  -- cancelled while running, not yet seen by the engine
        created  REAL NOT NULL,             -- seconds since 1970
        started  REAL,
        finished REAL
    );
    CREATE INDEX jobs_by_owner ON jobs (owner, number);
    CREATE INDEX jobs_by_service ON jobs (owner, served);
    CREATE INDEX jobs_by_state ON jobs (state, number);
    CREATE INDEX jobs_by_start ON jobs (served);

    CREATE TABLE pictures (
        number     INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
        id         TEXT NOT NULL UNIQUE,
        owner      TEXT NOT NULL,
        job_id     TEXT NOT NULL,
        position   INTEGER NOT NULL,        -- within the job; -1 is the picture of the whole run
        kind       TEXT NOT NULL,
        request    TEXT NOT NULL,           -- JSON
        parameters TEXT NOT NULL,           -- as A1111 writes them
        words      TEXT NOT NULL,           -- the prompts, folded for searching
        width      INTEGER NOT NULL,
        height     INTEGER NOT NULL,
        bytes      INTEGER NOT NULL,
        seconds    REAL NOT NULL,
        file       TEXT NOT NULL,           -- below outputs/
        present    INTEGER NOT NULL DEFAULT 1,  -- 0 when the file has vanished
        created    REAL NOT NULL,           -- seconds since 1970
        UNIQUE (job_id, position)
    );
    CREATE INDEX pictures_by_owner ON pictures (owner, number);
    """,
    """
    CREATE TABLE inputs (                   -- pictures that people bring in
        number  INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
        id      TEXT NOT NULL UNIQUE,       -- made of owner and pixels
        owner   TEXT NOT NULL,
        width   INTEGER NOT NULL,
        height  INTEGER NOT NULL,
        bytes   INTEGER NOT NULL,           -- of the file in inputs/
        created REAL NOT NULL               -- when it was last brought in; seconds since 1970
    );
    CREATE INDEX inputs_by_owner ON inputs (owner, number);
    """,
    """
    CREATE TABLE subjects (                 -- sets of photos to learn from
        number  INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
        id      TEXT NOT NULL UNIQUE,
        owner   TEXT NOT NULL,
        bytes   INTEGER NOT NULL DEFAULT 0, -- of the photos in subjects/<id>/
        created REAL NOT NULL               -- seconds since 1970
    );
    CREATE INDEX subjects_by_owner ON subjects (owner, number);
    """,
    """
    CREATE TABLE conversations (
        number        INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
        id            TEXT NOT NULL UNIQUE,
        owner         TEXT NOT NULL,
        group_id      TEXT NOT NULL,        -- the same for those that stand side by side
        lane          INTEGER NOT NULL,     -- place among these; 0 stands in the list
        title         TEXT NOT NULL,
        words         TEXT NOT NULL,        -- the title, folded for searching
        model         TEXT NOT NULL,
        system_prompt TEXT NOT NULL,
        sampling      TEXT NOT NULL,        -- JSON: what is not left to the model's file
        leaf          TEXT,                 -- the message that is shown last
        revision      INTEGER NOT NULL DEFAULT 0,  -- rises with each change in the group
        bytes         INTEGER NOT NULL DEFAULT 0,  -- of its messages
        created       REAL NOT NULL,        -- seconds since 1970
        updated       REAL NOT NULL
    );
    CREATE INDEX conversations_by_owner ON conversations (owner, lane, updated, number);
    CREATE INDEX conversations_by_group ON conversations (group_id, lane);

    CREATE TABLE chat_messages (
        number       INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
        id           TEXT NOT NULL UNIQUE,
        conversation TEXT NOT NULL,
        twin         TEXT NOT NULL,         -- the same for one message in each lane of a group
        parent       TEXT,                  -- the message it follows; NULL for a first one
        role         TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
        content      TEXT NOT NULL,
        words        TEXT NOT NULL,         -- the content, folded for searching
        state        TEXT NOT NULL CHECK
                     (state IN ('done', 'streaming', 'stopped', 'failed', 'interrupted')),
        model        TEXT,                  -- who answered
        facts        TEXT,                  -- JSON: counts and times of an answer
        error        TEXT,                  -- Message, JSON
        created      REAL NOT NULL
    );
    CREATE INDEX chat_messages_by_parent ON chat_messages (conversation, parent, number);
    CREATE INDEX chat_messages_streaming ON chat_messages (state) WHERE state = 'streaming';

    CREATE TABLE chat_pieces (              -- of answers that are still being written
        number  INTEGER PRIMARY KEY AUTOINCREMENT,
        message TEXT NOT NULL,
        text    TEXT NOT NULL
    );
    CREATE INDEX chat_pieces_by_message ON chat_pieces (message, number);

    CREATE TABLE api_keys (
        number              INTEGER PRIMARY KEY AUTOINCREMENT,
        id                  TEXT NOT NULL UNIQUE,
        owner               TEXT NOT NULL,
        name                TEXT NOT NULL,
        digest              BLOB NOT NULL UNIQUE,  -- SHA-256 of the key, which is kept nowhere
        ending              TEXT NOT NULL,  -- the key's last four characters
        requests_per_minute INTEGER,        -- NULL: as the settings say
        tokens_per_minute   INTEGER,
        created             REAL NOT NULL,
        used                REAL,
        revoked             REAL
    );
    """,
    """
    CREATE TABLE cluster_tables (           -- tables that people bring in to cluster
        number  INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
        id      TEXT NOT NULL UNIQUE,       -- made of owner, bytes and how they are read
        owner   TEXT NOT NULL,
        name    TEXT NOT NULL,              -- the file's, to be shown
        about   TEXT NOT NULL,              -- JSON: layout, rows, columns, preview
        bytes   INTEGER NOT NULL,           -- of the file in cluster_tables/
        created REAL NOT NULL               -- when it was last brought in; seconds since 1970
    );
    CREATE INDEX cluster_tables_by_owner ON cluster_tables (owner, created);

    CREATE TABLE cluster_data (             -- points to cluster
        number  INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
        id      TEXT NOT NULL UNIQUE,       -- made of owner and source
        owner   TEXT NOT NULL,
        kind    TEXT NOT NULL,
        title   TEXT NOT NULL,
        points  INTEGER NOT NULL,
        columns TEXT NOT NULL,              -- JSON
        truth   INTEGER NOT NULL,           -- whether true groups are known
        source  TEXT NOT NULL,              -- JSON
        notes   TEXT NOT NULL,              -- JSON: messages
        bytes   INTEGER NOT NULL,           -- of the file in cluster_data/
        created REAL NOT NULL               -- when it was last asked for; seconds since 1970
    );
    CREATE INDEX cluster_data_by_owner ON cluster_data (owner, created);
    """,
    """
    CREATE TABLE ended_sessions (           -- cookies of people who have logged out
        digest BLOB PRIMARY KEY,            -- SHA-256 of the cookie
        until  REAL NOT NULL                -- when it would end by itself; seconds since 1970
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE job_uses (                 -- what is stored and named in a job's request
        job  TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        kind TEXT NOT NULL,                 -- see pipelines.core.engine.Use
        item TEXT NOT NULL,                 -- its id
        PRIMARY KEY (job, kind, item)
    ) WITHOUT ROWID;
    CREATE INDEX job_uses_by_item ON job_uses (item, kind);

    CREATE TABLE picture_uses (             -- what exactly this picture was made with
        picture TEXT NOT NULL REFERENCES pictures (id) ON DELETE CASCADE,
        kind    TEXT NOT NULL,
        item    TEXT NOT NULL,
        PRIMARY KEY (picture, kind, item)
    ) WITHOUT ROWID;
    CREATE INDEX picture_uses_by_item ON picture_uses (item, kind);

    -- The table or the brought-in picture that data are made of.
    ALTER TABLE cluster_data ADD COLUMN made_of TEXT GENERATED ALWAYS AS (
        CASE WHEN json_valid(source)
        THEN COALESCE(json_extract(source, '$.table'), json_extract(source, '$.picture')) END);
    CREATE INDEX cluster_data_by_origin ON cluster_data (made_of);
    """,
    _fill_uses,
)


class StoreAway(Unavailable):
    """The database cannot be read or written at this moment; it is as it was."""


class Store:
    """The studio's database in ``home``; every method may be called from any thread.

    One connection behind a lock: the studio's statements take well under a millisecond, and one
    writer at a time is all that SQLite allows anyhow. WAL keeps every committed row when the
    process is killed.

    Attributes:
        reserve: what is left for it on a full disk.

    Raises:
        Unavailable: the file cannot be opened, is damaged, or was written by a newer Atelier.
        StoreAway: another program holds it.
    """

    def __init__(self, home: Path) -> None:
        self.path = home / FILE_NAME
        self._lock = threading.RLock()
        self._patience = BUSY_SECONDS
        self.reserve = Reserve(home)
        self.reserve.make_room()
        try:
            # Created closed to other system users: the file holds prompts.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise Unavailable(
                "The database {file} cannot be used: {reason}. "
                "Choose another home folder with --home.",
                file=readable_path(self.path),
                reason=error.strerror or str(error),
            ) from error
        # Short: what is waited for here is waited for with the lock given back to other threads.
        self._connection = sqlite3.connect(
            self.path, timeout=LOOK_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connection.row_factory = sqlite3.Row
        try:
            self._check()
            self._patiently(lambda: self._connection.execute("PRAGMA journal_mode = WAL"))
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._migrate()
        except BaseException:
            self._connection.close()
            raise

    def _check(self) -> None:
        """Raises Unavailable when the file is damaged; reads all of it, at about 1 GB/s."""
        try:
            reason = self.row("PRAGMA quick_check(1)")[0]
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in DAMAGED:
                raise
            reason = str(error)
        if reason != "ok":
            raise Unavailable(
                "The database {file} is damaged: {reason}. Move it away and start again. The "
                "pictures in outputs/ stay; gallery, queue and settings begin empty.",
                file=readable_path(self.path),
                reason=reason.splitlines()[-1],
            )

    def _migrate(self) -> None:
        with self.transaction() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise Unavailable(
                    "{file} was written by a newer Atelier (version {version} of its layout; "
                    "this one knows {known}). Update Atelier, or choose another --home.",
                    file=FILE_NAME,
                    version=version,
                    known=len(MIGRATIONS),
                )
            for migration in MIGRATIONS[version:]:
                if callable(migration):
                    migration(connection)
                else:
                    for statement in _statements(migration):
                        connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    @contextmanager
    def transaction(self, matters: bool = True) -> Iterator[sqlite3.Connection]:
        """All statements inside happen, or none; may not be nested.

        Args:
            matters: whether it may use what is kept for the moment when the disk is full.

        Raises:
            DiskFull: the database could not grow.
            StoreAway: another program holds it, or its file cannot be reached.
        """
        if matters:
            self.reserve.make_room()
        self._patiently(self._begin)
        try:
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            raise self._explain(error) from error
        finally:
            self._lock.release()

    def write(
        self,
        statement: str,
        values: tuple[Any, ...] | dict[str, Any] = (),
        matters: bool = True,
    ) -> int:
        """Runs one statement in a transaction of its own; returns how many rows it changed."""
        with self.transaction(matters) as connection:
            return connection.execute(statement, values).rowcount

    def rows(self, query: str, values: tuple[Any, ...] | dict[str, Any] = ()) -> list[sqlite3.Row]:
        return self._patiently(lambda: self._connection.execute(query, values).fetchall())

    def row(self, query: str, values: tuple[Any, ...] | dict[str, Any] = ()) -> sqlite3.Row | None:
        return self._patiently(lambda: self._connection.execute(query, values).fetchone())

    def sum_of(self, number: str, rows: str, owner: str | None, *values: Any) -> int:
        """The sum of a number over the rows of an owner; None: of all owners.

        Args:
            number, rows: SQL; ``rows`` is a table, and may go on with a condition.
            values: of the condition.
        """
        joined = "AND" if " WHERE " in rows else "WHERE"
        query = f"SELECT COALESCE(SUM({number}), 0) FROM {rows} {joined} (? IS NULL OR owner = ?)"
        return self.row(query, (*values, owner, owner))[0]

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Yields a connection whose queries all see the same rows; nothing may be written by it."""
        with self._lock:
            yield self._connection

    def _begin(self) -> None:
        """Begins a transaction; the lock is this thread's until its end."""
        self._lock.acquire()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except BaseException:
            self._lock.release()
            raise

    def _patiently(self, action: Callable[[], T]) -> T:
        """The outcome of ``action``, tried again while another program holds the database.

        Raises:
            StoreAway: it still does after ``BUSY_SECONDS``, or the file cannot be reached.
        """
        start = time.monotonic()
        while True:
            try:
                with self._lock:
                    return action()
            except sqlite3.OperationalError as error:
                given_up = time.monotonic() - start >= self._patience
                if error.sqlite_errorcode & 0xFF not in HELD or given_up:
                    raise self._explain(error) from error
            time.sleep(LOOK_SECONDS)  # others of our threads may have their turn

    def _explain(self, error: sqlite3.OperationalError) -> Exception:
        """The sentence for what keeps the database from being used; a copy of any other error."""
        code = error.sqlite_errorcode & 0xFF
        if code == sqlite3.SQLITE_FULL:
            self.reserve.give_up()  # by a quota, of which the disk says nothing
            return disk_full(self._page_size(), self.path.parent)
        if code in HELD:
            return StoreAway(
                "Another program is using the database {file}, and has not let go of it for "
                "{seconds} seconds. Close that program, or wait for its end.",
                file=FILE_NAME,
                seconds=BUSY_SECONDS,
            )
        if code in UNREACHABLE:
            return StoreAway(
                "The database {file} cannot be used at this moment: {reason}. See that its disk "
                "is there and can be written to.",
                file=FILE_NAME,
                reason=str(error),
            )
        other = sqlite3.OperationalError(*error.args)
        other.sqlite_errorcode, other.sqlite_errorname = (
            error.sqlite_errorcode,
            error.sqlite_errorname,
        )
        return other

    @contextmanager
    def search_connection(self, seconds: float = SEARCH_SECONDS) -> Iterator[sqlite3.Connection]:
        """Yields a connection of its own for queries that may take long; nobody else waits for it.

        All queries inside see the same rows; nothing can be written.

        Raises:
            Busy: the queries were not done after ``seconds``.
        """
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        end = time.monotonic() + seconds
        try:
            connection.row_factory = sqlite3.Row
            connection.set_progress_handler(lambda: time.monotonic() > end, PROGRESS_STEPS)
            connection.execute("BEGIN")
            yield connection
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise Busy(
                    "This search was not done after {seconds} seconds. Search for fewer words.",
                    seconds=round(seconds),
                ) from error
            raise self._explain(error) from error
        finally:
            connection.close()

    def stop_waiting(self) -> None:
        """Has everybody give up at once who waits for another program; for the studio's end."""
        self._patience = 0

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _page_size(self) -> int:
        return self._connection.execute("PRAGMA page_size").fetchone()[0]


def _statements(script: str) -> Iterator[str]:
    """The single statements of a script; ``executescript`` would commit the open transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
