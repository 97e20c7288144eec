"""Trainers that have outlived their studio, and are found at work by the next one."""

from __future__ import annotations

import threading

import pytest

from pipelines.core.errors import (
    Stopped,
    UserError,
)
from pipelines.core.events import Progress, Result
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.dreambooth import process
from pipelines.dreambooth.folder import TrainingFolder
from tests.patience import PATIENCE, wait_until
from tests.pipelines.dreambooth.acting import follow, never, with_steps


def test_a_trainer_that_outlived_its_studio_is_followed_again(
    ask, home, cache, make_launcher, training_result
):
    request = ask(steps=2)
    folder = TrainingFolder(home, request.training)
    folder.begin(request)
    child = make_launcher(f"""
step(1)
until(lambda: (folder.path / "go").exists())
step(2)
import shutil
shutil.copytree({str(training_result)!r}, folder.result)
""")(folder, request, "cpu", True)
    wait_until(lambda: folder.progress()[0])
    events = []
    for event in process.run(request, cache, threading.Event(), never):
        events.append(event)
        if event.__class__ is Progress and event.step == 1:
            (folder.path / "go").touch()
    child.wait(PATIENCE)
    assert isinstance(events[-1], Result)
    assert [e.step for e in events if isinstance(e, Progress) and e.note is None] == [1, 2]


def at_work(folder: TrainingFolder) -> None:
    """Waits until a trainer holds the folder."""
    wait_until(lambda: folder.is_running)


def follow_child(request, cache, child, launch, then=None) -> Result:
    """Follows ``child``, which an earlier studio has left; ``then()`` is called meanwhile."""
    events = process.run(request, cache, threading.Event(), launch)
    kept = [next(events)]
    if then is not None:
        then()
    kept += events
    child.wait(PATIENCE)
    assert isinstance(kept[-1], Result)
    return kept[-1]


def test_a_trainer_that_a_closing_studio_had_stopped_is_started_again(
    ask, home, cache, make_launcher, training_result
):
    """Its 40 steps of 1000 are no result: only a person who presses stop wants those."""
    request = ask(steps=1000)
    folder = TrainingFolder(home, request.training)
    folder.begin(request)
    folder.ask_to_stop()
    child = make_launcher(f"""
step(40)
until(lambda: (folder.path / "go").exists())
import json, shutil
shutil.copytree({str(training_result)!r}, folder.result)
about = json.loads((folder.result / "about.json").read_text()) | {{"steps": 40}}
(folder.result / "about.json").write_text(json.dumps(about))
folder.report("stopped")
""")(folder, request, "cpu", True)
    at_work(folder)
    again = make_launcher(f"""
assert not folder.is_stopping
step(1000)
import shutil
shutil.copytree({str(with_steps(training_result, 1000))!r}, folder.result, dirs_exist_ok=True)
""")
    result = follow_child(request, cache, child, again, (folder.path / "go").touch)
    assert result.data["steps"] == 1000
    (record,) = LoraLibrary(home).own("local")
    assert record.training == request.training


def test_one_that_was_stopped_before_its_first_step_is_started_again(
    ask, home, cache, make_launcher, training_result
):
    request = ask()
    folder = TrainingFolder(home, request.training)
    folder.begin(request)
    folder.ask_to_stop()
    child = make_launcher("""
until(lambda: (folder.path / "go").exists())
folder.report("stopped")
""")(folder, request, "cpu", True)
    at_work(folder)
    again = make_launcher(f"""
import shutil
shutil.copytree({str(training_result)!r}, folder.result)
""")
    assert follow_child(request, cache, child, again, (folder.path / "go").touch)


def test_one_that_has_not_seen_yet_that_it_should_stop_goes_on(
    ask, home, cache, make_launcher, training_result
):
    request = ask()
    folder = TrainingFolder(home, request.training)
    folder.begin(request)
    folder.ask_to_stop()
    child = make_launcher(f"""
until(lambda: (folder.path / "go").exists())
assert not folder.is_stopping
import shutil
shutil.copytree({str(training_result)!r}, folder.result)
""")(folder, request, "cpu", True)
    at_work(folder)
    assert follow_child(request, cache, child, never, (folder.path / "go").touch)


@pytest.mark.parametrize("forgets", [True, False], ids=["forgets", "never began"])
def test_an_error_of_an_earlier_run_is_not_that_of_a_trainer_that_is_found_at_work(
    ask, home, cache, make_launcher, training_result, forgets
):
    request = ask()
    folder = TrainingFolder(home, request.training)
    folder.begin(request)
    earlier = {"template": "the disk was full", "values": {}}
    folder.report("error", kind="UserError", message=earlier)
    child = make_launcher(f"""
until(lambda: (folder.path / "go").exists())
if {forgets}:
    folder.forget_after(0)
step(1)
import shutil
shutil.copytree({str(training_result)!r}, folder.result)
""")(folder, request, "cpu", True)
    at_work(folder)
    assert follow_child(request, cache, child, never, (folder.path / "go").touch)


def test_an_error_of_a_trainer_that_is_found_at_work_is_said(ask, home, cache, make_launcher):
    request = ask()
    folder = TrainingFolder(home, request.training)
    folder.begin(request)
    child = make_launcher("""
until(lambda: (folder.path / "go").exists())
folder.report("error", kind="UserError", message={"template": "the disk is full", "values": {}})
sys.exit(1)
""")(folder, request, "cpu", True)
    at_work(folder)
    with pytest.raises(UserError, match="the disk is full"):
        follow_child(request, cache, child, never, (folder.path / "go").touch)
    child.wait(PATIENCE)


def test_a_stop_that_a_person_asks_of_a_trainer_that_is_found_at_work_is_one(
    ask, home, cache, make_launcher, training_result
):
    request, stop = ask(steps=1000), threading.Event()
    folder = TrainingFolder(home, request.training)
    folder.begin(request)
    child = make_launcher(f"""
until(lambda: folder.is_stopping)
import shutil
shutil.copytree({str(with_steps(training_result, 40))!r}, folder.result)
folder.report("stopped")
""")(folder, request, "cpu", True)
    at_work(folder)
    stop.set()
    with pytest.raises(Stopped):
        follow(request, cache, stop, never)
    child.wait(PATIENCE)
    (record,) = LoraLibrary(home).own("local")
    assert record.training == request.training
