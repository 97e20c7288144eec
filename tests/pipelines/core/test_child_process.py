"""Work in processes of their own: one that is stopped while it starts leaves nothing behind."""

from __future__ import annotations

import os
import sys
import threading

import psutil
import pytest

from pipelines.core import child_process
from pipelines.core.errors import OutOfMemory, UserError
from tests.patience import PATIENCE, wait_until

# As `accelerate launch`, a process that starts another, which loads for a long time.
STARTING = """
import subprocess, sys, time
code = "import time; print('loading', flush=True); {body}"
child = subprocess.Popen([sys.executable, "-c", code])
child.wait()
"""
STEPPING = """
import sys, time; from pathlib import Path
from pipelines.core.child_process import WorkFolder
folder = WorkFolder(Path(sys.argv[1]))
with folder.hold():
    folder.report("step", step=1)
    while not folder.is_stopping:
        time.sleep(0.01)
    time.sleep(0.5)
    folder.report("saved")
"""


@pytest.fixture
def folder(tmp_path):
    return child_process.WorkFolder(tmp_path)


@pytest.mark.parametrize(
    "body", ["time.sleep(999)", "import signal; signal.signal(15, lambda *_: 0); time.sleep(999)"]
)
def test_process_that_is_still_starting_is_ended_with_its_children(folder, monkeypatch, body: str):
    monkeypatch.setattr(child_process, "STARTING_SECONDS", 0.1)
    monkeypatch.setattr(child_process, "ENDING_SECONDS", 0.3)
    process = child_process.start([sys.executable, "-c", STARTING.format(body=body)], folder)
    wait_until(lambda: "loading" in child_process.last_lines(folder.log))
    members = [process.pid, *(each.pid for each in psutil.Process(process.pid).children())]
    assert len(members) == 2
    stop = threading.Event()
    stop.set()
    events = [line["event"] for line in child_process.follow(folder, process, stop, 0)]
    assert events == ["stopping", "ended"]
    assert folder.is_stopping
    wait_until(lambda: not any(map(is_running, members)))


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_process_that_takes_steps_may_save_what_it_has(folder, monkeypatch):
    monkeypatch.setattr(child_process, "STARTING_SECONDS", 0.1)
    command = [sys.executable, "-c", STEPPING, str(folder.path)]
    process, stop = child_process.start(command, folder), threading.Event()
    events = []
    for line in child_process.follow(folder, process, stop, 0):
        events.append(line["event"])
        stop.set()
    assert events == ["step", "stopping", "saved"]
    assert process.wait(PATIENCE) == 0


TRACEBACK = """Traceback (most recent call last):
  File "/srv/atelier/pipelines/errors.py", line 3, in <module>
    import nothing
    ^^^^^^^^^^^^^^
ModuleNotFoundError: No module named 'nothing'
"""
LAUNCHER = """Traceback (most recent call last):
  File "/srv/lib/accelerate/launch.py", line 9, in main
subprocess.CalledProcessError: Command '['python', '-m', 'x']' returned non-zero exit status 1.
"""


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", ""),
        ("step 1\nthe driver is too old.\n\n", "the driver is too old"),
        (TRACEBACK, "ModuleNotFoundError: No module named 'nothing'"),
        (TRACEBACK + LAUNCHER, "ModuleNotFoundError: No module named 'nothing'"),
        ("ValueError: sizes differ:\n  a: 3\n  b: 4\n", "ValueError: sizes differ:"),
        ("x" * 5000, "x" * child_process.MAX_LAST_WORDS),
    ],
)
def test_the_last_words_of_a_log_are_those_of_its_error(log: str, words: str):
    assert child_process.last_words(log) == words


TALKING = """
import sys, time
for line in sys.stdin:
    word = line.strip()
    if word == "much":
        print("x" * 300_000, flush=True)
    elif word == "many":
        for number in range(100_000):
            print(number, flush=True)
    elif word == "sleep":
        time.sleep(999)
    else:
        print("heard", word, flush=True)
"""


@pytest.fixture
def line_process(tmp_path):
    """A process that answers what it is told."""
    module = tmp_path / "talking.py"
    module.write_text(TALKING)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    process = child_process.LineProcess("talking", environment=environment, ahead=10)
    yield process
    process.end()


def test_a_process_answers_line_by_line_and_ends_with_its_input(line_process):
    assert line_process.write(b"a\n")
    assert line_process.line(PATIENCE) == b"heard a\n"
    assert line_process.line(0) is None
    line_process.end_input()
    assert line_process.line(PATIENCE) == b""
    assert line_process.wait(PATIENCE) == 0
    assert not line_process.alive
    assert not line_process.write(b"b\n")


def test_a_line_without_an_end_comes_in_parts_and_too_many_wait_in_the_process(line_process):
    line_process.write(b"much\nmany\n")
    parts = [line_process.line(PATIENCE) for _ in range(4)]
    assert [len(part) for part in parts] == [100_000, 100_000, 100_000, 1]
    assert line_process.line(PATIENCE) == b"0\n"
    wait_until(line_process._lines.full)
    assert line_process._lines.qsize() == 10
    assert line_process.line(PATIENCE) == b"1\n"


@pytest.mark.parametrize("word", ["sleep", "many"])
def test_a_process_is_ended_whatever_it_does(line_process, word):
    line_process.write(f"a\n{word}\n".encode())
    assert line_process.line(PATIENCE) == b"heard a\n"
    line_process.end()
    assert not psutil.pid_exists(line_process.id)
    assert not line_process._reader.is_alive()
    line_process.end()


def test_lines_of_progress_that_are_none_are_passed_over(folder):
    lines = [b"[1]", b"7", b'{"event": 3}', b'{"step": 1}', b"[" * 9000, b'{"event": "step"}', b"{"]
    folder.progress_path.write_bytes(b"\n".join(lines) + b"\n")
    assert folder.progress()[0] == [{"event": "step"}]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("OutOfMemory", OutOfMemory), ("json", UserError), ("BaseModel", UserError), (3, UserError)],
)
def test_an_error_that_another_process_tells_is_one_for_people(kind, expected):
    line = {"event": "error", "kind": kind, "message": {"template": "{a} b", "values": {"a": 1}}}
    error = child_process.error_of(line)
    assert type(error) is expected
    assert str(error) == "1 b"
    for message in (None, "words", {"template": "{a.real}", "values": {"a": 1}}):
        with pytest.raises(child_process.UnreadableAnswer):
            child_process.error_of({**line, "message": message})
