from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pipelines.chat.pruning.depth import drop_blocks
from pipelines.chat.pruning.scores import next_token_loss, scores
from pipelines.chat.pruning.texts import CALIBRATION, HELD_OUT, calibration_batches, tokens_of
from pipelines.core.errors import BadRequest, Stopped
from tests.pipelines.chat.pruning.conftest import last

NAMES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
         "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")  # fmt: skip


def matrices(block):
    return [block.get_submodule(name).weight for name in NAMES]


def cross_entropy(model, batch):
    """Σ −ln p and how many, with transformers' own forward and log_softmax."""
    log_p = model(input_ids=batch, use_cache=False).logits[:, :-1].log_softmax(-1)
    picked = log_p.gather(-1, batch[:, 1:, None])
    return -picked.sum(), picked.numel()


def test_magnitude_is_the_sum_of_absolute_weights_without_norms(llama, stop):
    model = llama(num_hidden_layers=2)
    with torch.no_grad():
        for weight in matrices(model.model.layers[0]):
            weight.fill_(-2.0)
        for weight in matrices(model.model.layers[1]):
            weight.fill_(0.5)
    count = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 48
    assert last(scores(model, [], "magnitude", stop)) == [2.0 * count, 0.5 * count]


def test_taylor_is_the_sum_of_weights_times_gradients(llama, ids, stop):
    model, other = llama(num_hidden_layers=2), llama(num_hidden_layers=2)
    batches = [ids[:1], ids[1:, :17]]  # of unequal length: every token counts the same
    found = last(scores(model, batches, "taylor", stop))
    parts = [cross_entropy(other, batch) for batch in batches]
    (sum(loss for loss, _ in parts) / sum(count for _, count in parts)).backward()
    expected = [
        sum((w * w.grad).abs().sum().item() for w in matrices(block))
        for block in other.model.layers
    ]
    assert found == pytest.approx(expected, rel=1e-4)
    assert all(weight.grad is None for weight in model.parameters())


def test_taylor_of_one_weight_is_the_slope_of_the_loss(llama, ids, stop):
    """With all but one matrix of a block at 0, its score follows from differences of the loss."""
    model = llama(num_hidden_layers=2).double()
    block = model.model.layers[1]
    weight = block.mlp.down_proj.weight
    with torch.no_grad():
        keep = weight[3, 5].item()
        weight.zero_()
        weight[3, 5] = keep
        block.self_attn.o_proj.weight.zero_()
        block.self_attn.v_proj.weight.zero_()

    def loss(value: float) -> float:
        with torch.no_grad():
            weight[3, 5] = value
            total, count = cross_entropy(model, ids)
            return float(total) / count

    slope = (loss(keep + 1e-2) - loss(keep - 1e-2)) / 2e-2
    loss(keep)
    own = abs(keep * slope)
    found = last(scores(model, [ids], "taylor", stop))[1]
    gates = drop_blocks(model, [])  # gate and up have gradients through that one weight
    for name in ("gate_proj", "up_proj"):
        gates.model.layers[1].mlp.get_submodule(name).weight.requires_grad_(True)
    total, count = cross_entropy(gates, ids)
    (total / count).backward()
    others = sum(
        (w * w.grad).abs().sum().item()
        for w in (gates.model.layers[1].mlp.gate_proj.weight,
                  gates.model.layers[1].mlp.up_proj.weight)
    )  # fmt: skip
    assert own > 1e-6
    assert found == pytest.approx(own + others, rel=1e-3)


@pytest.mark.parametrize("blocks", [2, 4])
def test_perplexity_is_that_of_the_model_with_the_block_taken_out(llama, ids, stop, blocks):
    model = llama(num_hidden_layers=blocks)
    batches = [ids, ids[:1, :9]]
    found = last(scores(model, batches, "perplexity", stop))
    for number, score in enumerate(found):
        without = llama(num_hidden_layers=blocks)
        without.model.layers = nn.ModuleList(
            block for n, block in enumerate(without.model.layers) if n != number
        )
        without.config.num_hidden_layers -= 1
        with torch.no_grad():
            parts = [cross_entropy(without, batch) for batch in batches]
        mean = float(sum(loss for loss, _ in parts)) / sum(count for _, count in parts)
        assert score == pytest.approx(math.exp(mean), rel=1e-5)


@torch.no_grad()
def test_the_loss_is_the_same_in_chunks_as_whole(llama, monkeypatch, ids):
    from pipelines.chat.pruning import scores as module

    model = llama()
    whole = next_token_loss(model, ids)
    monkeypatch.setattr(module, "_CHUNK", 5)
    torch.testing.assert_close(next_token_loss(model, ids), whole)
    assert whole.shape == (2, 23)


@pytest.mark.parametrize("criterion", ["magnitude", "taylor", "perplexity"])
def test_scoring_ends_at_the_next_block_or_batch_after_a_stop(llama, ids, stop, criterion):
    events = scores(llama(), [ids, ids], criterion, stop)
    next(events)
    stop.set()
    with pytest.raises(Stopped):
        next(events)


@pytest.mark.parametrize("criterion", ["magnitude", "taylor", "perplexity"])
def test_scoring_leaves_the_model_as_it_was(llama, ids, stop, criterion):
    model = llama()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    found = last(scores(model, [ids], criterion, stop))
    assert len(found) == 4
    assert all(score > 0 for score in found)
    assert all(torch.equal(before[n], w) for n, w in model.state_dict().items())
    assert not model.model.layers[0]._forward_pre_hooks


def test_progress_counts_the_blocks(llama, ids, stop):
    events = list(scores(llama(), [ids], "perplexity", stop))[1:-1]
    assert [(each.step, each.total) for each in events] == [(n, 4) for n in range(4)]
    assert str(events[2].note) == "Scoring block 3 of 4"


def test_the_texts_that_come_along_are_two_and_long_enough(tokenizer):
    calibration, held_out = (tokens_of(tokenizer, file) for file in (CALIBRATION, HELD_OUT))
    assert min(len(calibration), len(held_out)) > 60_000
    batches = calibration_batches(tokenizer)
    assert [tuple(batch.shape) for batch in batches] == [(1, 128)] * 10
    text = tokenizer.decode(calibration.tolist())
    assert all(tokenizer.decode(batch[0].tolist())[8:-8] in text for batch in batches)
    assert len({tuple(batch[0].tolist()) for batch in batches}) == 10
    with pytest.raises(BadRequest, match="tokens; 1000000 are needed"):
        calibration_batches(tokenizer, samples=1000, length=1000)
