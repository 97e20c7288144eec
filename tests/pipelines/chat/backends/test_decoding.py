"""Compiled steps on a fixed cache give what the plain ones give."""

from __future__ import annotations

import pytest
import torch

from pipelines.chat.backends import decoding
from pipelines.chat.backends.decoding import DynamicSteps, StaticSteps
from pipelines.chat.entries import ChatEntry, ChatSource
from tests.pipelines.chat.llamas import make_llama


@pytest.fixture
def model():
    return make_llama(vocabulary=40)


@pytest.fixture
def static_steps(model, monkeypatch):
    """As on CUDA, but that no C++ compiler is needed: traced, not translated."""
    monkeypatch.setattr(decoding, "BACKEND", "eager")
    monkeypatch.setattr(decoding, "LEAST", 16)
    return StaticSteps(model, most=64)


def logits(steps, prompt: list[int], answer: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        read = [steps.read(prompt[at : at + 5]) for at in range(0, len(prompt), 5)]
        return torch.stack([read[-1], *(steps.write(token) for token in answer)])


def test_the_logits_are_those_on_a_growing_cache_answer_after_answer(model, static_steps):
    for prompt, answer in (([3, 1, 4, 1, 5, 9, 2, 6], [5, 3, 5]), ([2, 7], [1, 8, 2, 8])):
        expected = logits(DynamicSteps(model), prompt, answer)
        found = logits(static_steps.begin(len(prompt) + len(answer)), prompt, answer)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_cache_is_used_again_and_grows_in_powers_of_two_up_to_the_context(static_steps):
    first = static_steps.begin(10)._cache
    assert static_steps.begin(16)._cache is first
    assert static_steps.begin(17)._cache.layers[0].max_cache_len == 32
    assert static_steps.begin(64)._cache.layers[0].max_cache_len == 64


def test_only_what_runs_in_transformers_can_be_compiled():
    source = ChatSource(folder="somewhere")
    entry = {"name": "a", "title": "A", "source": source, "compiled": True}
    assert ChatEntry(**entry, backend="transformers").compiled
    with pytest.raises(ValueError, match="only a model of the backend transformers"):
        ChatEntry(**entry, backend="llama.cpp")
