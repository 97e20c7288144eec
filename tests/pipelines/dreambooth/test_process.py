"""The trainer in its own process: followed, stopped, killed, found again; and the shelf."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.cache import ModelCache
from pipelines.catalog import OWN, ROOT, Catalog
from pipelines.diffusion import text_to_image
from pipelines.diffusion.lora import families
from pipelines.diffusion.lora.shelf import LoraShelf
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.dreambooth import process, train
from pipelines.dreambooth.folder import TrainingFolder
from pipelines.dreambooth.subjects import Subject
from pipelines.dreambooth.trainer import Trainer
from pipelines.engines import ENGINES
from pipelines.errors import (
    BadRequest,
    NotFound,
    OutOfMemory,
    Stopped,
    Unavailable,
    UserError,
    validated,
)
from pipelines.events import Picture, Progress, Result
from pipelines.loading import Loader
from tests.conftest import TINY
from tests.pipelines.dreambooth.conftest import photo

SCRIPT = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from pipelines.dreambooth.folder import TrainingFolder
folder = TrainingFolder.at(Path(sys.argv[1]))
def step(n):
    folder.report("step", step=n, loss=0.5, rate=1e-4, memory=1, at=time.time())
with folder.held() as mine:
    assert mine
{body}
"""


@pytest.fixture
def cache(home: Path) -> ModelCache:
    def load(name, device, notes):
        pytest.fail(f"{name} was loaded into the studio")

    return ModelCache(load, "cpu", 2**40, home=home, offline=True)


@pytest.fixture
def acting(tmp_path: Path):
    """``acting(body)``: a launcher of a trainer that only acts, by the lines of ``body``."""

    def made(body: str):
        script = tmp_path / "acting.py"
        lines = "\n".join("    " + line for line in body.strip().splitlines())
        script.write_text(SCRIPT.format(root=str(ROOT), body=lines))

        def launch(folder, request, device, offline) -> subprocess.Popen:
            with folder.log.open("ab") as log:
                command = [sys.executable, str(script), str(folder.path)]
                return subprocess.Popen(command, stdout=log, stderr=log)

        return launch

    return made


@pytest.fixture
def learnt(ask, trainer, tmp_path: Path) -> Path:
    """A real result of a short training, for acting trainers to hand over.

    It says that it is one of all steps that :func:`ask` asks for.
    """
    made = trainer(ask(steps=1))
    made.run()
    shutil.copytree(made.folder.result, tmp_path / "learnt")
    return with_steps(tmp_path / "learnt", ask().steps)


def with_steps(result: Path, steps: int) -> Path:
    """A result that says it is one of so many steps."""
    about = json.loads((result / "about.json").read_text())
    (result / "about.json").write_text(json.dumps(about | {"steps": steps}))
    return result


def follow(request, cache, stop=None, launch=None) -> list[Progress | Result]:
    return list(process.run(request, cache, stop or threading.Event(), launch))


def test_a_training_under_accelerate_launch_ends_on_the_owners_shelf(ask, home, cache):
    request = ask(
        steps=3, owner="ada", sample_every=3, sample_prompts=("a [trigger]",), save_every=2
    )
    events = list(ENGINES["dreambooth"].run(request, cache, threading.Event()))
    steps = [e.step for e in events if isinstance(e, Progress) and e.note is None]
    assert sorted(set(steps)) == [1, 2, 3]
    assert all(e.total == 3 for e in events if isinstance(e, Progress))
    result = events[-1]
    assert isinstance(result, Result)
    assert result.image.size == (64, 64)
    assert (result.data["steps"], result.data["training"]) == (3, request.training)
    (about,) = LoraShelf(home).own("ada")
    assert (about.id, about.name, about.kind) == (result.data["lora"], "whiskers", "lora")
    assert (about.rank, about.triggers, about.base) == (4, ("sks cat",), "tiny-sd1")
    assert (about.training, about.subjects) == (request.training, (request.subject,))
    assert about.modules["unet"] > 0
    assert not TrainingFolder(home, request.training).running


