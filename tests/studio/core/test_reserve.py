"""On a full disk the database finds room: for the job that deletes, and for what has failed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from studio.core import home
from studio.core.home import (
    KEPT_BYTES,
    PIECE_BYTES,
    PIECES,
    PLENTY_BYTES,
    RESERVE,
    DiskFull,
    Reserve,
    room_for,
    write_file,
)
from studio.core.store import Store

DISK = PLENTY_BYTES + 3 * PIECES * PIECE_BYTES  # bytes


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A disk of which files of other programs take ``disk.taken``, and the home the rest."""
    disk = SimpleNamespace(taken=0, home=tmp_path)

    def usage(_):
        own = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
        return SimpleNamespace(free=max(0, DISK - disk.taken - own))

    monkeypatch.setattr(home.shutil, "disk_usage", usage)
    return disk


def pieces(disk) -> int:
    return len(list((disk.home / RESERVE).iterdir()))


def test_of_a_full_disk_a_transaction_gets_a_piece_and_what_was_given_is_put_back(disk):
    kept = Reserve(disk.home)
    kept.make_room()
    assert not (disk.home / RESERVE).exists(), "there is nothing to be put back"
    kept.fill()
    assert pieces(disk) == PIECES
    kept.make_room()
    assert pieces(disk) == PIECES
    disk.taken = DISK - PIECES * PIECE_BYTES  # not a byte is free
    kept.make_room()
    assert pieces(disk) == PIECES - 1
    kept.make_room()
    assert pieces(disk) == PIECES - 1, "there is room for this one"
    disk.taken += PIECE_BYTES // 2  # by the transaction
    kept.make_room()
    assert pieces(disk) == PIECES - 2
    disk.taken = 0
    kept.make_room()
    assert pieces(disk) == PIECES


def test_a_start_on_a_full_disk_uses_it_and_adds_nothing(disk):
    Reserve(disk.home).fill()
    disk.taken = DISK - PIECES * PIECE_BYTES
    store = Store(disk.home)
    store.reserve.fill()
    assert pieces(disk) < PIECES
    store.close()


def test_what_does_not_matter_leaves_it_alone(disk):
    store = Store(disk.home)
    store.reserve.fill()
    disk.taken = DISK
    store.write("UPDATE jobs SET step = 1", matters=False)
    assert pieces(disk) == PIECES
    store.write("UPDATE jobs SET step = 1")
    assert pieces(disk) < PIECES
    store.close()


def test_files_leave_the_last_bytes_to_the_database(disk):
    disk.taken = DISK - KEPT_BYTES - 1000
    write_file(disk.home / "small", bytes(1000))
    disk.taken -= 900
    with pytest.raises(DiskFull, match=r"1\.0 kB are needed and 900 B are free"):
        write_file(disk.home / "large", bytes(1000))
    disk.taken += 900
    with pytest.raises(DiskFull, match="The disk is full: 0 B are free"), room_for(0, disk.home):
        raise AssertionError("nothing is begun")
    assert {path.name for path in disk.home.iterdir()} == {"small"}
