from __future__ import annotations

import math

import pytest
import torch

from pipelines.chat.pruning.depth import drop_blocks
from pipelines.chat.pruning.evaluate import Effort, Figures, PeakMemory, figures, greedy, perplexity
from pipelines.core.errors import BadRequest, Stopped
from tests.pipelines.chat.pruning.conftest import last


def test_perplexity_is_over_windows_side_by_side_each_from_nothing(llama, stop):
    model = llama()
    ids = torch.randint(0, 256, (50,), generator=torch.Generator().manual_seed(1))
    found, count = last(perplexity(model, ids, stop, window=16))
    total = 0.0
    for start in (0, 16, 32, 48):
        piece = ids[start : start + 16]
        for end in range(1, len(piece)):  # token by token, each prefix anew
            log_p = model(input_ids=piece[None, :end]).logits[0, -1].double().log_softmax(-1)
            total -= log_p[piece[end]].item()
    assert count == 15 + 15 + 15 + 1
    assert found == pytest.approx(math.exp(total / count), rel=1e-5)


def test_a_model_that_knows_nothing_has_the_vocabularys_perplexity(llama, stop):
    model = llama()
    torch.nn.init.zeros_(model.lm_head.weight)
    found, _ = last(perplexity(model, torch.arange(60), stop))
    assert found == pytest.approx(256, rel=1e-5)


def test_the_window_is_the_context_where_that_is_shorter(llama, stop):
    ids = torch.arange(200) % 256
    _, count = last(perplexity(llama(max_position_embeddings=20), ids, stop))
    assert count == 190


def test_nothing_to_predict_is_refused(llama, stop):
    with pytest.raises(BadRequest, match="has 1 tokens; 2 are needed"):
        last(perplexity(llama(), torch.tensor([3]), stop))


def test_greedy_is_what_transformers_generates(llama, ids):
    model = llama()
    settings = {"do_sample": False, "pad_token_id": 0, "attention_mask": torch.ones_like(ids[:1])}
    expected = model.generate(ids[:1], max_new_tokens=15, **settings)
    assert list(greedy(model, ids[:1], 15)) == expected[0, 24:].tolist()


def test_figures_of_a_shorter_model_are_of_the_same_tokens(llama, tokenizer, stop):
    effort = Effort(tokens=300, new_tokens=8, runs=2)
    model = llama()
    full = last(figures(model, tokenizer, stop, effort))
    short = last(figures(drop_blocks(model, [1, 2]), tokenizer, stop, effort))
    assert isinstance(full, Figures)
    assert full.tokens == short.tokens == 127 + 127 + 43
    assert full.parameters > short.parameters
    assert full.bytes == 4 * full.parameters
    assert full.peak_bytes >= full.bytes
    assert full.perplexity != short.perplexity
    assert full.tokens_per_second > 0


def test_measuring_ends_within_one_window_or_token_after_a_stop(llama, tokenizer, stop):
    events = figures(llama(), tokenizer, stop, Effort(tokens=300, new_tokens=1000, runs=3))
    for event in events:
        if "run 1 of 3" in str(event.note):
            stop.set()
            break
    with pytest.raises(Stopped):
        next(events)


def test_the_most_memory_is_seen():
    with PeakMemory("cpu") as memory:
        block = torch.ones(64 * 2**20 // 4)
        del block
        big = torch.ones(128 * 2**20 // 4)
        assert big.sum() > 0
    assert memory.bytes > 100 * 2**20
