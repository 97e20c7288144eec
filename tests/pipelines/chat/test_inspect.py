from __future__ import annotations

import copy
import threading

import pytest
import torch
from transformers import AutoModelForCausalLM as Auto
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, Qwen2Config, Qwen3Config

from pipelines.chat import inspect
from pipelines.chat.architecture import architecture
from pipelines.chat.inspect import (
    MEAN,
    InspectRequest,
    attention,
    check,
    logit_lens,
    next_token,
    odds,
    one_head,
    read,
)
from pipelines.chat.requests import Sampling
from pipelines.core.errors import BadRequest, Unavailable, validate
from tests.pipelines.chat.tiny_llama import byte_level, llama, sentencepiece

TEXT = "The cat sat on the mat, and 3 cats sat on 法."


@pytest.fixture(scope="module")
def model():
    return llama()


@pytest.fixture(scope="module")
def tokenizer():
    return byte_level()


def own_output(model, text) -> torch.Tensor:
    """(T, V), by the model itself."""
    ids = torch.tensor([[token.id for token in text.tokens]])
    with torch.inference_mode():
        return model(ids).logits[0]


# --- how it is built ------------------------------------------------------------------------------


def test_numbers_of_a_llama_counted_by_hand():
    found = architecture(llama())
    assert (found.blocks, found.heads, found.kv_heads, found.head_dim) == (3, 4, 2, 8)
    assert (found.hidden, found.ffn, found.vocabulary) == (32, 48, 300)
    assert found.parameters == {
        "embedding": 300 * 32,
        "attention": 3 * (2 * 32 * 32 + 2 * 32 * 16),  # q and o, k and v
        "ffn": 3 * 3 * 32 * 48,
        "norms": 3 * 2 * 32 + 32,
        "head": 300 * 32,
        "other": 0,
    }
    assert found.cache_bytes == 2 * 3 * 2 * 8 * 4
    assert (found.dtype, found.tied, found.rope_base, found.rope_scaling) == (
        "float32", False, 10_000.0, None,
    )  # fmt: skip
    assert found.norm_eps == pytest.approx(1e-5)


def test_a_tied_head_is_counted_once():
    found = architecture(llama(tie_word_embeddings=True))
    assert found.tied
    assert found.parameters["head"] == 0
    assert found.total == sum(p.numel() for p in llama(tie_word_embeddings=True).parameters())


def test_half_precision_halves_the_cache():
    assert architecture(llama().bfloat16()).cache_bytes == architecture(llama()).cache_bytes // 2


