from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    GgufConfig,
    LlamaForCausalLM,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from pipelines.chat.pruning.blocks import guarded_blocks, least_important
from pipelines.chat.pruning.depth import drop_blocks
from pipelines.core.errors import BadRequest


class Through(nn.Module):
    """A block that is skipped: what comes in goes out."""

    def forward(self, hidden_states, **_):
        return hidden_states


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits


def test_without_dropping_anything_the_logits_are_identical(llama, ids):
    model = llama()
    assert torch.equal(logits(drop_blocks(model, []), ids), logits(model, ids))


@pytest.mark.parametrize("number", range(4))
def test_dropping_a_block_equals_skipping_it(llama, ids, number):
    model = llama()
    shorter = drop_blocks(model, [number])
    skipping = llama()
    skipping.model.layers[number] = Through()
    assert torch.equal(logits(shorter, ids), logits(skipping, ids))
    assert not torch.allclose(logits(shorter, ids), logits(model, ids), atol=1e-2)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dropped", [[0], [1, 2], [0, 1, 3]])
def test_parameters_fall_by_exactly_the_blocks_dropped(llama, dropped, tied):
    model = llama(tie_word_embeddings=tied)
    shorter = drop_blocks(model, dropped)

    def count(module):
        return sum(weight.numel() for weight in module.parameters())

    # q, k, v, o; gate, up, down; two norms
    block = 32 * 32 + 16 * 32 + 16 * 32 + 32 * 32 + 3 * 32 * 48 + 2 * 32
    assert count(model) - count(shorter) == len(dropped) * block
    assert shorter.config.num_hidden_layers == 4 - len(dropped) == len(shorter.model.layers)
    assert (shorter.lm_head.weight is shorter.model.embed_tokens.weight) == tied


@pytest.mark.parametrize("tied", [False, True])
def test_a_shorter_model_saved_and_loaded_gives_the_same_logits(llama, ids, tmp_path, tied):
    shorter = drop_blocks(llama(tie_word_embeddings=tied), [1, 2])
    shorter.save_pretrained(tmp_path)
    again, facts = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert type(again) is LlamaForCausalLM
    assert not facts["missing_keys"]
    assert not facts["unexpected_keys"]
    assert not facts["mismatched_keys"]
    assert torch.equal(logits(again.eval(), ids), logits(shorter, ids))
    names = load_file(tmp_path / "model.safetensors")
    assert {int(n.split(".")[2]) for n in names if n.startswith("model.layers.")} == {0, 1}


def test_the_places_in_the_cache_are_numbered_anew(llama, ids):
    shorter = drop_blocks(llama(), [0, 2])
    assert [block.self_attn.layer_idx for block in shorter.model.layers] == [0, 1]
    settings = {"max_new_tokens": 20, "do_sample": False, "pad_token_id": 0}
    settings["attention_mask"] = torch.ones_like(ids)
    with_cache = shorter.generate(ids, use_cache=True, **settings)
    without = shorter.generate(ids, use_cache=False, **settings)
    assert torch.equal(with_cache, without)
    assert with_cache.shape == (2, 44)
    assert len(shorter(input_ids=ids, use_cache=True).past_key_values) == 2


def test_the_model_that_is_shortened_stays_as_it_was(llama, ids):
    model = llama()
    before, weights = logits(model, ids), {n: w.clone() for n, w in model.state_dict().items()}
    shorter = drop_blocks(model, [1])
    assert torch.equal(logits(model, ids), before)
    assert all(torch.equal(weights[n], w) for n, w in model.state_dict().items())
    assert [block.self_attn.layer_idx for block in model.model.layers] == [0, 1, 2, 3]
    assert model.config.num_hidden_layers == 4
    assert model.model.norm.weight.requires_grad
    # No second copy of the weights is made.
    assert shorter.model.layers[1].mlp.up_proj.weight.data_ptr() == (
        model.model.layers[2].mlp.up_proj.weight.data_ptr()
    )


@pytest.mark.parametrize("config", [MistralConfig, Qwen2Config, Qwen3Config])
def test_other_families_of_the_same_layout_are_shortened_too(config, ids):
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(
        config(
            vocab_size=256,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).eval()
    shorter = drop_blocks(model, [1])
    model.model.layers[1] = Through()
    assert torch.equal(logits(shorter, ids), logits(model, ids))
    if hasattr(model.config, "layer_types"):
        assert len(shorter.config.layer_types) == 3


def test_kinds_of_blocks_go_with_the_blocks():
    torch.manual_seed(1)
    kinds = ["full_attention", "sliding_attention", "full_attention", "sliding_attention"]
    config = Qwen2Config(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=4,
                         num_attention_heads=4, num_key_value_heads=2, use_sliding_window=True,
                         sliding_window=4, layer_types=kinds)  # fmt: skip
    shorter = drop_blocks(AutoModelForCausalLM.from_config(config), [0])
    assert shorter.config.layer_types == kinds[1:]
    assert config.layer_types == kinds


def test_what_was_unpacked_from_a_quantised_file_is_saved_as_full_weights(llama, ids, tmp_path):
    model = llama()
    model.config.quantization_config = GgufConfig(dequantize=True)  # as transformers marks it
    shorter = drop_blocks(model, [1])
    shorter.save_pretrained(tmp_path / "once")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "once").eval()
    assert torch.equal(logits(again, ids), logits(shorter, ids))
    again.save_pretrained(tmp_path / "twice")
    assert hasattr(model.config, "quantization_config")


def test_the_guard_protects_the_first_four_and_the_last_two():
    assert guarded_blocks(10) == {0, 1, 2, 3, 8, 9}
    scores = [float(n) for n in range(10)]  # the first would be the least important
    assert least_important(scores, 3, guard=True) == [4, 5, 6]
    assert least_important(scores, 3, guard=False) == [0, 1, 2]


def test_the_lowest_scores_go_and_of_equal_ones_the_later():
    assert least_important([3.0, 1.0, 2.0, 1.0, 5.0], 1, guard=False) == [3]
    assert least_important([3.0, 1.0, 2.0, 1.0, 5.0], 3, guard=False) == [1, 2, 3]
    assert least_important([3.0, 1.0], 0, guard=True) == []


@pytest.mark.parametrize(
    ("k", "blocks", "guard", "words"),
    [
        (-1, 4, False, "-1 blocks cannot be dropped; give 0 or more."),
        (4, 4, False, "4 blocks cannot be dropped: the model has 4, and at least one must stay."),
        (5, 10, True, "the first 4 and the last 2 at most 4 may go"),
        (1, 4, True, "the first 4 and the last 2 at most 0 may go"),
    ],
)
def test_too_many_blocks_are_refused_with_the_limit(k, blocks, guard, words):
    with pytest.raises(BadRequest) as caught:
        least_important([1.0] * blocks, k, guard)
    assert words in str(caught.value)


def test_blocks_that_there_are_not_are_refused(llama):
    with pytest.raises(BadRequest, match="There is no block 4; the model's are 0 to 3"):
        drop_blocks(llama(), [4])
    with pytest.raises(BadRequest, match="at least one must stay"):
        drop_blocks(llama(), range(4))


def test_what_is_no_llama_or_is_quantised_is_refused(llama):
    with pytest.raises(BadRequest, match="kind Linear cannot be shortened"):
        drop_blocks(nn.Linear(2, 2), [0])
    model = llama()
    model.model.layers[0].mlp.up_proj.weight = nn.Parameter(
        torch.zeros(48, 32, dtype=torch.int8), requires_grad=False
    )
    with pytest.raises(BadRequest, match="quantised"):
        drop_blocks(model, [0])
