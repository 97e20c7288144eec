"""A training goes on exactly where it was cut off, and what goes wrong in it is said."""

from __future__ import annotations

import json

import pytest
import torch

from pipelines.core import checkpoint
from pipelines.core.errors import Stopped, UserError
from tests.pipelines.dreambooth.training_steps import run, worst


def test_the_text_encoder_and_the_autoencoder_are_let_go_when_nobody_needs_them(ask, trainer):
    made = trainer(ask())
    made.prepare()
    assert made.base.pipe.vae is None
    assert made.base.pipe.text_encoder is None


EXACT = {
    "lora": {"target_modules": "all", "dropout": 0.2, "train_text_encoder": True, "ema": True},
    "lora with a prior": {
        "prior_preservation": True,
        "class_pictures": 2,
        "snr_gamma": 5,
        "noise_offset": 0.1,
        "caption_dropout": 0.3,
        "schedule": "cosine",
        "warmup_steps": 2,
        "gradient_accumulation": 2,
    },
    "prodigy": {"optimizer": "prodigy", "learning_rate": 1.0, "mirror": True, "buckets": True},
    "full": {"method": "full", "learning_rate": 1e-4},
    "textual inversion": {"method": "textual_inversion", "identifier": "<whiskers>"},
}
QUICK = ("lora", "textual inversion")  # what is kept of them is kept of the others, too


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(settings, id=name, marks=() if name in QUICK else pytest.mark.deep)
        for name, settings in EXACT.items()
    ],
)
def test_cut_off_and_resumed_learns_the_same_as_in_one_go(ask, trainer, settings):
    whole = trainer(ask(steps=4, **settings))
    run(whole)
    request = ask(steps=4, save_every=2, **settings)
    run(trainer(request), steps=3)  # a step beyond the checkpoint, which is lost
    second = trainer(request)
    second.prepare()
    assert second.step == 2
    for _ in second.steps():
        pass
    assert second.step == 4
    assert worst(whole.learner.state(), second.learner.state()) <= 1e-6
    if whole.average is not None:
        averages = zip(whole.average.tensors, second.average.tensors, strict=True)
        assert max(float((a - b).abs().max()) for a, b in averages) <= 1e-6
    assert json.dumps(whole.optimizer.state_dict()["param_groups"], default=str) == json.dumps(
        second.optimizer.state_dict()["param_groups"], default=str
    )


def test_progress_of_steps_that_are_done_again_is_taken_back(ask, trainer):
    request = ask(steps=4, save_every=2)
    run(trainer(request), steps=3)
    second = trainer(request)
    second.run()
    lines, _ = second.folder.progress()
    assert [line["step"] for line in lines if line["event"] == "step"] == [1, 2, 3, 4]
    assert [line["step"] for line in lines if line["event"] == "checkpoint"] == [2, 4]
    assert lines[-1]["event"] == "done"


def test_another_seed_learns_something_else(ask, trainer):
    one, other = trainer(ask(steps=1)), trainer(ask(steps=1, seed=1))
    run(one)
    run(other)
    assert worst(one.learner.state(), other.learner.state()) > 1e-3


def test_accumulated_gradients_are_those_of_the_batches_mean(ask, trainer):
    made = trainer(ask(gradient_accumulation=2, max_grad_norm=0, steps=1))
    made.prepare()
    parameters = made.learner.parameters
    gradients = []
    for number in (0, 1):
        made.loss_of(number).total.backward()
        gradients.append([p.grad.clone() for p in parameters])
        made.optimizer.zero_grad()
    taken = []
    made.optimizer.step = lambda: taken.extend(p.grad.clone() for p in parameters)
    for _ in made.steps():
        pass
    for mean, first, second in zip(taken, *gradients, strict=True):
        torch.testing.assert_close(mean, (first + second) / 2, atol=1e-6, rtol=1e-4)


def test_gradient_checkpointing_gives_the_same_gradients(ask, trainer):
    states = []
    for on in (False, True):
        made = trainer(ask(gradient_checkpointing=on, steps=2))
        run(made)
        states.append(made.learner.state())
    assert worst(*states) <= 1e-5


def test_a_stop_keeps_a_checkpoint_and_what_was_learnt(ask, trainer):
    request = ask(steps=50)
    made = trainer(request)
    made.prepare()

    def until_stopped() -> None:
        for done in made.steps():
            if done == 3:
                made.folder.ask_to_stop()

    with pytest.raises(Stopped):
        until_stopped()
    assert checkpoint.load(made.folder.checkpoint)["step"] == 3
    assert made.folder.about_result["steps"] == 3
    assert (made.folder.result / "weights.safetensors").is_file()
    lines, _ = made.folder.progress()
    assert max(line.get("step", 0) for line in lines) == 3


def test_a_full_disk_at_a_checkpoint_keeps_the_one_before_and_says_so(ask, trainer, monkeypatch):
    request = ask(steps=4, save_every=2)
    made = trainer(request)
    made.prepare()
    write = torch.save

    def full(state, file):
        if state["step"] == 4:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        write(state, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="disk is full: the checkpoint of step 4"):
        list(made.steps())
    assert checkpoint.load(made.folder.checkpoint)["step"] == 2
    assert [path.name for path in made.folder.checkpoint.iterdir()] == ["state.pt"]
    monkeypatch.undo()
    second = trainer(request)
    second.run()
    whole = trainer(ask(steps=4))
    run(whole)
    assert worst(whole.learner.state(), second.learner.state()) <= 1e-6


def test_a_damaged_checkpoint_is_named(ask, trainer):
    request = ask(save_every=1)
    made = trainer(request)
    run(made, steps=1)
    (made.folder.checkpoint / "state.pt").write_bytes(b"PK nothing")
    with pytest.raises(UserError, match="checkpoint of this training cannot be read"):
        trainer(request).prepare()


def test_a_loss_that_is_no_number_ends_the_training_with_the_reason(ask, trainer):
    made = trainer(ask(learning_rate=10, optimizer="adamw", max_grad_norm=0, steps=200))
    made.prepare()
    for parameter in made.learner.parameters:
        parameter.data.fill_(float("nan"))
    with pytest.raises(UserError, match="no number any more at step 1: the learning rate 10"):
        list(made.steps())
