from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from pipelines.chat.pruning.models import bytes_of, parameters_of
from pipelines.chat.pruning.width import (
    Kept,
    counts_kept,
    keep_best,
    keep_structures,
    structure_scores,
)
from pipelines.core.errors import BadRequest, Stopped
from tests.pipelines.chat.pruning.conftest import last, tiny_config
from tests.pipelines.chat.pruning.test_depth import logits

KEPT = [
    Kept((0,), tuple(range(0, 48, 2))),
    Kept((1,), tuple(range(24))),
    Kept((1,), tuple(range(24, 48))),
    Kept((0,), tuple(range(12, 36))),
]


def mask_outputs(model, kept):
    """The model with the outputs of what is not kept multiplied by 0; shapes as before."""
    with torch.no_grad():
        for block, stays in zip(model.model.layers, kept, strict=True):
            for group in {0, 1} - set(stays.groups):
                block.self_attn.o_proj.weight[:, group * 16 : (group + 1) * 16] = 0
            for channel in set(range(48)) - set(stays.channels):
                block.mlp.down_proj.weight[:, channel] = 0
    return model


def test_shapes_really_shrink_and_the_logits_equal_the_masked_original(llama, ids):
    narrow = keep_structures(llama(), KEPT)
    for block in narrow.model.layers:
        attention, mlp = block.self_attn, block.mlp
        assert attention.q_proj.weight.shape == (16, 32)
        assert attention.k_proj.weight.shape == attention.v_proj.weight.shape == (8, 32)
        assert attention.o_proj.weight.shape == (32, 16)
        assert mlp.gate_proj.weight.shape == mlp.up_proj.weight.shape == (24, 32)
        assert mlp.down_proj.weight.shape == (32, 24)
    expected = logits(mask_outputs(llama(), KEPT), ids)
    torch.testing.assert_close(logits(narrow, ids), expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(expected, logits(llama(), ids), atol=1e-2)


def test_biases_go_with_their_rows(ids):
    torch.manual_seed(5)
    config = tiny_config(attention_bias=True, mlp_bias=True)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.25)
    narrow = keep_structures(model, KEPT)
    torch.testing.assert_close(
        logits(narrow, ids), logits(mask_outputs(model, KEPT), ids), atol=1e-4, rtol=1e-4
    )


def test_a_narrow_model_is_smaller_by_what_was_taken_out_and_loads_again(llama, ids, tmp_path):
    model = llama(tie_word_embeddings=True)
    narrow = keep_structures(model, KEPT)
    block = 2 * 16 * 32 + 2 * 8 * 32 + 3 * 24 * 32
    assert parameters_of(model) - parameters_of(narrow) == 4 * block
    assert bytes_of(model) - bytes_of(narrow) == 16 * block
    narrow.save_pretrained(tmp_path)
    again, facts = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not facts["missing_keys"]
    assert not facts["mismatched_keys"]
    config = again.config
    assert (config.model_type, config.num_attention_heads, config.num_key_value_heads) == (
        "llama", 2, 1)  # fmt: skip
    assert (config.head_dim, config.intermediate_size) == (8, 24)
    assert torch.equal(logits(again.eval(), ids), logits(narrow, ids))
    settings = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    settings["attention_mask"] = torch.ones_like(ids)
    assert torch.equal(
        again.generate(ids, use_cache=True, **settings),
        again.generate(ids, use_cache=False, **settings),
    )


def test_keeping_all_gives_identical_logits(llama, ids, stop):
    model = llama()
    found = last(structure_scores(model, [], "magnitude", stop))
    kept = keep_best(found, *counts_kept(model.config, 0.0))
    assert torch.equal(logits(keep_structures(model, kept), ids), logits(model, ids))


