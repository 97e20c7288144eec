"""Chat and completions through the official client, on the real SmolLM2."""

from __future__ import annotations

import json
import math

import httpx
import openai
import pytest

from tests.studio.features.openai_api.conftest import HELLO, MODEL


def ask(client: openai.OpenAI, **changes):
    return client.chat.completions.create(
        **{"model": MODEL, "messages": HELLO, "max_tokens": 12, "temperature": 0, **changes}
    )


def go_on(client: openai.OpenAI, **changes):
    return client.completions.create(
        **{"model": MODEL, "prompt": "1, 2, 3, 4,", "max_tokens": 12, "temperature": 0, **changes}
    )


def pieces(stream) -> list:
    return list(stream)


def text_of(chunks, index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


def test_an_answer_has_its_text_its_reason_and_its_counts(client):
    answer = ask(client)
    (choice,) = answer.choices
    assert (answer.object, answer.model) == ("chat.completion", MODEL)
    assert answer.id.startswith("chatcmpl-")
    assert (choice.index, choice.message.role) == (0, "assistant")
    assert len(choice.message.content) > 10
    assert choice.finish_reason == "length"
    assert choice.logprobs is None
    usage = answer.usage
    assert usage.completion_tokens == 12
    assert usage.prompt_tokens > 10
    assert usage.total_tokens == usage.prompt_tokens + 12


def test_a_stream_says_the_same_as_the_whole_answer(client):
    chunks = pieces(ask(client, stream=True))
    assert text_of(chunks) == ask(client).choices[0].message.content
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    first, *middle, last = [chunk.choices[0] for chunk in chunks]
    assert (first.delta.role, first.delta.content) == ("assistant", "")
    assert [choice.delta.role for choice in middle] == [None] * len(middle)
    assert len(middle) > 5, "it comes in pieces"
    assert [choice.finish_reason for choice in middle] == [None] * len(middle)
    assert (last.finish_reason, last.delta.content) == ("length", None)
    assert all(chunk.usage is None for chunk in chunks)


def test_a_stream_tells_the_counts_at_its_end_when_it_is_asked_to(client):
    *chunks, last = pieces(ask(client, stream=True, stream_options={"include_usage": True}))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    assert last.choices == []
    assert (last.usage.completion_tokens, last.usage.prompt_tokens) == (
        12,
        ask(client).usage.prompt_tokens,
    )


def test_events_are_as_the_protocol_has_them(raw: httpx.Client):
    body = {"model": MODEL, "messages": HELLO, "max_tokens": 3, "stream": True}
    with raw.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        text = answer.read().decode()
    assert text.endswith("\n\ndata: [DONE]\n\n")
    events = text.removesuffix("\n\n").split("\n\n")
    assert all(event.startswith("data: ") for event in events)
    chunks = [json.loads(event[6:]) for event in events[:-1]]
    assert all("usage" not in chunk for chunk in chunks)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_ends_before_the_first_stop_string(client, stream: bool):
    whole = ask(client, max_tokens=16).choices[0].message.content
    stop = whole[12:15]
    answer = ask(client, max_tokens=16, stop=["\x01never", stop], stream=stream)
    if stream:
        chunks = pieces(answer)
        text, reason = text_of(chunks), chunks[-1].choices[0].finish_reason
    else:
        text, reason = answer.choices[0].message.content, answer.choices[0].finish_reason
    assert text == whole[: whole.index(stop)]
    assert reason == "stop"


def test_a_stop_may_be_one_string(client):
    assert go_on(client, stop="6").choices[0].text == " 5, "


def test_the_same_seed_says_the_same(client):
    settings = {"temperature": 1.5, "seed": 7, "max_tokens": 16}
    first, again = (ask(client, **settings).choices[0].message.content for _ in range(2))
    other = ask(client, **{**settings, "seed": 8}).choices[0].message.content
    assert first == again
    assert first != other


@pytest.mark.parametrize("stream", [False, True])
def test_several_answers_to_one_question(client, stream: bool):
    answer = ask(
        client,
        n=3,
        temperature=1.5,
        seed=7,
        max_tokens=8,
        stream=stream,
        **({"stream_options": {"include_usage": True}} if stream else {}),
    )
    if stream:
        chunks = pieces(answer)
        texts, usage = [text_of(chunks, index) for index in range(3)], chunks[-1].usage
        ends = [c.choices[0].index for c in chunks if c.choices and c.choices[0].finish_reason]
        assert sorted(ends) == [0, 1, 2]
    else:
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        texts, usage = [choice.message.content for choice in answer.choices], answer.usage
    assert len(set(texts)) == 3
    assert all(texts)
    assert 3 < usage.completion_tokens <= 24
    assert usage.prompt_tokens == ask(client).usage.prompt_tokens, "the prompt counts once"


def test_odds_are_probabilities_and_the_likeliest_is_taken_at_temperature_0(client):
    answer = ask(client, logprobs=True, top_logprobs=20)
    tokens = answer.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == answer.choices[0].message.content
    for token in tokens:
        assert bytes(token.bytes).decode() == token.token
        odds = [math.exp(top.logprob) for top in token.top_logprobs]
        assert len(odds) == 20
        assert odds == sorted(odds, reverse=True)
        assert 0.3 < sum(odds) <= 1 + 1e-5
    # The penalty on repetition may change who comes first, but not at the first token.
    assert tokens[0].token == tokens[0].top_logprobs[0].token
    assert tokens[0].logprob == pytest.approx(tokens[0].top_logprobs[0].logprob)


def test_odds_come_with_a_stream_too(client):
    chunks = pieces(ask(client, logprobs=True, top_logprobs=2, stream=True))
    parts = [chunk.choices[0].logprobs for chunk in chunks]
    tokens = [token for part in parts if part for token in part.content]
    assert len(tokens) == 12
    assert {len(token.top_logprobs) for token in tokens} == {2}
    assert "".join(token.token for token in tokens) == text_of(chunks)


def test_odds_without_other_tokens(client):
    tokens = ask(client, logprobs=True).choices[0].logprobs.content
    assert len(tokens) == 12
    assert all(token.top_logprobs == [] for token in tokens)


def test_a_completion_goes_on_with_a_text(client):
    answer = go_on(client)
    assert answer.object == "text_completion"
    assert answer.choices[0].text.startswith(" 5, 6, 7,")
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 12
    assert "".join(c.choices[0].text for c in go_on(client, stream=True)) == answer.choices[0].text


def test_a_completion_is_16_tokens_long_unless_it_is_told_otherwise(client):
    answer = client.completions.create(model=MODEL, prompt="1, 2, 3, 4,", temperature=0)
    assert answer.usage.completion_tokens == 16


def test_a_completion_repeats_its_prompt_when_it_is_asked_to(client):
    prompt = "“Ünï🦆” 你好"
    whole = go_on(client, prompt=prompt, echo=True, max_tokens=2).choices[0].text
    chunks = pieces(go_on(client, prompt=prompt, echo=True, max_tokens=2, stream=True))
    assert whole.startswith(prompt)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole


def test_several_prompts_are_gone_on_with_in_their_order(client):
    prompts = ["1, 2, 3, 4,", "A, B, C, D,"]
    answer = go_on(client, prompt=prompts, n=2, max_tokens=4)
    texts = [choice.text for choice in answer.choices]
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert all(text.startswith(" 5") for text in texts[:2])
    assert all(text.startswith(" E") for text in texts[2:])
    counted = [go_on(client, prompt=each, max_tokens=1).usage.prompt_tokens for each in prompts]
    assert answer.usage.prompt_tokens == sum(counted)


def test_odds_of_a_completion(client):
    odds = go_on(client, logprobs=3, max_tokens=4).choices[0].logprobs
    assert odds.tokens == [" ", "5", ",", " "]
    assert odds.text_offset == [0, 1, 2, 3]
    for token, logprob, top in zip(
        odds.tokens, odds.token_logprobs, odds.top_logprobs, strict=True
    ):
        assert top[token] == logprob
        assert len(top) in (3, 4)
        assert sum(map(math.exp, top.values())) <= 1 + 1e-5


def test_characters_of_several_tokens_come_whole(client):
    asked = [{"role": "user", "content": "Repeat: 🦆🦆🦆 你好"}]
    last = [*asked, {"role": "assistant", "content": "🦆🦆"}]
    chunks = pieces(
        ask(client, messages=last, stream=True, extra_body={"continue_final_message": True})
    )
    assert "\ufffd" not in text_of(chunks)


def test_an_answer_is_gone_on_with(client):
    messages = [
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": "The capital of France is"},
    ]
    answer = ask(client, messages=messages, extra_body={"continue_final_message": True})
    assert answer.choices[0].message.content.startswith(" Paris")


def test_parts_of_text_and_several_instructions_are_joined(client):
    parts = [{"type": "text", "text": "Tell me "}, {"type": "text", "text": "about ducks."}]
    split = [
        {"role": "developer", "content": "Be short."},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": parts},
    ]
    joined = [{"role": "system", "content": "Be short.\n\nBe kind."}, *HELLO]
    first, second = ask(client, messages=split), ask(client, messages=joined)
    assert first.usage.prompt_tokens == second.usage.prompt_tokens
    assert first.choices[0].message.content == second.choices[0].message.content


def test_sampling_beyond_openai_s_own_is_taken(client):
    bold = {"temperature": 2, "seed": 3, "max_tokens": 8}
    greedy = ask(client, max_tokens=8, extra_body={"repetition_penalty": 1.0})
    for only_one in ({"top_k": 1}, {"min_p": 1.0}):
        answer = ask(client, **bold, extra_body={**only_one, "repeat_penalty": 1.0})
        assert answer.choices[0].message.content == greedy.choices[0].message.content
    answer = ask(client, **bold, top_p=1e-6, extra_body={"repeat_penalty": 1.0})
    assert answer.choices[0].message.content == greedy.choices[0].message.content


def test_fields_that_nobody_knows_are_ignored(client):
    unknown = {"user": "me", "no_such_field": {"a": [1]}, "presence_penalty": 0, "tools": []}
    assert ask(client, max_tokens=2, extra_body=unknown).usage.completion_tokens == 2
    assert ask(client, max_tokens=2, stop=None, seed=None).usage.completion_tokens == 2


def test_the_newer_name_of_the_longest_answer_counts(client):
    answer = ask(client, max_tokens=9, max_completion_tokens=2)
    assert answer.usage.completion_tokens == 2


def test_a_studio_asks_another_one_as_it_answers_itself(client, studio_and_address):
    """A model of the backend remote that points at a studio's own address: the same words."""
    studio, address = studio_and_address
    file = studio.home / "chat" / "mirror.yaml"
    file.write_text(
        f"title: Mirror\nbackend: remote\nurl: {address}/v1\nremote_model: {MODEL}\n"
        "sampling: {temperature: 0.2, top_p: 0.9, top_k: 50, min_p: 0.05, repetition_penalty: 1.1}"
    )
    try:
        for settings in ({}, {"temperature": 1.2, "seed": 11, "stop": "the"}):
            there, here = (ask(client, model=each, **settings) for each in ("mirror", MODEL))
            assert there.choices[0].message == here.choices[0].message
            assert there.choices[0].finish_reason == here.choices[0].finish_reason
            assert there.usage.total_tokens == here.usage.total_tokens
    finally:
        file.unlink()
