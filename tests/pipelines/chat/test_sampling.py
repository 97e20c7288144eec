from __future__ import annotations

import itertools
import math

import pytest
import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from pipelines.chat.requests import Sampling
from pipelines.chat.sampling import add_biases, draw, reshape


def of(*probabilities: float) -> torch.Tensor:
    """Logits of these probabilities."""
    return torch.tensor(probabilities).log()


def rounded_list(probabilities: torch.Tensor) -> list[float]:
    return [round(value, 4) for value in probabilities.tolist()]


def by_transformers(logits, sampling, previous) -> torch.Tensor:
    """Transformers' own processors, in the order of :class:`Sampling`."""
    chain = LogitsProcessorList()
    if sampling.repetition_penalty not in (None, 1):
        chain.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if sampling.top_k:
        chain.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p is not None:
        chain.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p is not None:
        chain.append(MinPLogitsWarper(sampling.min_p))
    if sampling.temperature is not None:
        chain.append(TemperatureLogitsWarper(sampling.temperature))
    return chain(torch.tensor([previous]), logits[None].clone())[0].softmax(0)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "min_p", "repetition_penalty"),
    list(
        itertools.product(
            (None, 0.3, 1.7),
            (None, 0, 1, 40, 1000),
            (None, 0.05, 0.9, 1.0),
            (None, 0.1),
            (None, 1.3),
        )
    ),
)
def test_agrees_with_the_processors_of_transformers(
    temperature, top_k, top_p, min_p, repetition_penalty
):
    logits = 3 * torch.randn(500, generator=torch.Generator().manual_seed(4))
    previous = [3, 3, 250, 499, int(logits.argmax()), int(logits.argmin())]
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
                        repetition_penalty=repetition_penalty)  # fmt: skip
    ours = reshape(logits, sampling, previous)
    theirs = by_transformers(logits, sampling, previous)
    assert torch.equal(ours > 0, theirs > 0)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_all_off_is_softmax():
    logits = torch.tensor([1.0, -2.0, 0.5])
    assert torch.equal(reshape(logits, Sampling()), logits.softmax(0))


def test_top_k_keeps_the_likeliest_and_shares_the_rest_among_them():
    assert rounded_list(reshape(of(0.1, 0.5, 0.1, 0.3), Sampling(top_k=2))) == [0, 0.625, 0, 0.375]


def test_top_p_keeps_the_token_that_reaches_it():
    logits = of(0.4, 0.3, 0.2, 0.1)
    assert rounded_list(reshape(logits, Sampling(top_p=0.4))) == [1, 0, 0, 0]
    assert rounded_list(reshape(logits, Sampling(top_p=0.41))) == [0.5714, 0.4286, 0, 0]


def test_min_p_is_a_share_of_the_likeliest():
    assert rounded_list(reshape(of(0.5, 0.26, 0.24), Sampling(min_p=0.5))) == [0.6579, 0.3421, 0]


def test_top_p_counts_what_top_k_has_left():
    # Of 0.4 and 0.3 the first alone has 4/7 = 0.571: enough for 0.5, though 0.4 would not be.
    assert rounded_list(reshape(of(0.4, 0.3, 0.2, 0.1), Sampling(top_k=2, top_p=0.5))) == [
        1,
        0,
        0,
        0,
    ]


def test_temperature_comes_after_the_cuts():
    # At temperature 2 the first would have 0.45: before the cut, two would be kept.
    found = reshape(of(0.6, 0.2, 0.1, 0.1), Sampling(top_p=0.5, temperature=2.0))
    assert rounded_list(found) == [1, 0, 0, 0]


def test_temperature_two_takes_the_root_of_the_odds():
    assert rounded_list(reshape(of(0.8, 0.2), Sampling(temperature=2.0))) == [0.6667, 0.3333]


def test_temperature_zero_takes_the_first_of_the_likeliest():
    logits = torch.tensor([1.0, 7.0, 7.0, 2.0])
    assert rounded_list(reshape(logits, Sampling(temperature=0, top_p=0.1))) == [0, 1, 0, 0]