def test_a_structures_score_is_the_sum_over_all_its_weights(llama, stop):
    model = llama(num_hidden_layers=1)
    block = model.model.layers[0]
    with torch.no_grad():
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            block.self_attn.get_submodule(name).weight.fill_(1.0)
        block.self_attn.q_proj.weight[16:24] = 3.0  # a query head of the second kv head
        block.self_attn.o_proj.weight[:, :4] = 2.0
        for name in ("gate_proj", "up_proj", "down_proj"):
            block.mlp.get_submodule(name).weight.fill_(1.0)
        block.mlp.down_proj.weight[:, 7] = -5.0
    ((groups, channels),) = last(structure_scores(model, [], "magnitude", stop))
    plain = 16 * 32 + 8 * 32 + 8 * 32 + 32 * 16
    assert groups.tolist() == [plain + 32 * 4, plain + 8 * 32 * 2]
    assert channels.tolist() == [32 * 7 if n == 7 else 96.0 for n in range(48)]
    (kept,) = keep_best([(groups, channels)], 1, 2)
    assert kept == Kept((1,), (0, 7))


def test_taylor_scores_of_structures_add_up_to_their_blocks(llama, ids, stop):
    from pipelines.chat.pruning.scores import scores

    model = llama()
    whole = last(scores(model, [ids], "taylor", stop))
    parts = last(structure_scores(model, [ids], "taylor", stop))
    sums = [float(groups.sum() + channels.sum()) for groups, channels in parts]
    assert sums == pytest.approx(whole, rel=1e-5)


def test_a_structure_that_does_nothing_goes_first_by_taylor(llama, ids, stop):
    model = llama()
    with torch.no_grad():
        for block in model.model.layers:  # large weights that nobody listens to
            block.self_attn.o_proj.weight[:, :16] = 0
            block.self_attn.v_proj.weight[:8] = 0
            block.self_attn.q_proj.weight[:16] *= 9
            block.mlp.down_proj.weight[:, 5] = 0
            block.mlp.gate_proj.weight[5] *= 9
    found = last(structure_scores(model, [ids], "taylor", stop))
    kept = keep_best(found, 1, 47)
    assert all(each.groups == (1,) and 5 not in each.channels for each in kept)
    torch.testing.assert_close(
        logits(keep_structures(model, kept), ids), logits(model, ids), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("heads", "groups", "hidden", "share", "kept"),
    [
        (4, 2, 32, 0.0, 2),
        (4, 2, 32, 0.5, 1),
        (4, 2, 32, 0.9, 1),
        (9, 3, 576, 0.3, 2),  # SmolLM2 135M
        (32, 8, 4096, 0.25, 8),  # LLaMA 3 8B: 6 kv heads would be 24 heads, and 4096 / 24 is broken
        (32, 8, 4096, 0.5, 4),
    ],
)
def test_kept_kv_heads_are_the_nearest_number_that_the_config_allows(
    heads, groups, hidden, share, kept
):
    config = tiny_config(hidden_size=hidden, num_attention_heads=heads, num_key_value_heads=groups)
    assert counts_kept(config, share)[0] == kept


def test_kept_channels_are_a_multiple_of_eight_where_there_are_as_many():
    assert counts_kept(tiny_config(intermediate_size=1536), 0.3)[1] == 1072
    assert counts_kept(tiny_config(intermediate_size=50), 0.0)[1] == 50
    assert counts_kept(tiny_config(intermediate_size=8), 0.9)[1] == 1


def test_what_cannot_be_is_refused(llama, stop):
    model = llama()
    for share in (-0.1, 0.95, float("nan")):
        with pytest.raises(BadRequest, match=r"give 0 to 0\.9"):
            counts_kept(model.config, share)
    with pytest.raises(BadRequest, match="perplexity scores whole blocks only"):
        last(structure_scores(model, [], "perplexity", stop))
    unequal = [Kept((0,), (1, 2)), *KEPT[1:]]
    for kept in (unequal, KEPT[:2], [Kept((), ()) for _ in range(4)]):
        with pytest.raises(BadRequest, match="Every one of the 4 blocks"):
            keep_structures(model, kept)
    wide = llama(num_attention_heads=4, num_key_value_heads=4)
    three = [Kept((0, 1, 2), (1,))] * 4
    with pytest.raises(BadRequest, match="3 heads cannot stay: the model's width, 32"):
        keep_structures(wide, three)
    stop.set()
    with pytest.raises(Stopped):
        last(structure_scores(model, [], "magnitude", stop))
