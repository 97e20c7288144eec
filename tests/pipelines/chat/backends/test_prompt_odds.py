"""Odds of a prompt's own tokens, echoes, biases and penalties, on both kinds of model."""

from __future__ import annotations

import threading

import pytest
import torch

from pipelines.chat.entries import CACHE_PREFIX
from pipelines.chat.events import Reading, TokenOdds
from pipelines.chat.requests import STARTER, ChatRequest, CompletionRequest
from pipelines.core.errors import BadRequest, Stopped
from tests.pipelines.chat.conftest import TINY

TEXT = "the cat sat on the mat 🦆"


def odds_of(cache, prompt, count: int = 3) -> list[TokenOdds]:
    with cache.lease(CACHE_PREFIX + TINY) as model:
        events = list(model.prompt_odds(prompt, count, threading.Event()))
    assert [event for event in events if isinstance(event, Reading)]
    return [event for event in events if isinstance(event, TokenOdds)]


def test_odds_of_a_prompt_are_the_model_s_own(chat_cache, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipelines.chat.backends.transformers_model.CHUNK", 4)  # several are read
    with chat_cache.lease(CACHE_PREFIX + TINY) as model:
        ids = model.complete_prompt(TEXT)
        assert len(ids) > 8
        with torch.inference_mode():
            logprobs = model.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    first, *others = odds_of(chat_cache, ids)
    assert (first.logprob, first.top) == (None, ())
    wanted = [float(logprobs[at, token]) for at, token in enumerate(ids[1:])]
    assert [each.logprob for each in others] == pytest.approx(wanted, abs=1e-4)
    assert [each.top[0].logprob for each in others] == pytest.approx(
        logprobs[:-1].max(-1).values.tolist(), abs=1e-4
    )
    assert {len(each.top) for each in others} == {3}


def test_a_stop_ends_the_reading(chat_cache, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipelines.chat.backends.transformers_model.CHUNK", 4)
    stop = threading.Event()
    with chat_cache.lease(CACHE_PREFIX + TINY) as model:
        events = model.prompt_odds([5] * 90, 1, stop)
        next(events)
        stop.set()
        with pytest.raises(Stopped):
            list(events)


@pytest.mark.parametrize("model", [TINY, STARTER])
def test_an_echo_comes_first_and_takes_no_tokens(ask, chat_cache, model: str):
    request = CompletionRequest(prompt=TEXT, model=model, echo=True, max_new_tokens=2, seed=1)
    text, facts = ask(request)
    assert text.startswith(TEXT)
    assert facts["completion_tokens"] <= 2
    nothing, facts = ask(request.model_copy(update={"max_new_tokens": 0}))
    assert (nothing, facts["completion_tokens"], facts["finish_reason"]) == (TEXT, 0, "length")
    with chat_cache.lease(CACHE_PREFIX + model) as loaded:
        tokens = loaded.complete_prompt(TEXT)
    as_tokens = CompletionRequest(
        prompt_tokens=tokens, model=model, echo=True, max_new_tokens=2, seed=1
    )
    assert ask(as_tokens)[0] == text


@pytest.mark.parametrize("model", [TINY, STARTER])
def test_a_bias_forces_a_token_and_one_beyond_the_vocabulary_is_refused(
    ask, chat_cache, model: str
):
    with chat_cache.lease(CACHE_PREFIX + model) as loaded:
        token, size = loaded.tokenize("the")[0], loaded.vocabulary_size
        forced = loaded.text_of([token] * 3)
    said = {"messages": [{"role": "user", "content": "a"}], "model": model, "max_new_tokens": 3}
    assert ask(ChatRequest(**said, logit_bias={token: 100}, temperature=0))[0] == forced
    with pytest.raises(BadRequest, match=f"ends at {size - 1}") as caught:
        ask(ChatRequest(**said, logit_bias={size: 1}))
    assert caught.value.path == ("logit_bias",)
    with pytest.raises(BadRequest, match=f"ends at {size - 1}"):
        ask(CompletionRequest(prompt_tokens=[size], model=model))


@pytest.mark.parametrize("model", [TINY, STARTER])
def test_a_frequency_penalty_outweighs_a_bias_as_often_as_the_token_was_said(
    ask, chat_cache, model: str
):
    with chat_cache.lease(CACHE_PREFIX + model) as loaded:
        token = loaded.tokenize("the")[0]
    request = CompletionRequest(
        prompt_tokens=[token] * 30, model=model, max_new_tokens=3, temperature=0,
        repetition_penalty=1, logit_bias={token: 50},
    )  # fmt: skip
    assert ask(request)[0] == "thethethe"
    assert "the" not in ask(request.model_copy(update={"frequency_penalty": 2.0}))[0]
    # What was said before the last 64 tokens does not count.
    short = request.model_copy(update={"prompt_tokens": (*[token] * 5, *[token + 1] * 64)})
    assert ask(short.model_copy(update={"frequency_penalty": 2.0}))[0] == "thethethe"


def test_a_presence_penalty_ends_a_repetition(ask):
    request = CompletionRequest(
        prompt="1 1 1 1 1 1", max_new_tokens=8, temperature=0, repetition_penalty=1
    )
    assert ask(request)[0] == " 1 1 1 1"
    assert ask(request.model_copy(update={"presence_penalty": 2.0}))[0] != " 1 1 1 1"
