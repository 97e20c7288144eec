"""Work in processes of their own: one that is stopped while it starts leaves nothing behind."""

from __future__ import annotations

import sys
import threading
import time

import psutil
import pytest

from pipelines.core import processes
from tests.patience import PATIENCE

# As `accelerate launch`, a process that starts another, which loads for a long time.
STARTING = """
import subprocess, sys, time
code = "import time; print('loading', flush=True); {body}"
child = subprocess.Popen([sys.executable, "-c", code])
child.wait()
"""
STEPPING = """
import sys, time; from pathlib import Path
from pipelines.core.processes import WorkFolder
folder = WorkFolder(Path(sys.argv[1]))
with folder.held():
    folder.report("step", step=1)
    while not folder.stopping:
        time.sleep(0.01)
    time.sleep(0.5)
    folder.report("saved")
"""


@pytest.fixture
def folder(tmp_path):
    return processes.WorkFolder(tmp_path)


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    "body", ["time.sleep(999)", "import signal; signal.signal(15, lambda *_: 0); time.sleep(999)"]
)
def test_process_that_is_still_starting_is_ended_with_its_children(folder, monkeypatch, body: str):
    monkeypatch.setattr(processes, "STARTING_SECONDS", 0.1)
    monkeypatch.setattr(processes, "ENDING_SECONDS", 0.3)
    process = processes.start([sys.executable, "-c", STARTING.format(body=body)], folder)
    wait_until(lambda: "loading" in processes.last_lines(folder.log))
    members = [process.pid, *(each.pid for each in psutil.Process(process.pid).children())]
    assert len(members) == 2
    stop = threading.Event()
    stop.set()
    events = [line["event"] for line in processes.follow(folder, process, stop, 0)]
    assert events == ["stopping", "ended"]
    assert folder.stopping
    wait_until(lambda: not any(map(is_running, members)))


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_process_that_takes_steps_may_save_what_it_has(folder, monkeypatch):
    monkeypatch.setattr(processes, "STARTING_SECONDS", 0.1)
    command = [sys.executable, "-c", STEPPING, str(folder.path)]
    process, stop = processes.start(command, folder), threading.Event()
    events = []
    for line in processes.follow(folder, process, stop, 0):
        events.append(line["event"])
        stop.set()
    assert events == ["step", "stopping", "saved"]
    assert process.wait() == 0


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
        ("x" * 5000, "x" * processes.MAX_LAST_WORDS),
    ],
)
def test_the_last_words_of_a_log_are_those_of_its_error(log: str, words: str):
    assert processes.last_words(log) == words
