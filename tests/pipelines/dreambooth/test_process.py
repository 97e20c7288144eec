"""The trainer in its own process: started, followed, killed; and what it says when it fails."""

from __future__ import annotations

import gc
import json
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.core import child_process
from pipelines.core.cache import ModelCache
from pipelines.core.errors import (
    UserError,
    validate,
)
from pipelines.core.events import Picture, Progress, Result
from pipelines.diffusion import text_to_image
from pipelines.diffusion.lora import families
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.dreambooth import process, train
from pipelines.dreambooth.data.subjects import Subject
from pipelines.dreambooth.folder import TrainingFolder
from pipelines.dreambooth.requests import TrainingRequest
from pipelines.dreambooth.trainer import Trainer
from pipelines.loading import Loader
from pipelines.models.catalog import OWN, Catalog
from tests.conftest import TINY
from tests.patience import wait_until
from tests.pipelines.dreambooth import forked
from tests.pipelines.dreambooth.acting import follow
from tests.pipelines.dreambooth.conftest import photo, trainer_of


# In the browser one is, too.
@pytest.mark.deep
def test_a_training_under_accelerate_launch_ends_in_the_owners_library(ask, home, cache):
    request = ask(
        steps=3, owner="ada", sample_every=3, sample_prompts=("a [trigger]",), save_every=2
    )
    events = list(process.run(request, cache, threading.Event()))
    steps = [e.step for e in events if isinstance(e, Progress) and e.note is None]
    assert sorted(set(steps)) == [1, 2, 3]
    assert all(e.total == 3 for e in events if isinstance(e, Progress))
    result = events[-1]
    assert isinstance(result, Result)
    assert result.image.size == (64, 64)
    assert (result.data["steps"], result.data["training"]) == (3, request.training)
    (record,) = LoraLibrary(home).own("ada")
    assert (record.id, record.name, record.kind) == (result.data["lora"], "whiskers", "lora")
    assert (record.rank, record.triggers, record.base) == (4, ("sks cat",), "tiny-sd1")
    assert (record.training, record.subjects) == (request.training, (request.subject,))
    assert record.modules["unet"] > 0
    assert not TrainingFolder(home, request.training).is_running


def at_once(folder, request, device, offline) -> subprocess.Popen:
    """Trains within this process, as a launcher: torch is loaded here already."""
    assert main_of(folder) == child_process.DONE
    return subprocess.Popen([sys.executable, "-c", ""])


def picture(home: Path, **settings) -> np.ndarray:
    """What the studio paints from these settings, in a cache of its own."""
    loader = Loader(Catalog(home, own=LoraLibrary(home)), home, offline=True, budget_bytes=2**30)
    cache = ModelCache(loader.load, device="cpu", budget_bytes=2**30, home=home)
    values = {"model": TINY, "steps": 2, "width": 64, "height": 64, "seed": 7} | settings
    events = text_to_image.run(validate(TextToImageRequest, values), cache, threading.Event())
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
    (record,) = LoraLibrary(home).own("local")
    assert (record.id, record.kind, record.base) == (result.data["lora"], kind, TINY)
    assert record.triggers == (request.trigger,)
    assert record.subjects == (request.subject,)
    prompt = f"a {request.trigger}"
    learnt = {"model": f"{OWN}{record.id}"}
    if kind != "model":
        learnt = {"loras": [{"name": record.name, "id": record.id}]}
    before, after = picture(home, prompt=prompt), picture(home, prompt=prompt, **learnt)
    assert np.abs(after - before).mean() > 1
    if kind == "embedding":  # it is nothing but a word
        other = {"prompt": "a mug"}
        assert np.array_equal(picture(home, **other), picture(home, **other, **learnt))


def test_a_whole_model_is_told_by_its_shape(ask, home, cache, monkeypatch):
    """As a merged one is: what is made from the starter fits the starter's LoRAs."""
    first = follow(ask(method="full", steps=1), cache, launch=at_once)[-1].data["lora"]
    library = LoraLibrary(home)
    assert library.by_id(first).family == "unet-32"
    monkeypatch.setattr(families, "_starter_width", lambda: 32)
    again = ask(method="full", steps=1, model=f"{OWN}{first}", subject=other_subject(home))
    made = library.by_id(follow(again, cache, launch=at_once)[-1].data["lora"])
    assert families.title_of(made.family) == "Atelier starter"
    assert made.sources == (first,)
    assert made.subjects == (again.subject, *library.by_id(first).subjects)


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


def teach_slowly(home: Path, request: TrainingRequest) -> None:
    gc.freeze()  # what has been imported is no garbage to search through
    torch.set_num_threads(1)
    made = trainer_of(home, request)
    made.prepare()
    for _ in made.steps():
        time.sleep(0.03)


@pytest.mark.deep
@pytest.mark.parametrize("times", [1, 5])
def test_kill_9_at_random_steps_changes_nothing(ask, home, trainer, times):
    whole = trainer(ask(steps=30, dropout=0.1))
    whole.run()
    request = ask(steps=30, dropout=0.1, save_every=3)
    folder = TrainingFolder(home, request.training)

    def steps() -> list[int]:
        return [line["step"] for line in folder.progress()[0] if line["event"] == "step"]

    rng = random.Random(7)
    for _ in range(times):
        wanted = len(steps()) + rng.randint(2, 5)
        child = forked.CONTEXT.Process(target=teach_slowly, args=(home, request), daemon=True)
        child.start()
        wait_until(lambda child=child, n=wanted: len(steps()) >= n or not child.is_alive())
        assert child.is_alive(), "it has ended by itself"
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
    second = trainer(request)
    second.run()
    mine, other = whole.learner.state(), second.learner.state()
    assert max(float((mine[n] - other[n]).abs().max()) for n in mine) <= 1e-6
    assert steps() == list(range(1, 31))


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

    def fail(self):
        raise raised

    monkeypatch.setattr(Trainer, "run", fail)
    assert main_of(folder) == child_process.FAILED
    line = folder.progress()[0][-1]
    assert (line["event"], line["kind"]) == ("error", kind)
    message = line["message"]
    assert words in message["template"].format(**message["values"])


def test_two_trainers_never_share_a_folder(ask, trainer):
    folder = trainer(ask()).folder
    with folder.hold() as mine:
        assert mine
        assert folder.is_running
        assert main_of(folder) == child_process.TAKEN
    assert not folder.is_running


def test_the_trainer_runs_from_its_command_line(ask, trainer):
    folder = trainer(ask(steps=2)).folder
    assert main_of(folder) == child_process.DONE
    assert json.loads((folder.result / "about.json").read_text())["steps"] == 2
