"""What learns and what stays, by method; at which rates; and in every family of models."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file

from pipelines.core.errors import BadRequest
from pipelines.dreambooth.base import Base
from pipelines.dreambooth.learners import LEARNERS, LoraLearner
from pipelines.dreambooth.optimizers import make_optimizer
from pipelines.dreambooth.presets import settings_for
from pipelines.models.catalog import Catalog
from tests import twins
from tests.pipelines.dreambooth.training_steps import frozen_parameters


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
    before, first = frozen_parameters(made.base), made.learner.state()
    for _ in made.steps():
        pass
    after = frozen_parameters(made.base)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    moved = {n for n, p in made.learner.state().items() if not torch.equal(p, first[n])}
    assert moved == set(first)
    assert any(name.startswith("text0.") for name in moved) is text


def test_a_new_word_learns_its_rows_and_leaves_every_other_row_as_it_was(ask, trainer):
    made = trainer(ask(method="textual_inversion", identifier="<whiskers>", vectors=3))
    made.prepare()
    (embedding,) = made.learner.embeddings
    known, rows = embedding.weight.detach().clone(), embedding.rows.detach().clone()
    before = frozen_parameters(made.base)
    for _ in made.steps():
        pass
    assert torch.equal(embedding.weight, known)
    assert not torch.equal(embedding.rows, rows)
    assert all((embedding.rows[i] != rows[i]).any() for i in range(3))
    after = frozen_parameters(made.base)
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
    names = set(made.learner.parameters_by_name())
    assert not any("down_blocks" in name or "conv_in." in name for name in names)
    for part in ("mid_block", "up_blocks", "conv_out"):
        assert any(part in name for name in names), part
    whole = trainer(ask(target_modules="all", steps=1))
    whole.prepare()
    kept = {
        n
        for n in whole.learner.parameters_by_name()
        if "down_blocks" not in n and "conv_in." not in n
    }
    assert names == kept
    for _ in made.steps():
        pass
    assert all(
        (p != 0).any() for n, p in made.learner.parameters_by_name().items() if "lora_B" in n
    )


@pytest.mark.parametrize("model", ["starter", "sd15"])
@pytest.mark.parametrize("method", ["lora", "full", "textual_inversion"])
@pytest.mark.parametrize(
    "preset",
    ["quick", *(pytest.param(each, marks=pytest.mark.deep) for each in ("balanced", "best"))],
)
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


WAYS = {
    "lora": {},
    "prior": {"train_text_encoder": True, "prior_preservation": True, "class_pictures": 2},
    "word": {"method": "textual_inversion", "identifier": "<whiskers>", "vectors": 2},
    "samples": {"buckets": True, "sample_every": 2, "sample_prompts": ("a [trigger]",)},
}
# SDXL differs most: it has two text encoders, and sizes beside the text.
QUICK = {("sd2", "lora"), ("sdxl", "prior"), ("sdxl", "word"), ("starter", "samples")}


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        pytest.param(
            family, WAYS[way], id=f"{family}-{way}",
            marks=() if (family, way) in QUICK else pytest.mark.deep,
        )
        for family in ("sd2", "sdxl", "starter")
        for way in WAYS
    ],
)  # fmt: skip
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
    before, first = frozen_parameters(made.base), made.learner.state()
    for _ in made.steps():
        pass
    made.finish()
    assert all(
        torch.equal(before[name], tensor) for name, tensor in frozen_parameters(made.base).items()
    )
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
