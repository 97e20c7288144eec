"""What learns, what stays, and that a training goes on exactly where it was cut off."""

from __future__ import annotations

import json
import shutil
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pipelines import checkpoint
from pipelines.catalog import Catalog
from pipelines.dreambooth import class_pictures
from pipelines.dreambooth.base import Base
from pipelines.dreambooth.learners import LEARNERS, LoraLearner
from pipelines.dreambooth.optimizers import make_optimizer
from pipelines.dreambooth.presets import settings_for
from pipelines.errors import BadRequest, Stopped, UserError
from tests import twins


def frozen_of(base: Base) -> dict[str, torch.Tensor]:
    parts = {"unet": base.unet, "text": base.pipe.text_encoder}
    return {
        f"{part}.{name}": parameter.detach().clone()
        for part, module in parts.items()
        if module is not None
        for name, parameter in module.named_parameters()
        if not parameter.requires_grad
    }


def worst(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def run(trainer, steps: int | None = None) -> None:
    """Prepares and takes ``steps`` of the steps, all of them when None."""
    trainer.prepare()
    for done in trainer.steps():
        if done == steps:
            break


def test_a_lora_at_step_0_changes_nothing_at_all(ask, trainer):
    made = trainer(ask(target_modules="all", train_text_encoder=True))
    base = made.base = Base.load(made.entry, "cpu", "no", made.folder.home, True, lambda *_: None)
    sample, text = torch.randn(1, 4, 8, 8), torch.randn(1, 77, 32)
    ids = torch.arange(77)[None]
    with torch.no_grad():
        before = base.unet(sample, 500, text).sample
        read = base.pipe.text_encoder(ids)[0]
        LoraLearner(made.request, base)
        assert torch.equal(base.unet(sample, 500, text).sample, before)
        assert torch.equal(base.pipe.text_encoder(ids)[0], read)


@pytest.mark.parametrize("text", [False, True])
def test_a_lora_learns_and_all_else_stays_bit_for_bit(ask, trainer, text: bool):
    made = trainer(ask(train_text_encoder=text, target_modules="all"))
    made.prepare()
    before, first = frozen_of(made.base), made.learner.state()
    for _ in made.steps():
        pass
    after = frozen_of(made.base)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    moved = {n for n, p in made.learner.state().items() if not torch.equal(p, first[n])}
    assert moved == set(first)
    assert any(name.startswith("text0.") for name in moved) is text


def test_the_text_encoder_and_the_autoencoder_are_let_go_when_nobody_needs_them(ask, trainer):
    made = trainer(ask())
    made.prepare()
    assert made.base.pipe.vae is None
    assert made.base.pipe.text_encoder is None


def test_a_new_word_learns_its_rows_and_leaves_every_other_row_as_it_was(ask, trainer):
    made = trainer(ask(method="textual_inversion", identifier="<whiskers>", vectors=3))
    made.prepare()
    (embedding,) = made.learner.embeddings
    known, rows = embedding.weight.detach().clone(), embedding.rows.detach().clone()
    before = frozen_of(made.base)
    for _ in made.steps():
        pass
    assert torch.equal(embedding.weight, known)
    assert not torch.equal(embedding.rows, rows)
    assert all((embedding.rows[i] != rows[i]).any() for i in range(3))
    after = frozen_of(made.base)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_new_word_begins_as_the_class_word(ask, trainer):
    made = trainer(ask(method="textual_inversion", identifier="<whiskers>", class_word="a"))
    made.prepare()
    tokenizer, _ = made.base.text_parts[0]
    (begin,) = tokenizer("a", add_special_tokens=False).input_ids
    (embedding,) = made.learner.embeddings
    assert torch.equal(embedding.rows[0], embedding.weight[begin])
    assert made.dataset.captions[0] == "a <whiskers> number 0"
    assert len(tokenizer("<whiskers>", add_special_tokens=False).input_ids) == 1


def test_a_word_that_the_model_knows_is_no_new_word(ask, trainer):
    with pytest.raises(BadRequest, match=r"knows the word q already.*such as q-cat"):
        trainer(ask(method="textual_inversion", identifier="q")).prepare()


def test_full_training_moves_every_weight_of_the_unet_and_no_other(ask, trainer):
    made = trainer(ask(method="full", learning_rate=1e-4, steps=2))
    made.prepare()
    first = {n: p.detach().clone() for n, p in made.base.unet.named_parameters()}
    read = {n: p.detach().clone() for n, p in made.base.pipe.text_encoder.named_parameters()}
    for _ in made.steps():
        pass
    moved = {n for n, p in made.base.unet.named_parameters() if not torch.equal(p, first[n])}
    assert moved == set(first)
    after = dict(made.base.pipe.text_encoder.named_parameters())
    assert all(torch.equal(read[name], after[name]) for name in read)


def test_a_lora_of_the_decoder_leaves_the_encoder_alone(ask, trainer):
    made = trainer(ask(target_modules="decoder", steps=2))
    made.prepare()
    names = set(made.learner.named())
    assert not any("down_blocks" in name or "conv_in." in name for name in names)
    for part in ("mid_block", "up_blocks", "conv_out"):
        assert any(part in name for name in names), part
    whole = trainer(ask(target_modules="all", steps=1))
    whole.prepare()
    kept = {n for n in whole.learner.named() if "down_blocks" not in n and "conv_in." not in n}
    assert names == kept
    for _ in made.steps():
        pass
    assert all((p != 0).any() for n, p in made.learner.named().items() if "lora_B" in n)


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


@pytest.mark.parametrize("settings", EXACT.values(), ids=EXACT.keys())
def test_cut_off_and_resumed_learns_the_same_as_in_one_go(ask, trainer, settings):
    whole = trainer(ask(**settings))
    run(whole)
    request = ask(save_every=3, **settings)
    run(trainer(request), steps=4)  # a step beyond the checkpoint, which is lost
    second = trainer(request)
    second.prepare()
    assert second.step == 3
    for _ in second.steps():
        pass
    assert second.step == 6
    assert worst(whole.learner.state(), second.learner.state()) <= 1e-6
    if whole.average is not None:
        averages = zip(whole.average.tensors, second.average.tensors, strict=True)
        assert max(float((a - b).abs().max()) for a, b in averages) <= 1e-6
    assert json.dumps(whole.optimizer.state_dict()["param_groups"], default=str) == json.dumps(
        second.optimizer.state_dict()["param_groups"], default=str
    )


def test_progress_of_steps_that_are_done_again_is_taken_back(ask, trainer):
    request = ask(save_every=2)
    run(trainer(request), steps=3)
    second = trainer(request)
    second.run()
    lines, _ = second.folder.progress()
    assert [line["step"] for line in lines if line["event"] == "step"] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if line["event"] == "checkpoint"] == [2, 4, 6]
    assert lines[-1]["event"] == "done"


