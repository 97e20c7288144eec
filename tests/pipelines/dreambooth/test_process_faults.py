"""A training that is stopped, killed, or fails: what is said, and what is kept."""

from __future__ import annotations

import threading

import pytest

from pipelines.core import child_process
from pipelines.core.errors import (
    OutOfMemory,
    Stopped,
    Unavailable,
    UserError,
)
from pipelines.core.events import Result
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.dreambooth import process
from tests.pipelines.dreambooth.acting import follow


def test_a_stop_is_passed_on_and_what_was_learnt_is_in_the_library(
    ask, home, cache, make_launcher, training_result
):
    launch = make_launcher(f"""
step(1)
until(lambda: folder.is_stopping)
import shutil
shutil.copytree({str(training_result)!r}, folder.result)
folder.report("stopped")
""")
    request, stop = ask(steps=500), threading.Event()
    events = []

    def until_stopped() -> None:
        for event in process.run(request, cache, stop, launch):
            events.append(event)
            if event.step == 1:
                stop.set()

    with pytest.raises(Stopped):
        until_stopped()
    assert not any(isinstance(event, Result) for event in events)
    assert "Stopping" in str(events[-1].note)
    (record,) = LoraLibrary(home).own("local")
    assert record.training == request.training


def test_a_stop_before_the_first_step_leaves_the_library_empty(ask, home, cache, make_launcher):
    launch = make_launcher("""
until(lambda: folder.is_stopping)
""")
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        follow(ask(), cache, stop, launch)
    assert LoraLibrary(home).own("local") == []


def test_too_little_memory_in_the_trainer_is_said_in_its_own_words(ask, cache, make_launcher):
    launch = make_launcher("""
folder.report("error", kind="OutOfMemory",
              message={"template": "{device} ran out", "values": {"device": "cuda:1"}})
sys.exit(1)
""")
    with pytest.raises(OutOfMemory, match="cuda:1 ran out"):
        follow(ask(), cache, launch=launch)


def test_a_killed_trainer_is_most_often_one_without_memory(ask, cache, make_launcher):
    launch = make_launcher("""
step(1)
step(2)
os.kill(os.getpid(), signal.SIGKILL)
""")
    with pytest.raises(OutOfMemory, match=r"ended the trainer at step 2 \(SIGKILL\).*resume"):
        follow(ask(), cache, launch=launch)


def test_a_trainer_that_ends_without_a_word_shows_its_log(ask, cache, make_launcher):
    launch = make_launcher("""
print("the driver is too old", flush=True)
sys.exit(7)
""")
    with pytest.raises(UserError, match=r"at step 0 with exit code 7.*driver is too old"):
        follow(ask(), cache, launch=launch)


@pytest.mark.parametrize(
    "words",
    [
        "sys.exit(1)",
        """
import errno
folder.report_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
sys.exit(1)
""",
    ],
)
def test_a_trainer_that_ends_on_a_full_disk_is_told_so_whether_it_could_say_it_or_not(
    ask, cache, make_launcher, monkeypatch, words
):
    launch = make_launcher(words)
    request = ask()
    full = child_process.shutil.disk_usage(cache.home)._replace(free=4096)
    if words == "sys.exit(1)":  # only at the end: there is room to begin
        end = child_process.silent_end

        def on_full_disk(*about):
            monkeypatch.setattr(child_process.shutil, "disk_usage", lambda folder: full)
            return end(*about)

        monkeypatch.setattr(child_process, "silent_end", on_full_disk)
    with pytest.raises(Unavailable, match=r"The disk is full: .* Make room and resume"):
        follow(request, cache, launch=launch)


def test_a_failure_can_be_tried_again_and_its_error_is_forgotten(
    ask, cache, make_launcher, training_result
):
    request = ask()
    launch = make_launcher("""
folder.report("error", kind="UserError", message={"template": "the disk is full", "values": {}})
sys.exit(1)
""")
    with pytest.raises(UserError, match="disk is full"):
        follow(request, cache, launch=launch)
    launch = make_launcher(f"""
import shutil
shutil.copytree({str(training_result)!r}, folder.result)
""")
    assert isinstance(follow(request, cache, launch=launch)[-1], Result)