def at_once(folder, request, device, offline) -> subprocess.Popen:
    """Trains within this process, as a launcher: torch is loaded here already."""
    assert main_of(folder) == train.DONE
    return subprocess.Popen([sys.executable, "-c", ""])


def picture(home: Path, **settings) -> np.ndarray:
    """What the studio paints from these settings, in a cache of its own."""
    loader = Loader(Catalog(home), home, offline=True, budget_bytes=2**30)
    cache = ModelCache(loader.load, device="cpu", budget_bytes=2**30, home=home)
    values = {"model": TINY, "steps": 2, "width": 64, "height": 64, "seed": 7} | settings
    events = text_to_image.run(validated(TextToImageRequest, values), cache, threading.Event())
    (painted,) = [event.image for event in events if isinstance(event, Picture)]
    return np.asarray(painted).astype(int)


@pytest.mark.parametrize(
    ("method", "kind", "identifier", "settings"),
    [
        ("lora", "lora", "sks", {"rank": 4}),
        ("full", "model", "sks", {"learning_rate": 1e-3}),
        ("textual_inversion", "embedding", "<whiskers>", {"vectors": 2, "learning_rate": 1.0}),
    ],
)
def test_what_each_method_has_learnt_is_painted_with(
    ask, home, cache, method, kind, identifier, settings
):
    request = ask(method=method, identifier=identifier, steps=3, **settings)
    result = follow(request, cache, launch=at_once)[-1]
    (about,) = LoraShelf(home).own("local")
    assert (about.id, about.kind, about.base) == (result.data["lora"], kind, TINY)
    assert about.triggers == (request.trigger,)
    assert about.subjects == (request.subject,)
    prompt = f"a {request.trigger}"
    learnt = {"model": f"{OWN}{about.id}"}
    if kind != "model":
        learnt = {"loras": [{"name": about.name, "id": about.id}]}
    before, after = picture(home, prompt=prompt), picture(home, prompt=prompt, **learnt)
    assert np.abs(after - before).mean() > 1
    if kind == "embedding":  # it is nothing but a word
        other = {"prompt": "a mug"}
        assert np.array_equal(picture(home, **other), picture(home, **other, **learnt))


def test_a_whole_model_is_told_by_its_shape(ask, home, cache, monkeypatch):
    """As a merged one is: what is made from the starter fits the starter's LoRAs."""
    first = follow(ask(method="full", steps=1), cache, launch=at_once)[-1].data["lora"]
    shelf = LoraShelf(home)
    assert shelf.by_id(first).family == "unet-32"
    monkeypatch.setattr(families, "_starter_width", lambda: 32)
    again = ask(method="full", steps=1, model=f"{OWN}{first}", subject=other_subject(home))
    made = shelf.by_id(follow(again, cache, launch=at_once)[-1].data["lora"])
    assert families.title_of(made.family) == "Atelier starter"
    assert made.sources == (first,)
    assert made.subjects == (again.subject, *shelf.by_id(first).subjects)


def other_subject(home: Path) -> str:
    made = Subject.create(home, "Tom", "sks", "cat")
    for seed in range(10, 12):
        made.add(f"{seed}.png", photo(seed))
    return made.id