def test_another_seed_learns_something_else(ask, trainer):
    one, other = trainer(ask(steps=2)), trainer(ask(steps=2, seed=1))
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


def test_a_stop_amid_class_pictures_keeps_those_that_are_painted(ask, trainer, monkeypatch):
    request = ask(prior_preservation=True, class_pictures=10)
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
    assert class_pictures.missing(folder, 10) == [8, 9]
    kept = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert made.folder.about_result is None
    made.folder.go_on()
    trainer(request).run()
    assert class_pictures.missing(folder, 10) == []
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

    def watched(self, prompt, seed, count, *args, **settings):
        asked.append((prompt, seed, count))
        return painted(self, prompt, seed, count, *args, **settings)

    monkeypatch.setattr(Base, "paint", watched)
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


def test_a_full_disk_at_a_checkpoint_keeps_the_one_before_and_says_so(ask, trainer, monkeypatch):
    request = ask(save_every=2)
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
    whole = trainer(ask())
    run(whole)
    assert worst(whole.learner.state(), second.learner.state()) <= 1e-6


def test_a_damaged_checkpoint_is_named(ask, trainer):
    request = ask(save_every=2)
    made = trainer(request)
    run(made, steps=2)
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


def test_a_lora_is_written_in_diffusers_layout_and_paints_the_same_there(ask, trainer):
    from diffusers import AutoPipelineForText2Image

    made = trainer(
        ask(target_modules="all", train_text_encoder=True, alpha=2.0, sample_every=6,
            sample_prompts=("x",))
    )  # fmt: skip
    made.run()
    weights = load_file(made.folder.result / "weights.safetensors")
    assert {key.partition(".")[0] for key in weights} == {"unet", "text_encoder"}
    source = made.folder.home / "models" / made.entry.name
    pipe = AutoPipelineForText2Image.from_pretrained(source, dtype=torch.float32)
    sample, ids = torch.randn(1, 4, 8, 8), torch.arange(77)[None]
    with torch.no_grad():
        before = pipe.unet(sample, 500, pipe.text_encoder(ids)[0]).sample
        pipe.load_lora_weights(made.folder.result, weight_name="weights.safetensors")
        there = pipe.unet(sample, 500, pipe.text_encoder(ids)[0]).sample
        made.base.unet.eval()
        here = made.base.unet(sample, 500, made.base.pipe.text_encoder(ids)[0]).sample
    assert (there - before).abs().max() > 1e-3
    torch.testing.assert_close(there, here, atol=1e-5, rtol=1e-4)


