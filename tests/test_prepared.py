"""What tests keep from one run to the next."""

from __future__ import annotations

import os

import pytest

from tests import prepared
from tests.prepared import prepare, prepared_folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATELIER_TEST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(prepared, "ROOT", tmp_path)
    (tmp_path / "make.py").write_text("one")
    return tmp_path / "cache"


def test_other_code_has_another_folder_and_what_nobody_uses_goes(cache, tmp_path):
    before = prepared_folder("things", "*.py")
    assert prepared_folder("things", "*.py") == before
    assert before.parent == cache
    (tmp_path / "make.py").write_text("two")
    after = prepared_folder("things", "*.py")
    assert after != before
    assert before.is_dir()
    os.utime(before, (0, 0))
    prepared_folder("things", "*.py")
    assert [path.name for path in cache.iterdir()] == [after.name]


def test_a_thing_is_made_once_and_whole_or_not_at_all(cache):
    folder = prepared_folder("things", "*.py") / "one"

    def half(at):
        at.mkdir()
        raise OSError("the disk is full")

    def whole(at):
        at.mkdir()
        (at / "file").write_text("made")

    with pytest.raises(OSError, match="full"):
        prepare(folder, half)
    assert not folder.exists()
    assert (prepare(folder, whole) / "file").read_text() == "made"
    assert prepare(folder, half) == folder
    assert os.listdir(folder.parent) == ["one"]


def test_two_who_make_a_thing_at_once_do_not_disturb_one_another(cache):
    folder = prepared_folder("things", "*.py") / "one"

    def slow(at):
        prepare(folder, lambda other: (other.mkdir(), (other / "file").write_text("first")))
        at.mkdir()
        (at / "file").write_text("second")

    assert (prepare(folder, slow) / "file").read_text() == "first"
