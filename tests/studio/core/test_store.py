"""The database: all or nothing, from any thread, and older files are brought up to date."""

import random
import sqlite3
import threading

import pytest

from pipelines.core.errors import Unavailable
from studio.core.home import DiskFull
from studio.core.store import FILE_NAME, MIGRATIONS, Store, StoreAway
from tests.patience import PATIENCE

PUT = "INSERT INTO settings (name, value) VALUES (?, ?)"


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    store.close()


def count(store):
    return store.row("SELECT COUNT(*) FROM settings")[0]


def test_what_was_written_is_there_after_a_restart(tmp_path):
    store = Store(tmp_path)
    assert store.write(PUT, ("a", "1")) == 1
    store.close()
    again = Store(tmp_path)
    assert again.row("SELECT value FROM settings WHERE name = 'a'")["value"] == "1"
    again.close()


def test_the_file_is_closed_to_other_users_and_in_wal_mode(tmp_path, store):
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o077 == 0
    assert store.row("PRAGMA journal_mode")[0] == "wal"


def test_a_transaction_happens_as_a_whole_or_not_at_all(store):
    def twice():
        with store.transaction() as connection:
            connection.execute(PUT, ("a", "1"))
            connection.execute(PUT, ("a", "2"))  # the name is taken

    with pytest.raises(sqlite3.IntegrityError):
        twice()
    assert count(store) == 0
    store.write(PUT, ("a", "3"))
    assert count(store) == 1


def test_ten_threads_write_and_read_at_once(store):
    def work(worker):
        for turn in range(20):
            store.write(PUT, (f"{worker}-{turn}", "1"))
            count(store)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(store) == 200


def test_another_process_that_writes_is_waited_for(tmp_path, store):
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.2, lambda: other.execute("COMMIT"))
    timer.start()
    store.write(PUT, ("a", "1"))
    timer.join()
    other.close()
    assert count(store) == 1


@pytest.fixture
def hold_database(tmp_path, monkeypatch):
    """``hold_database()``: another program holds the database from now on; its connection."""
    monkeypatch.setattr("studio.core.store.BUSY_SECONDS", 0.1)
    others = []

    def hold():
        others.append(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None))
        others[-1].execute("PRAGMA locking_mode = EXCLUSIVE")
        others[-1].execute("BEGIN EXCLUSIVE")
        return others[-1]

    yield hold
    for other in others:
        other.close()


def test_a_start_on_a_database_that_another_program_holds_is_refused_with_a_sentence(
    tmp_path, hold_database
):
    sqlite3.connect(tmp_path / FILE_NAME).execute("CREATE TABLE notes (text TEXT)").close()
    hold_database()
    with pytest.raises(StoreAway, match=f"Another program is using .*{FILE_NAME}"):
        Store(tmp_path)


def test_who_waits_for_another_program_keeps_no_reader_waiting(
    tmp_path, hold_database, monkeypatch
):
    monkeypatch.setattr("studio.core.store.BUSY_SECONDS", PATIENCE)
    store = Store(tmp_path)
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = threading.Thread(target=store.write, args=(PUT, ("a", "1")))
    writing.start()
    for _ in range(3):
        assert count(store) == 0
    other.execute("COMMIT")
    writing.join(PATIENCE)
    assert count(store) == 1
    other.execute("BEGIN IMMEDIATE")
    store.stop_waiting()
    with pytest.raises(StoreAway):
        store.write(PUT, ("b", "1"))
    other.close()
    store.close()


def test_a_database_that_cannot_be_written_is_no_bug(store):
    store.row("PRAGMA query_only = ON")
    with pytest.raises(StoreAway, match="cannot be used at this moment: attempt to write"):
        store.write(PUT, ("a", "1"))


def test_a_full_disk_is_said_with_numbers_and_changes_nothing(store):
    pages = store.row("PRAGMA page_count")[0]
    store.row(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(DiskFull, match=r"are needed and .* are free"):
        store.write(PUT, ("large", "x" * 1_000_000))
    assert count(store) == 0


def test_an_older_file_is_brought_up_to_date_and_keeps_its_rows(tmp_path, monkeypatch):
    old = Store(tmp_path)
    old.write(PUT, ("a", "1"))
    old.close()
    added = """
    CREATE TABLE notes (text TEXT);
    INSERT INTO notes VALUES ('a semicolon; inside');
    """
    monkeypatch.setattr("studio.core.store.MIGRATIONS", (*MIGRATIONS, added))
    for _ in range(2):  # the second opening has nothing left to do
        new = Store(tmp_path)
        assert count(new) == 1
        assert [row["text"] for row in new.rows("SELECT text FROM notes")] == [
            "a semicolon; inside"
        ]
        new.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    Store(tmp_path).close()
    with monkeypatch.context() as patch:
        broken = "CREATE TABLE notes (text TEXT); CREATE TABLE settings (name TEXT);"
        patch.setattr("studio.core.store.MIGRATIONS", (*MIGRATIONS, broken.replace("; ", ";\n")))
        with pytest.raises(sqlite3.OperationalError):
            Store(tmp_path)
    store = Store(tmp_path)
    tables = {row["name"] for row in store.rows("SELECT name FROM sqlite_schema")}
    store.close()
    assert "notes" not in tables


def fill_database(folder):
    """The path of a database of many pages, closed."""
    store = Store(folder)
    for index in range(200):
        store.write(PUT, (f"setting {index}", "x" * 400))
    store.close()
    return folder / FILE_NAME


def random_bytes(path):
    path.write_bytes(random.Random(1).randbytes(4096))


def a_few_bytes(path):
    path.write_bytes(b"SQLite")


def cut_off(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwritten_within(path):
    data = bytearray(path.read_bytes())
    data[40960:45056] = random.Random(1).randbytes(4096)
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [random_bytes, a_few_bytes, cut_off, overwritten_within])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path, harm):
    path = fill_database(tmp_path)
    harm(path)
    before = path.read_bytes()
    with pytest.raises(Unavailable) as caught:
        Store(tmp_path)
    assert str(path) in str(caught.value)
    assert "Move it away" in str(caught.value)
    assert "outputs/" in str(caught.value)
    assert path.read_bytes() == before, "what may still be rescued is left alone"
    path.rename(tmp_path / "away")
    store = Store(tmp_path)
    assert count(store) == 0
    store.close()


def test_a_database_that_cannot_be_opened_is_named_with_the_reason(tmp_path):
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(Unavailable, match=f"{FILE_NAME} cannot be used: Is a directory"):
        Store(tmp_path)


def test_a_file_of_a_newer_atelier_is_left_alone(tmp_path):
    store = Store(tmp_path)
    store.write(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    store.close()
    with pytest.raises(Unavailable, match="newer Atelier"):
        Store(tmp_path)