def test_a_whole_model_is_written_as_a_folder_that_loads(ask, trainer):
    from diffusers import AutoPipelineForText2Image

    made = trainer(ask(method="full", learning_rate=1e-3, steps=2))
    made.run()
    pipe = AutoPipelineForText2Image.from_pretrained(made.folder.result / "model")
    learnt = made.learner.state()
    for name, parameter in pipe.unet.named_parameters():
        torch.testing.assert_close(parameter.float(), learnt[f"unet.{name}"].half().float())


def test_the_average_is_what_is_written(ask, trainer):
    made = trainer(ask(method="textual_inversion", identifier="<whiskers>", ema=True))
    made.run()
    written = load_file(made.folder.result / "weights.safetensors")["emb_params"]
    assert torch.equal(written, made.average.tensors[0])
    assert not torch.equal(written, made.learner.state()["text0.rows"])


def test_tensorboard_has_the_losses(ask, trainer):
    from tensorboardX.proto.event_pb2 import Event

    made = trainer(ask(prior_preservation=True, class_pictures=2))
    made.run()
    (file,) = made.folder.tensorboard.iterdir()
    data, found = file.read_bytes(), {}
    while data:  # length 8, its check 4, event, its check 4
        length = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    lines, _ = made.folder.progress()
    steps = [line for line in lines if line["event"] == "step"]
    for name in ("loss", "instance_loss", "prior_loss", "rate", "norm"):
        assert found[name] == [(s["step"], pytest.approx(s[name], abs=1e-6)) for s in steps]
    for step in steps:
        assert step["loss"] == pytest.approx(step["instance_loss"] + step["prior_loss"], abs=1e-6)


@pytest.mark.parametrize("model", ["starter", "sd15"])
@pytest.mark.parametrize("method", ["lora", "full", "textual_inversion"])
@pytest.mark.parametrize("preset", ["quick", "balanced", "best"])
def test_every_preset_trains_each_part_at_the_rate_that_fits_the_method(
    ask, trainer, home, preset, method, model
):
    settings = settings_for(preset, Catalog(home).get(model), method, 80 * 10**9, photos=10)
    made = trainer(ask(method=method, identifier="<whiskers>", **settings))
    base = Base.load(made.entry, "cpu", "no", home, True, lambda *_: None)
    groups = LEARNERS[method](made.request, base).groups()
    rates = [group["lr"] for group in make_optimizer(made.request, groups, "cpu").param_groups]
    if method == "full":  # of its text encoder nobody has said a rate
        assert rates == [settings["learning_rate"]]
        assert max(rates) <= (2e-4 if model == "starter" else 5e-6)
        assert settings["text_encoder_learning_rate"] is None
    elif method == "textual_inversion":
        assert rates == [5e-3]
    else:
        text = settings["train_text_encoder"]
        expected = [settings["learning_rate"], settings["text_encoder_learning_rate"]]
        assert rates == expected[: 1 + text]
        assert rates[-1] <= rates[0]


@pytest.mark.parametrize("settings", [
    {},
    {"train_text_encoder": True, "prior_preservation": True, "class_pictures": 2},
    {"method": "textual_inversion", "identifier": "<whiskers>", "vectors": 2},
    {"buckets": True, "sample_every": 2, "sample_prompts": ("a [trigger]",)},
])  # fmt: skip
@pytest.mark.parametrize("family", ["sd2", "sdxl", "starter"])
def test_every_family_learns(ask, trainer, home, twin_folder, family, settings):
    folder = home / "models" / f"tiny-{family}"
    if family == "starter":
        torch.manual_seed(7)
        twins.starter().save_pretrained(folder)
    else:
        shutil.copytree(twin_folder(family), folder)
    request = ask(model=f"tiny-{family}", steps=2, **settings)
    made = trainer(request)
    made.prepare()
    before, first = frozen_of(made.base), made.learner.state()
    for _ in made.steps():
        pass
    made.finish()
    assert all(torch.equal(before[name], tensor) for name, tensor in frozen_of(made.base).items())
    learnt = made.learner.state()
    moved = [name for name in learnt if not torch.equal(learnt[name], first[name])]
    # SDXL reads its text encoders before their last layers, which therefore learn nothing.
    assert {name.partition(".")[0] for name in moved} == {name.partition(".")[0] for name in first}
    weights = load_file(made.folder.result / "weights.safetensors")
    if request.method == "textual_inversion":
        assert set(weights) == ({"clip_l", "clip_g"} if family == "sdxl" else {"emb_params"})
        assert all(len(rows) == 2 for rows in weights.values())
    about = made.folder.about_result
    assert about["steps"] == 2
    shape = f"unet-{made.base.unet.config.cross_attention_dim}"
    assert about["family"] == ("sd2" if family == "sd2" else shape)  # the twin is as wide
