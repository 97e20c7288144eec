"""What a trainer paints: class pictures before it begins, samples while it learns."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.core.errors import Stopped
from pipelines.dreambooth.base import Base
from pipelines.dreambooth.data import class_pictures
from tests.pipelines.dreambooth.training_steps import run, worst


def test_a_stop_amid_class_pictures_keeps_those_that_are_painted(ask, trainer, monkeypatch):
    request = ask(prior_preservation=True, class_pictures=10, steps=1)
    made = trainer(request)
    painted = Base.paint

    def stopped_soon(self, *args, **settings):
        pictures = painted(self, *args, **settings)
        made.folder.ask_to_stop()
        return pictures

    monkeypatch.setattr(Base, "paint", stopped_soon)
    with pytest.raises(Stopped):
        made.run()
    monkeypatch.undo()
    folder = class_pictures.folder_of(request, made.entry, made.folder.home)
    assert class_pictures.list_missing(folder, 10) == [8, 9]
    kept = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert made.folder.about_result is None
    made.folder.go_on()
    trainer(request).run()
    assert class_pictures.list_missing(folder, 10) == []
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())


def test_class_pictures_are_painted_by_the_untouched_model_once(ask, trainer, monkeypatch):
    first = trainer(ask(prior_preservation=True, class_pictures=3, steps=1))
    first.run()
    folder = class_pictures.folder_of(first.request, first.entry, first.folder.home)
    pictures = class_pictures.read(folder, 3)
    monkeypatch.setattr(Base, "paint", lambda *_, **__: pytest.fail("painted again"))
    again = trainer(ask(prior_preservation=True, class_pictures=3, steps=1, seed=5))
    again.run()
    monkeypatch.undo()
    base = Base.load(again.entry, "cpu", "no", again.folder.home, True, lambda *_: None)
    again.folder.go_on()
    from pipelines.dreambooth.trainer import _StopFlag

    flag = _StopFlag(again.folder)
    steps = class_pictures.steps_for(again.entry)
    (alone,) = base.paint("a cat", 1, 1, flag, again.folder.home, steps=steps)
    difference = np.asarray(alone, int) - np.asarray(pictures[1], int)
    assert np.abs(difference).max() <= 1


def test_another_prompt_size_or_model_has_class_pictures_of_its_own(ask, home, trainer):
    entry = trainer(ask()).entry
    folders = {
        class_pictures.folder_of(ask(**changes), entry, home)
        for changes in (
            {},
            {"class_word": "dog"},
            {"resolution": 128},
            {"class_prompts": ["a pet"]},
            {"class_prompts": ["a pet", "a [class]"]},
            {"class_prompts": ["a pet", "a [class]"], "class_word": "dog"},
        )
    }
    assert len(folders) == 6


def test_class_prompts_take_turns_by_pairs_and_pictures_are_called_by_them(
    ask, trainer, monkeypatch
):
    asked = []
    painted = Base.paint

    def record(self, prompt, seed, count, *args, **settings):
        asked.append((prompt, seed, count))
        return painted(self, prompt, seed, count, *args, **settings)

    monkeypatch.setattr(Base, "paint", record)
    prompts = ["a [class] on grass", "a mug"]
    made = trainer(ask(prior_preservation=True, class_pictures=5, class_prompts=prompts))
    made.prepare()
    cat = "a cat on grass"
    assert asked == [(cat, 0, 2), ("a mug", 2, 2), (cat, 4, 1)]
    assert {"a mug", cat} <= set(made.dataset.captions)


def test_sample_pictures_come_when_asked_and_name_the_subject(ask, trainer):
    prompts = ("a [trigger] in the snow", "a dog")
    made = trainer(ask(steps=5, sample_every=2, sample_prompts=prompts))
    made.run()
    lines, _ = made.folder.progress()
    samples = [(line["step"], line["prompt"]) for line in lines if line["event"] == "sample"]
    assert samples == [(step, prompt) for step in (2, 4, 5) for prompt in prompts]
    files = sorted(path.name for path in made.folder.samples.iterdir())
    assert files == [f"{step:06d}-{i}.png" for step in (2, 4, 5) for i in (0, 1)]
    with Image.open(made.folder.samples / files[0]) as picture:
        assert picture.size == (64, 64)


def test_samples_do_not_disturb_what_is_learnt(ask, trainer):
    one = trainer(ask(ema=True))
    other = trainer(ask(ema=True, sample_every=2, sample_prompts=("a [trigger]",)))
    run(one)
    run(other)
    assert worst(one.learner.state(), other.learner.state()) == 0


def test_pictures_are_painted_without_dropout_and_learning_goes_on_with_it(ask, trainer):
    samples = {"sample_every": 100, "sample_prompts": ("a [trigger]",)}
    made = trainer(ask(train_text_encoder=True, dropout=0.9, steps=2, **samples))
    run(made)
    base, stop = made.base, threading.Event()
    parts = [base.unet, base.pipe.text_encoder]
    modes = [[module.training for module in part.modules()] for part in parts]
    pictures = []
    for seed in (1, 2):  # which dropout would draw from
        torch.manual_seed(seed)
        (picture,) = base.paint("a sks cat", 0, 1, stop, made.folder.home)
        pictures.append(np.asarray(picture))
    assert np.array_equal(*pictures)
    assert [[module.training for module in part.modules()] for part in parts] == modes
    dropouts = [m for m in base.pipe.text_encoder.modules() if isinstance(m, torch.nn.Dropout)]
    assert dropouts
    assert all(dropout.training for dropout in dropouts)