def test_llama_3_says_how_its_positions_are_stretched():
    rope = {"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 512}  # fmt: skip
    found = architecture(llama(rope_parameters=rope))
    assert (found.rope_base, found.rope_scaling) == (500_000.0, "llama3 ×8")


def test_the_numbers_of_the_starter_are_the_published_ones():
    """SmolLM2-135M's configuration, on a device that stores nothing."""
    with torch.device("meta"):
        config = LlamaConfig(vocab_size=49152, hidden_size=576, intermediate_size=1536,
                             num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
                             tie_word_embeddings=True)  # fmt: skip
        found = architecture(LlamaForCausalLM(config))
    assert found.total == 134_515_008
    assert found.cache_bytes == 2 * 30 * 3 * 64 * 4


# --- next-token odds ------------------------------------------------------------------------------


def test_the_logits_at_every_position_are_the_models_own(model, tokenizer):
    text = read(model, tokenizer, TEXT)
    wanted = own_output(model, text)
    for position in range(1, len(text.tokens) + 1):
        found = next_token(model, text, position)
        torch.testing.assert_close(found, wanted[position - 1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(next_token(model, text, None), wanted[-1], atol=1e-5, rtol=1e-5)


def test_one_forward_pass_serves_all_positions(model, tokenizer):
    passes = []
    handle = model.model.register_forward_hook(lambda *_: passes.append(1))
    try:
        text = read(model, tokenizer, TEXT)
        for position in (1, 2, 3):
            odds(tokenizer, next_token(model, text, position), Sampling(temperature=0.5))
    finally:
        handle.remove()
    assert len(passes) == 1


def test_odds_come_likeliest_first_with_what_sampling_leaves(tokenizer):
    logits = torch.full((300,), -torch.inf)
    a, b, c = tokenizer.convert_tokens_to_ids(["a", "b", "<|im_end|>"])
    logits[a], logits[b], logits[c] = torch.tensor([0.25, 0.25, 0.5]).log()
    found = odds(tokenizer, logits, Sampling(top_p=0.6), top=3)
    first, second, third = found.candidates
    assert (first.bytes, first.special, first.before) == (b"<|im_end|>", True, 0.5)
    assert first.after == pytest.approx(2 / 3)
    assert {second.bytes, third.bytes} == {b"a", b"b"}
    assert sorted([second.after, third.after]) == pytest.approx([0, 1 / 3])
    assert (found.possible, found.vocabulary) == (2, 300)
    assert found.entropy_before == pytest.approx(1.5)
    assert found.entropy_after == pytest.approx(0.9183, abs=1e-4)


def test_whom_a_penalty_lifts_is_shown(tokenizer):
    logits = torch.zeros(300)
    logits[:30] = 5.0  # 30 equals, of which 20 would be shown
    logits[100] = 4.0
    found = odds(tokenizer, logits, Sampling(repetition_penalty=2.0), list(range(30)))
    assert 100 in [candidate.id for candidate in found.candidates]
    before = [candidate.before for candidate in found.candidates]
    assert before == sorted(before, reverse=True)


# --- attention ------------------------------------------------------------------------------------


def test_attention_is_that_of_a_model_that_was_loaded_to_tell(model, tokenizer):
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    text = read(model, tokenizer, TEXT)
    ids = torch.tensor([[token.id for token in text.tokens]])
    wanted = eager(ids, output_attentions=True).attentions
    for layer in (1, 2, 3):
        torch.testing.assert_close(
            attention(model, text, layer), wanted[layer - 1][0], atol=1e-5, rtol=1e-4
        )


def test_rows_sum_to_one_and_nobody_looks_ahead(model, tokenizer):
    weights = attention(model, read(model, tokenizer, TEXT), 2)
    count = weights.shape[-1]
    assert weights.shape == (4, count, count)
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, count))
    assert (weights.triu(1) == 0).all()


def test_the_mean_is_over_heads(model, tokenizer):
    weights = attention(model, read(model, tokenizer, TEXT), 1)
    assert torch.equal(one_head(weights, 3), weights[2])
    torch.testing.assert_close(one_head(weights, MEAN), sum(weights) / 4)


def test_the_model_answers_others_as_before_meanwhile(model, tokenizer):
    """Switched to eager without its mask, a leased model would let its tokens look ahead."""
    text = read(model, tokenizer, TEXT)
    wanted, implementation = own_output(model, text), model.config._attn_implementation
    wrong, done = [], threading.Event()

    def answer():
        while not done.is_set():
            if not torch.equal(own_output(model, text), wanted):
                wrong.append(1)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        for _ in range(50):
            attention(model, text, 1)
            read(model, tokenizer, TEXT)
    finally:
        done.set()
        thread.join()
    assert not wrong
    assert model.config._attn_implementation == implementation != "eager"
    assert all(layer.self_attn.config is model.config for layer in model.model.layers)


@pytest.mark.parametrize("config", [MistralConfig, Qwen2Config, Qwen3Config])
def test_relatives_of_llama_can_be_looked_into(config, tokenizer):
    torch.manual_seed(1)
    sizes = dict(vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                 num_attention_heads=4, num_key_value_heads=2, head_dim=8)  # fmt: skip
    model = Auto.from_config(config(**sizes)).eval()
    check(model, "Relative")
    text = read(model, tokenizer, TEXT)
    ids = torch.tensor([[token.id for token in text.tokens]])
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    wanted = eager(ids, output_attentions=True).attentions[1][0]
    torch.testing.assert_close(attention(model, text, 2), wanted, atol=1e-5, rtol=1e-4)
    assert architecture(model).total == model.num_parameters()


def test_other_kinds_are_refused(tokenizer):
    config = LlamaConfig(vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
                         num_attention_heads=4)  # fmt: skip
    model = LlamaForCausalLM(config)
    model.config.final_logit_softcapping = 30.0
    with pytest.raises(Unavailable, match=r"Other is of the kind llama, .* otherwise than LLaMA"):
        check(model, "Other")


# --- what each layer would already say ------------------------------------------------------------


def guesses(row) -> list[list[int]]:
    return [[guess.id for guess in place] for place in row]


def test_the_last_row_is_exactly_the_models_own_output(model, tokenizer):
    text = read(model, tokenizer, TEXT)
    lens = logit_lens(model, tokenizer, text)
    best = own_output(model, text).softmax(-1).topk(inspect.LENS_TOP)
    assert guesses(lens.rows[-1]) == best.indices.tolist()
    assert [[g.probability for g in place] for place in lens.rows[-1]] == best.values.tolist()


def test_earlier_rows_are_norm_and_head_of_the_blocks_output(model, tokenizer):
    """Each block's output is caught by a hook; transformers gives the last one normed."""
    text = read(model, tokenizer, TEXT)
    lens = logit_lens(model, tokenizer, text)
    caught = []
    handles = [
        layer.register_forward_hook(lambda module, args, out: caught.append(out))
        for layer in model.model.layers
    ]
    own_output(model, text)
    for handle in handles:
        handle.remove()
    ids = torch.tensor([[token.id for token in text.tokens]])
    states = [model.model.embed_tokens(ids), *caught]
    assert len(lens.rows) == len(states) == 4
    for row, state in zip(lens.rows, states, strict=True):
        logits = model.lm_head(model.model.norm(state))[0]
        assert guesses(row) == logits.topk(inspect.LENS_TOP).indices.tolist()


def test_a_lens_on_some_positions_is_part_of_the_whole(model, tokenizer):
    text = read(model, tokenizer, TEXT)
    whole, part = logit_lens(model, tokenizer, text), logit_lens(model, tokenizer, text, 4, 9)
    assert part.first == 4
    assert [guesses(row) for row in part.rows] == [guesses(row[4:9]) for row in whole.rows]


# --- limits ---------------------------------------------------------------------------------------


def test_nothing_to_look_at(model, tokenizer):
    with pytest.raises(BadRequest, match="no text"):
        read(model, tokenizer, "")


def test_a_begin_alone_can_be_looked_at():
    text = read(llama(400), sentencepiece(), "")
    assert len(text.tokens) == 1
    assert next_token(llama(400), text, None).shape == (400,)


def test_long_texts_are_refused_with_both_numbers(model, tokenizer):
    count = len(read(model, tokenizer, "x " * 250).tokens)
    assert count == 500
    assert read(model, tokenizer, "x " * 256).states.shape == (3, 512, 32)
    long = read(model, tokenizer, "x " * 257)
    with pytest.raises(BadRequest, match=r"514 tokens; attention and layers .* at most 512"):
        attention(model, long, 1)
    with pytest.raises(BadRequest, match="514 tokens"):
        logit_lens(model, tokenizer, long)
    assert len(read(model, tokenizer, "x " * 1000).tokens) == 2000
    with pytest.raises(BadRequest, match="2002 tokens; at most 2000"):
        read(model, tokenizer, "x " * 1001)


def test_no_more_than_the_model_was_trained_for(tokenizer):
    with pytest.raises(BadRequest, match="26 tokens; at most 16"):
        read(llama(max_position_embeddings=16), tokenizer, "x " * 13)


def test_places_that_are_not_there(model, tokenizer):
    text = read(model, tokenizer, TEXT)
    count = len(text.tokens)
    with pytest.raises(BadRequest, match=f"no token {count + 1}; the text has {count}"):
        next_token(model, text, count + 1)
    with pytest.raises(BadRequest, match="no block 4; the model has 3"):
        attention(model, text, 4)
    with pytest.raises(BadRequest, match="no head 5; the block has 4"):
        one_head(attention(model, text, 1), 5)


def test_the_request_says_what_is_out_of_bounds():
    assert validate(InspectRequest, {"text": "a"}).position is None
    with pytest.raises(BadRequest, match=r"Text has 50001 characters; .*50000"):
        validate(InspectRequest, {"text": "x" * 50_001})
    with pytest.raises(BadRequest, match="Position is 0; it must be at least 1"):
        validate(InspectRequest, {"text": "a", "position": 0})
    with pytest.raises(BadRequest, match="Temperature is -1"):
        validate(InspectRequest, {"text": "a", "temperature": -1})
