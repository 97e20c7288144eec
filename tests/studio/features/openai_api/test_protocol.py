"""What OpenAI's protocol allows and real clients send, on the real SmolLM2."""

from __future__ import annotations

import httpx
import openai
import pytest

from tests.studio.features.openai_api.conftest import HELLO, MODEL

SEPARATORS = "one\u2028two\u2029three\x85four"


def complete(client: openai.OpenAI, **changes):
    settings = {"model": MODEL, "prompt": "1 1 1 1 1 1", "max_tokens": 8, "temperature": 0}
    extra = {"repetition_penalty": 1, **changes.pop("extra_body", {})}
    return client.completions.create(**settings | changes, extra_body=extra)


@pytest.mark.parametrize("stream", [False, True])
def test_line_separators_in_a_message_end_nothing(client, stream: bool):
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": f"Repeat: {SEPARATORS}"}],
        max_tokens=3,
        stream=stream,
    )
    assert list(answer) if stream else answer.choices[0].message.content
    said = complete(client, prompt=SEPARATORS, echo=True, max_tokens=1).choices[0].text
    assert said.startswith(SEPARATORS)


def test_a_bias_forbids_or_forces_a_token_and_penalties_end_repetition(client, studio):
    plain = complete(client).choices[0].text
    assert plain == " 1 1 1 1"
    one, two = (
        complete(client, prompt=digit, echo=True, max_tokens=0, logprobs=0) for digit in "12"
    )
    assert (one.choices[0].logprobs.tokens, two.choices[0].logprobs.tokens) == (["1"], ["2"])
    with studio.cache.lease(f"chat:{MODEL}") as model:
        (number,), (dot,) = model.tokenize("1"), model.tokenize(".")
    assert "1" not in complete(client, logit_bias={str(number): -100}).choices[0].text
    assert complete(client, logit_bias={str(dot): 100}).choices[0].text == "........"
    for penalty in ("presence_penalty", "frequency_penalty"):
        assert complete(client, **{penalty: 2}).choices[0].text != plain


def test_a_top_p_of_0_takes_the_likeliest(client):
    greedy = complete(client).choices[0].text
    assert complete(client, temperature=2, top_p=0, seed=2**63 - 1).choices[0].text == greedy


def test_odds_of_the_prompt_are_those_of_saying_it(client):
    """As evaluation harnesses ask: nothing is made, the prompt's own odds are told."""
    said = complete(client, prompt="The capital of France", max_tokens=3, logprobs=3)
    text = "The capital of France" + said.choices[0].text
    answer = complete(client, prompt=text, max_tokens=0, echo=True, logprobs=3)
    (choice,) = answer.choices
    odds, count = choice.logprobs, len(said.choices[0].logprobs.tokens)
    assert (choice.text, choice.finish_reason) == (text, "length")
    assert answer.usage.completion_tokens == 0
    assert "".join(odds.tokens) == text
    assert (odds.token_logprobs[0], odds.top_logprobs[0]) == (None, {odds.tokens[0]: None})
    assert odds.token_logprobs[-count:] == pytest.approx(
        said.choices[0].logprobs.token_logprobs, abs=0.05
    )
    assert [
        text[offset:].startswith(token)
        for offset, token in zip(odds.text_offset, odds.tokens, strict=True)
    ]


def test_odds_of_half_characters_and_special_tokens_are_told_too(client):
    text = "Hi 🦆<|im_end|>\n"
    odds = complete(client, prompt=text, max_tokens=0, echo=True, logprobs=1).choices[0].logprobs
    assert len(odds.tokens) > 5
    assert all(value < 0 for value in odds.token_logprobs[1:])
    assert "<|im_end|>" in odds.tokens
    assert odds.text_offset[-1] == len(text) - 1


def test_tokens_are_a_prompt(client, studio):
    with studio.cache.lease(f"chat:{MODEL}") as model:
        tokens = model.complete_prompt("1, 2, 3, 4,")
    as_text = complete(client, prompt="1, 2, 3, 4,", echo=True)
    as_tokens = complete(client, prompt=tokens, echo=True)
    assert as_tokens.choices[0].text == as_text.choices[0].text
    assert as_tokens.usage.prompt_tokens == as_text.usage.prompt_tokens == len(tokens)


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": "Say hello."}],
        [*HELLO, {"role": "system", "content": "Be short."}],
        [*HELLO, {"role": "system", "content": "Be short."}, *HELLO],
        [*HELLO, {"role": "assistant", "content": None}, *HELLO],
        [*HELLO, {"role": "assistant", "content": "Ducks are"}],
    ],
)
def test_conversations_of_all_kinds_are_answered(client, messages):
    answer = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=2)
    assert answer.usage.completion_tokens >= 1


def test_models_are_listed_with_a_slash_too_and_asked_for_by_head(raw: httpx.Client):
    assert raw.get("/v1/models/").json() == raw.get("/v1/models").json()
    for path in ("/v1/models", "/v1/models/", f"/v1/models/{MODEL}", f"/v1/models/{MODEL.upper()}"):
        assert raw.head(path).status_code == 200


def test_a_field_that_a_server_is_not_sent_is_refused_by_its_name(client, studio):
    file = studio.home / "chat" / "strict.yaml"
    file.write_text("backend: remote\nurl: http://127.0.0.1:9/v1\nextensions: false\n"
                    "omit_fields: [seed]\n")  # fmt: skip
    try:
        for changes, param in (({"seed": 5}, "seed"), ({"extra_body": {"top_k": 5}}, "top_k")):
            with pytest.raises(openai.BadRequestError) as caught:
                client.chat.completions.create(model="strict", messages=HELLO, **changes)
            assert caught.value.param == param
        with pytest.raises(openai.InternalServerError):  # it is down
            client.chat.completions.create(model="strict", messages=HELLO, temperature=0.5)
    finally:
        file.unlink()
