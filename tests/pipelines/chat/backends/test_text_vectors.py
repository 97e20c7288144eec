"""Embeddings against the states of transformers' own models, pooled by hand."""

from __future__ import annotations

import threading

import pytest
import torch

from pipelines.chat.entries import CACHE_PREFIX, INSPECT_PREFIX
from pipelines.chat.events import Reading
from pipelines.chat.requests import STARTER
from pipelines.chat.text_vectors import EmbeddingRequest, run
from pipelines.core.errors import Stopped
from pipelines.core.events import Result
from tests.pipelines.chat.conftest import TINY, make_cache

TEXTS = ("the cat sat on the mat", "a dog", "the cat")


def vectors_of(cache, model: str, inputs=TEXTS, **fields) -> torch.Tensor:
    """The vectors, (texts, width)."""
    request = EmbeddingRequest(model=model, inputs=inputs, **fields)
    *_, last = run(request, cache, threading.Event())
    assert isinstance(last, Result)
    return torch.tensor(last.data["vectors"])


def pool(held, tokens: list[int]) -> torch.Tensor:
    """The mean of the last states of a text, of length 1."""
    with torch.inference_mode():
        states = held.model.get_decoder()(torch.tensor([tokens])).last_hidden_state[0]
    return torch.nn.functional.normalize(states.float().mean(0), dim=0)


def test_vectors_of_transformers_are_the_mean_of_the_states(chat_cache):
    found = vectors_of(chat_cache, TINY)
    with chat_cache.lease(CACHE_PREFIX + TINY) as held:
        expected = torch.stack([pool(held, held.complete_prompt(text)) for text in TEXTS])
        tokens = held.complete_prompt(TEXTS[0])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    again = vectors_of(chat_cache, TINY, (tokens,))
    torch.testing.assert_close(again, expected[:1], atol=1e-5, rtol=1e-4)


@pytest.mark.deep
def test_vectors_of_llama_cpp_are_those_of_the_same_weights_in_transformers(tmp_path):
    cache = make_cache(tmp_path)
    try:
        found = vectors_of(cache, STARTER)
        with cache.lease(INSPECT_PREFIX + STARTER) as held:
            expected = torch.stack([pool(held, held.complete_prompt(text)) for text in TEXTS])
    finally:
        cache.clear()
    likeness = (found * expected).sum(1)
    assert likeness.min() > 0.99, likeness


def test_a_stop_ends_the_reading(chat_cache):
    stop = threading.Event()
    events = run(EmbeddingRequest(model=TINY, inputs=TEXTS), chat_cache, stop)
    assert any(isinstance(event, Reading) for event in events if not stop.is_set())
    events = run(EmbeddingRequest(model=TINY, inputs=TEXTS), chat_cache, stop)
    stop.set()
    with pytest.raises(Stopped):
        list(events)
