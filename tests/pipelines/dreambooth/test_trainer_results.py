"""What a trainer leaves: weights that load elsewhere, and its logs."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file

from pipelines.core.messages import Message
from pipelines.dreambooth.held_out import remark_on
from tests.pipelines.dreambooth.training_steps import run


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


def test_a_training_that_fell_apart_says_so(ask, trainer):
    made = trainer(ask(learning_rate=0.9, steps=1))
    run(made)
    made.loss_before /= 3  # a random model paints blobs before it learns anything
    made.finish()
    notes = [line for line in made.folder.progress()[0] if line["event"] == "note"]
    said = str(Message.from_json(notes[-1]["message"]))
    assert said.startswith("The training fell apart: on its own photos the error is ")
    assert "The learning rate 0.9 is most likely too high" in said
    assert made.folder.about_result["remark"] == notes[-1]["message"]


@pytest.mark.parametrize("method", ["lora", "textual_inversion"])
def test_a_training_that_went_well_says_nothing(ask, trainer, method):
    word = "sks-cat" if method == "textual_inversion" else "sks"
    made = trainer(ask(method=method, learning_rate=1e-4, steps=2, identifier=word))
    made.run()
    assert "remark" not in made.folder.about_result


def test_a_training_that_goes_on_is_measured_by_what_it_began_with(ask, trainer):
    first = trainer(ask(steps=4, save_every=2))
    run(first, steps=2)
    again = trainer(first.request)
    again.prepare()
    assert again.loss_before == first.loss_before > 0


def test_a_loss_that_is_no_number_or_much_larger_is_remarked_upon():
    assert remark_on(0.2, 0.21, 1e-3) is None
    assert remark_on(None, 0.9, 1e-3) is None
    assert remark_on(0.2, math.nan, 1e-3) is not None
    assert "error is 0.9 now and was 0.2 before" in str(remark_on(0.2, 0.9, 1e-3))