def test_the_smallest_temperature_makes_no_infinities():
    found = reshape(torch.tensor([30000.0, 29999.0]), Sampling(temperature=1e-39))
    assert rounded_list(found) == [1, 0]


@pytest.mark.parametrize("previous", [[0, 1, 1, 1], torch.tensor([0, 1, 1, 1])])
def test_repetition_penalty_lowers_both_signs_and_counts_each_token_once(previous):
    logits = torch.tensor([2.0, -1.0, 2.0])
    found = reshape(logits, Sampling(repetition_penalty=2.0), previous)
    expected = torch.tensor([1.0, -2.0, 2.0]).softmax(0)
    torch.testing.assert_close(found, expected)


def test_repetition_penalty_may_change_the_likeliest():
    logits = torch.tensor([3.0, 2.0])
    sampling = Sampling(temperature=0, repetition_penalty=2.0)
    assert rounded_list(reshape(logits, sampling, [0])) == [0, 1]


def test_equally_likely_tokens_are_cut_to_exactly_k():
    assert (reshape(torch.zeros(9), Sampling(top_k=4)) > 0).sum() == 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_logits_are_left_as_they_were(dtype):
    logits = torch.randn(50).to(dtype)
    before = logits.clone()
    found = reshape(logits, Sampling(top_p=0.5, repetition_penalty=1.5, min_p=0.1), [1, 2])
    assert torch.equal(logits, before)
    assert found.dtype == torch.float32
    assert math.isclose(found.sum(), 1, abs_tol=1e-6)


def test_what_is_drawn_follows_the_probabilities():
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.tensor([0.0, 0.5, 0.0, 0.2, 0.3, 0.0])
    drawn = torch.tensor([draw(probabilities, generator) for _ in range(20_000)])
    shares = drawn.bincount(minlength=6) / len(drawn)
    # Four standard deviations of a share of 0.5 in 20,000 are 0.014.
    torch.testing.assert_close(shares, probabilities, atol=0.014, rtol=0)
    assert shares[0] == shares[2] == shares[5] == 0


def test_the_same_seed_draws_the_same():
    def draw_tokens() -> list[int]:
        generator = torch.Generator().manual_seed(7)
        return [draw(torch.full((1000,), 0.001), generator) for _ in range(20)]

    assert draw_tokens() == draw_tokens()
    assert len(set(draw_tokens())) > 10


def test_a_top_p_of_0_keeps_the_likeliest():
    assert rounded_list(reshape(of(0.2, 0.5, 0.3), Sampling(top_p=0, temperature=2))) == [0, 1, 0]


def test_presence_counts_once_and_frequency_as_often_as_it_was_said():
    logits = torch.tensor([1.0, 2.0, 3.0, -1.0])
    plain = Sampling()

    def penalise(previous, **penalties) -> list[float]:
        odds = reshape(logits, plain, previous, **penalties).log()
        return rounded_list(odds - odds[0] + logits[0])  # of token 0 nothing is taken

    assert penalise([2, 2, 3], presence_penalty=0.5) == [1, 2, 2.5, -1.5]
    assert penalise([2, 2, 3], frequency_penalty=0.5) == [1, 2, 2, -1.5]
    assert penalise(torch.tensor([2, 2]), presence_penalty=-1, frequency_penalty=1) == [1, 2, 2, -1]
    assert penalise([], presence_penalty=2, frequency_penalty=2) == [1, 2, 3, -1]
    assert logits.tolist() == [1, 2, 3, -1], "they are left as they were"


def test_penalties_come_after_the_one_on_repetition():
    """llama.cpp divides first and subtracts then."""
    odds = reshape(
        torch.tensor([0.0, 4.0]), Sampling(repetition_penalty=2), [1, 1], frequency_penalty=0.5
    )
    assert rounded_list(odds) == rounded_list(torch.tensor([0.0, 4.0 / 2 - 2 * 0.5]).softmax(0))


def test_a_bias_is_added_to_its_token_alone():
    logits = torch.tensor([1.0, 2.0, 3.0])
    assert add_biases(logits, {2: -100, 0: 1.5}).tolist() == [2.5, 2, -97]
    assert add_biases(logits.bfloat16(), {}).dtype == torch.float32
    assert logits.tolist() == [1, 2, 3]