def test_the_command_is_accelerates_with_the_devices_own_flags(ask, home):
    folder = TrainingFolder(home, "0" * 32)
    on_cpu = process.launch_command(folder, ask(), "cpu", True)
    assert on_cpu[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    assert "--cpu" in on_cpu
    assert on_cpu[-1] == "--offline"
    assert on_cpu[on_cpu.index("-m", 3) + 1] == "pipelines.dreambooth.train"
    second = process.launch_command(folder, ask(), "cuda:1", False)
    assert second[second.index("--gpu_ids") + 1] == "1"
    assert "--cpu" not in second
    several = process.launch_command(folder, ask(processes=4), "cuda", False)
    assert several[several.index("--num_processes") + 1] == "4"
    assert "--multi_gpu" in several


def test_kill_9_at_random_steps_five_times_changes_nothing(ask, trainer):
    whole = trainer(ask(steps=30, dropout=0.1))
    whole.run()
    request = ask(steps=30, dropout=0.1, save_every=3)
    folder = TrainingFolder(whole.folder.home, request.training)
    rng = random.Random(7)
    for _ in range(5):
        child = os.fork()
        if child == 0:
            try:
                made = trainer(request)
                made.prepare()
                for _ in made.steps():
                    time.sleep(0.02)
            finally:
                os._exit(0)
        begun, patience = rng.randint(2, 6), time.monotonic() + 120
        while time.monotonic() < patience:
            lines, _ = folder.progress()
            if sum(line["event"] == "step" for line in lines) >= begun:
                break
            time.sleep(0.005)
        time.sleep(rng.random() * 0.2)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    second = trainer(request)
    second.run()
    mine, other = whole.learner.state(), second.learner.state()
    assert max(float((mine[n] - other[n]).abs().max()) for n in mine) <= 1e-6
    lines, _ = folder.progress()
    assert [line["step"] for line in lines if line["event"] == "step"] == list(range(1, 31))


def test_a_stop_is_passed_on_and_what_was_learnt_is_on_the_shelf(ask, home, cache, acting, learnt):
    launch = acting(f"""
step(1)
while not folder.stopping:
    time.sleep(0.05)
import shutil
shutil.copytree({str(learnt)!r}, folder.result)
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
    (about,) = LoraShelf(home).own("local")
    assert about.training == request.training


def test_a_stop_before_the_first_step_leaves_the_shelf_empty(ask, home, cache, acting):
    launch = acting("""
while not folder.stopping:
    time.sleep(0.05)
""")
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        follow(ask(), cache, stop, launch)
    assert LoraShelf(home).own("local") == []


def test_too_little_memory_in_the_trainer_is_said_in_its_own_words(ask, cache, acting):
    launch = acting("""
folder.report("error", kind="OutOfMemory",
              message={"template": "{device} ran out", "values": {"device": "cuda:1"}})
sys.exit(1)
""")
    with pytest.raises(OutOfMemory, match="cuda:1 ran out"):
        follow(ask(), cache, launch=launch)


def test_a_killed_trainer_is_most_often_one_without_memory(ask, cache, acting):
    launch = acting("""
step(1)
step(2)
os.kill(os.getpid(), signal.SIGKILL)
""")
    with pytest.raises(OutOfMemory, match=r"ended the trainer at step 2 \(SIGKILL\).*resume"):
        follow(ask(), cache, launch=launch)


def test_a_trainer_that_ends_without_a_word_shows_its_log(ask, cache, acting):
    launch = acting("""
print("the driver is too old", flush=True)
sys.exit(7)
""")
    with pytest.raises(UserError, match=r"at step 0 with exit code 7.*driver is too old"):
        follow(ask(), cache, launch=launch)


def test_a_failure_can_be_tried_again_and_its_error_is_forgotten(ask, cache, acting, learnt):
    request = ask()
    launch = acting("""
folder.report("error", kind="UserError", message={"template": "the disk is full", "values": {}})
sys.exit(1)
""")
    with pytest.raises(UserError, match="disk is full"):
        follow(request, cache, launch=launch)
    launch = acting(f"""
import shutil
shutil.copytree({str(learnt)!r}, folder.result)
""")
    assert isinstance(follow(request, cache, launch=launch)[-1], Result)


def test_a_trainer_that_outlived_its_studio_is_followed_again(ask, home, cache, acting, learnt):
    request = ask(steps=2)
    folder = TrainingFolder(home, request.training)
    folder.begin(request)
    child = acting(f"""
step(1)
while not (folder.path / "go").exists():
    time.sleep(0.05)
step(2)
import shutil
shutil.copytree({str(learnt)!r}, folder.result)
""")(folder, request, "cpu", True)
    while not folder.progress()[0]:
        time.sleep(0.05)
    events = []
    for event in process.run(request, cache, threading.Event(), never):
        events.append(event)
        if event.__class__ is Progress and event.step == 1:
            (folder.path / "go").touch()
    child.wait()
    assert isinstance(events[-1], Result)
    assert [e.step for e in events if isinstance(e, Progress) and e.note is None] == [1, 2]


def never(*_):
    pytest.fail("a second trainer was started")


def at_work(folder: TrainingFolder, patience: float = 20) -> None:
    """Waits until a trainer holds the folder."""
    end = time.monotonic() + patience
    while not folder.running:
        assert time.monotonic() < end
        time.sleep(0.02)


def followed(request, cache, child, launch, then=None) -> Result:
    """Follows ``child``, which an earlier studio has left; ``then()`` is called meanwhile."""
    events = process.run(request, cache, threading.Event(), launch)
    kept = [next(events)]
    if then is not None:
        then()
    kept += events
    child.wait()
    assert isinstance(kept[-1], Result)
    return kept[-1]


def test_a_trainer_that_a_closing_studio_had_stopped_is_started_again(
    ask, home, cache, acting, learnt
):
    """Its 40 steps of 1000 are no result: only a person who presses stop wants those."""
    request = ask(steps=1000)
    folder = TrainingFolder(home, request.training)
    folder.begin(request)
    folder.ask_to_stop()
    child = acting(f"""
step(40)
while not (folder.path / "go").exists():
    time.sleep(0.05)
import json, shutil
shutil.copytree({str(learnt)!r}, folder.result)
about = json.loads((folder.result / "about.json").read_text()) | {{"steps": 40}}
(folder.result / "about.json").write_text(json.dumps(about))
folder.report("stopped")
""")(folder, request, "cpu", True)
    at_work(folder)
    again = acting(f"""
assert not folder.stopping
step(1000)
import shutil
shutil.copytree({str(with_steps(learnt, 1000))!r}, folder.result, dirs_exist_ok=True)
""")
    result = followed(request, cache, child, again, (folder.path / "go").touch)
    assert result.data["steps"] == 1000
    (about,) = LoraShelf(home).own("local")
    assert about.training == request.training


def test_one_that_was_stopped_before_its_first_step_is_started_again(
    ask, home, cache, acting, learnt
):
    request = ask()
    folder = TrainingFolder(home, request.training)
    folder.begin(request)
    folder.ask_to_stop()
    child = acting("""
while not (folder.path / "go").exists():
    time.sleep(0.05)
folder.report("stopped")
""")(folder, request, "cpu", True)
    at_work(folder)
    again = acting(f"""
import shutil
shutil.copytree({str(learnt)!r}, folder.result)
""")
    assert followed(request, cache, child, again, (folder.path / "go").touch)


def test_one_that_has_not_seen_yet_that_it_should_stop_goes_on(ask, home, cache, acting, learnt):
    request = ask()
    folder = TrainingFolder(home, request.training)
    folder.begin(request)
    folder.ask_to_stop()
    child = acting(f"""
while not (folder.path / "go").exists():
    time.sleep(0.05)
assert not folder.stopping
import shutil
shutil.copytree({str(learnt)!r}, folder.result)
""")(folder, request, "cpu", True)
    at_work(folder)
    assert followed(request, cache, child, never, (folder.path / "go").touch)


@pytest.mark.parametrize("forgets", [True, False], ids=["forgets", "never began"])
def test_an_error_of_an_earlier_run_is_not_that_of_a_trainer_that_is_found_at_work(
    ask, home, cache, acting, learnt, forgets
):
    request = ask()
    folder = TrainingFolder(home, request.training)
    folder.begin(request)
    earlier = {"template": "the disk was full", "values": {}}
    folder.report("error", kind="UserError", message=earlier)
    child = acting(f"""
while not (folder.path / "go").exists():
    time.sleep(0.05)
if {forgets}:
    folder.forget_after(0)
step(1)
import shutil
shutil.copytree({str(learnt)!r}, folder.result)
""")(folder, request, "cpu", True)
    at_work(folder)
    assert followed(request, cache, child, never, (folder.path / "go").touch)


def test_an_error_of_a_trainer_that_is_found_at_work_is_said(ask, home, cache, acting):
    request = ask()
    folder = TrainingFolder(home, request.training)
    folder.begin(request)
    child = acting("""
while not (folder.path / "go").exists():
    time.sleep(0.05)
folder.report("error", kind="UserError", message={"template": "the disk is full", "values": {}})
sys.exit(1)
""")(folder, request, "cpu", True)
    at_work(folder)
    with pytest.raises(UserError, match="the disk is full"):
        followed(request, cache, child, never, (folder.path / "go").touch)
    child.wait()


def test_a_stop_that_a_person_asks_of_a_trainer_that_is_found_at_work_is_one(
    ask, home, cache, acting, learnt
):
    request, stop = ask(steps=1000), threading.Event()
    folder = TrainingFolder(home, request.training)
    folder.begin(request)
    child = acting(f"""
while not folder.stopping:
    time.sleep(0.05)
import shutil
shutil.copytree({str(with_steps(learnt, 40))!r}, folder.result)
folder.report("stopped")
""")(folder, request, "cpu", True)
    at_work(folder)
    stop.set()
    with pytest.raises(Stopped):
        follow(request, cache, stop, never)
    child.wait()
    (about,) = LoraShelf(home).own("local")
    assert about.training == request.training


def stopped(request, cache, acting, learnt: Path) -> None:
    """A training that was stopped after one step; what it has learnt is on the shelf."""
    launch, stop = acting(f"""
import shutil
shutil.copytree({str(with_steps(learnt, 1))!r}, folder.result, dirs_exist_ok=True)
"""), threading.Event()  # fmt: skip
    stop.set()
    with pytest.raises(Stopped):
        follow(request, cache, stop, launch)
    with_steps(learnt, request.steps)


def finishing(acting, learnt: Path):
    """A launcher of a trainer that takes all steps that are left."""
    return acting(f"""
import shutil
shutil.copytree({str(learnt)!r}, folder.result, dirs_exist_ok=True)
""")


def test_a_resumed_trainings_result_takes_the_place_of_its_earlier_one(
    ask, home, cache, acting, learnt
):
    request, shelf = ask(), LoraShelf(home)
    stopped(request, cache, acting, learnt)
    (first,) = shelf.own("local")
    shelf.rename("local", first.id, "my cat")
    second = follow(request, cache, launch=finishing(acting, learnt))[-1].data["lora"]
    (about,) = shelf.own("local")
    assert second == first.id == about.id
    assert about.name == "my cat"


def test_a_training_that_is_done_keeps_nothing_to_go_on_from(ask, home, cache, acting, learnt):
    request = ask()
    folder = TrainingFolder(home, request.training)
    folder.checkpoint.mkdir(parents=True)
    (folder.checkpoint / "state.pt").write_bytes(bytes(10**6))
    stopped(request, cache, acting, learnt)
    assert folder.bytes > 10**6
    assert folder.steps_on_shelf == 1
    done = follow(request, cache, launch=finishing(acting, learnt))[-1]
    assert folder.steps_on_shelf == request.steps
    assert [path.name for path in folder.result.iterdir()] == ["about.json"]
    assert not folder.checkpoint.exists()
    assert folder.bytes < 10**4
    # As after a studio that was killed just then.
    again = follow(request, cache, launch=never)
    assert [each.data | {"seconds": 0} for each in again] == [done.data | {"seconds": 0}]
    assert LoraShelf(home).factors(LoraShelf(home).by_id(done.data["lora"]))


def test_what_was_taken_off_the_shelf_is_learnt_anew(ask, home, cache, acting, learnt):
    request, shelf = ask(), LoraShelf(home)
    first = follow(request, cache, launch=finishing(acting, learnt))[-1].data["lora"]
    shelf.delete("local", first)
    stopped(request, cache, acting, learnt)
    assert TrainingFolder(home, request.training).steps_on_shelf == 1
    second = follow(request, cache, launch=finishing(acting, learnt))[-1]
    assert isinstance(second, Result)
    assert [about.id for about in shelf.own("local")] == [second.data["lora"]]


@pytest.mark.parametrize("error", [
    OSError(errno.ENOSPC, "No space left on device"),
    shutil.Error([("from", "to", "[Errno 28] No space left on device: 'to'")]),
])  # fmt: skip
def test_a_full_disk_leaves_what_is_on_the_shelf_and_is_said(
    ask, home, cache, acting, learnt, monkeypatch, error
):
    request, shelf = ask(), LoraShelf(home)
    stopped(request, cache, acting, learnt)
    (before,) = shelf.own("local")
    launch = finishing(acting, learnt)

    def full(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.diffusion.lora.shelf._write_json", full)
        with pytest.raises(Unavailable, match=r"The disk is full: whiskers could not .* resume\."):
            follow(request, cache, launch=launch)
    assert shelf.own("local") == [before]
    assert shelf.factors(before)
    assert follow(request, cache, launch=launch)[-1].data["lora"] == before.id
    assert len(shelf.own("local")) == 1


def test_what_could_not_be_put_on_the_shelf_at_first_is_there_once(
    ask, home, cache, acting, learnt, monkeypatch
):
    launch = finishing(acting, learnt)
    request, remember = ask(), TrainingFolder.remember_shelf_id

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(TrainingFolder, "remember_shelf_id", full)
        with pytest.raises(Unavailable, match="disk is full"):
            follow(request, cache, launch=launch)
    assert TrainingFolder.remember_shelf_id is remember
    follow(request, cache, launch=launch)
    assert len(LoraShelf(home).own("local")) == 1


@pytest.mark.parametrize("done", [True, False])
def test_other_settings_need_a_training_of_their_own(ask, cache, acting, learnt, done):
    request = ask()
    stopped(request, cache, acting, learnt)
    launch = finishing(acting, learnt)
    if done:
        follow(request, cache, launch=launch)
    changed = request.model_copy(update={"rank": 8, "learning_rate": 1e-3, "name": "other"})
    with pytest.raises(BadRequest, match=r"other settings \(Rank, Learning rate\)"):
        follow(changed, cache, launch=launch)


def test_what_cannot_work_is_refused_before_anything_starts(ask, cache):
    def never(*_):
        pytest.fail("a trainer was started")

    with pytest.raises(BadRequest, match="batch size is 5, but the subject has 4 photos"):
        follow(ask(batch_size=5), cache, launch=never)
    with pytest.raises(NotFound, match="There is no subject"):
        follow(ask(subject="0" * 32), cache, launch=never)
    with pytest.raises(NotFound, match="There is no model called sd99"):
        follow(ask(model="sd99"), cache, launch=never)


def test_idle_models_are_let_go_when_memory_is_short(ask, home, acting, learnt, monkeypatch):
    cleared = []
    cache = ModelCache(lambda *_: None, "cpu", 2**40, home=home)
    monkeypatch.setattr(cache, "clear", lambda: cleared.append(True))
    free = iter([10**6, 10**12])
    monkeypatch.setattr(process, "free_memory", lambda device: next(free))
    launch = acting(f"""
import shutil
shutil.copytree({str(learnt)!r}, folder.result)
""")
    follow(ask(), cache, launch=launch)
    assert cleared == [True]


def main_of(folder: TrainingFolder) -> int:
    return train.main([str(folder.path), "--device", "cpu", "--offline"])


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "OutOfMemory",
         "batch size 2: 2.1 GB more was asked for"),
        (MemoryError(), "OutOfMemory", "ran out of memory"),
        (UserError("The disk is full."), "UserError", "The disk is full."),
        (ZeroDivisionError("by zero"), "UserError", "ended with an error: ZeroDivisionError: by"),
    ],
)  # fmt: skip
def test_the_trainer_says_why_it_failed(ask, trainer, monkeypatch, raised, kind, words):
    folder = trainer(ask()).folder

    def failing(self):
        raise raised

    monkeypatch.setattr(Trainer, "run", failing)
    assert main_of(folder) == train.FAILED
    line = folder.progress()[0][-1]
    assert (line["event"], line["kind"]) == ("error", kind)
    message = line["message"]
    assert words in message["template"].format(**message["values"])


def test_two_trainers_never_share_a_folder(ask, trainer):
    folder = trainer(ask()).folder
    with folder.held() as mine:
        assert mine
        assert folder.running
        assert main_of(folder) == train.TAKEN
    assert not folder.running


def test_the_trainer_runs_from_its_command_line(ask, trainer):
    folder = trainer(ask(steps=2)).folder
    assert main_of(folder) == train.DONE
    assert json.loads((folder.result / "about.json").read_text())["steps"] == 2
