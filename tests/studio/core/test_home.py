"""The home folder: found, made, and used by one studio at a time."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.core.errors import Unavailable
from studio.core.home import (
    FOLDERS,
    LOCK_FILE,
    HomeLock,
    disk_full,
    find_home,
    prepare_home,
    readable_path,
)

ROOT = Path(__file__).parents[3]


def test_the_flag_goes_before_the_environment_and_that_before_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ATELIER_HOME", raising=False)
    assert find_home() == tmp_path / ".atelier"
    monkeypatch.setenv("ATELIER_HOME", str(tmp_path / "set"))
    assert find_home() == tmp_path / "set"
    assert find_home("~/given") == tmp_path / "given"


def test_a_home_is_made_with_its_folders_and_closed_to_others(tmp_path):
    home = prepare_home(tmp_path / "deep" / "home")
    assert {path.name for path in home.iterdir()} == set(FOLDERS)
    assert home.stat().st_mode & 0o077 == 0
    (home / "outputs" / "kept.png").touch()
    prepare_home(home)
    assert (home / "outputs" / "kept.png").exists()


def test_a_home_that_cannot_be_made_is_said_in_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match=r"cannot be used: .* Choose another one with --home"):
        prepare_home(tmp_path / "file" / "home")


def test_a_second_studio_on_the_same_home_gets_one_sentence(tmp_path):
    program = (
        "import sys, pathlib; from studio.core.home import HomeLock;"
        "lock = HomeLock(pathlib.Path(sys.argv[1])); print('locked', flush=True); input()"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert first.stdout.readline() == b"locked\n"
    with pytest.raises(Unavailable, match=rf"Another studio \(process {first.pid}\) is using"):
        HomeLock(tmp_path)
    first.kill()
    first.wait()
    with HomeLock(tmp_path):  # a killed studio leaves no lock behind
        pass


def test_a_lock_is_free_again_once_released(tmp_path):
    for _ in range(2):
        with HomeLock(tmp_path), pytest.raises(Unavailable):
            HomeLock(tmp_path)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_without_locks_is_not_taken_for_another_studio(tmp_path, monkeypatch, code):
    def refuse(file):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("studio.core.home._lock", refuse)
    with pytest.raises(Unavailable) as caught:
        HomeLock(tmp_path)
    assert str(caught.value) == (
        f"The home folder {tmp_path} cannot be locked: {os.strerror(code)}. "
        "Choose one on a disk of this machine with --home."
    )


def test_a_lock_file_that_cannot_be_opened_is_said_in_a_sentence(tmp_path):
    (tmp_path / LOCK_FILE).mkdir()
    with pytest.raises(Unavailable, match="cannot be used: Is a directory"):
        HomeLock(tmp_path)


def test_a_full_disk_names_bytes(tmp_path):
    assert "2.5 MB are needed and" in str(disk_full(2_500_000, tmp_path))


def test_a_path_in_a_sentence_does_not_tell_the_user_s_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "alice"))
    assert readable_path(tmp_path / "alice" / ".atelier") == "~/.atelier"
    assert readable_path(Path("/srv/atelier")) == "/srv/atelier"
