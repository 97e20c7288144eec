"""Bodies in OpenAI's terms as requests to the engine, without a model."""

from __future__ import annotations

import pytest

from pipelines.chat.requests import MAX_SEED, ChatMessage, ChatRequest, CompletionRequest
from studio.openai import bodies
from studio.openai.errors import Invalid

ASKED = [{"role": "user", "content": "Who?"}]


def test_what_is_left_open_is_left_to_the_model_s_file():
    (request,) = bodies.chat({"messages": ASKED, "model": "m", "top_p": None}).requests
    assert request == ChatRequest(
        model="m", messages=(ChatMessage(role="user", content="Who?"),), overflow="refuse"
    )


def test_all_settings_reach_the_engine():
    body = {
        "messages": [*ASKED, {"role": "assistant", "content": "He"}],
        "temperature": 0.5,
        "top_p": 0.25,
        "top_k": 7,
        "min_p": 0.125,
        "repeat_penalty": 1.5,
        "max_tokens": 9,
        "max_completion_tokens": 8,
        "stop": "end",
        "seed": 3,
        "logprobs": True,
        "top_logprobs": 4,
        "continue_final_message": True,
    }
    (request,) = bodies.chat(body).requests
    found = request.model_dump(exclude={"messages", "model"})
    assert found == {
        "temperature": 0.5,
        "top_p": 0.25,
        "top_k": 7,
        "min_p": 0.125,
        "repetition_penalty": 1.5,
        "max_new_tokens": 8,
        "stop": ("end",),
        "seed": 3,
        "logprobs": 4,
        "continue_last": True,
        "overflow": "refuse",
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "logit_bias": {},
    }


def test_choices_have_seeds_that_follow_one_another():
    seeds = [each.seed for each in bodies.chat({"messages": ASKED, "n": 3, "seed": 5}).requests]
    assert seeds == [5, 6, 7]
    last = bodies.chat({"messages": ASKED, "n": 2, "seed": MAX_SEED}).requests
    assert [each.seed for each in last] == [MAX_SEED, 0]
    drawn = bodies.chat({"messages": ASKED, "n": 2}).requests
    assert [each.seed for each in drawn] == [-1, -1], "each draws its own"


def test_choices_of_several_prompts_stand_prompt_by_prompt():
    asked = bodies.completion({"prompt": ["a", "b"], "n": 2, "seed": 1, "echo": True})
    assert [(each.prompt, each.seed) for each in asked.requests] == [
        ("a", 1), ("a", 2), ("b", 1), ("b", 2)
    ]  # fmt: skip
    assert asked.echoes == ("a", "a", "b", "b")


def test_a_completion_is_short_unless_it_is_told_otherwise():
    assert bodies.completion({"prompt": "a"}).requests == (
        CompletionRequest(prompt="a", max_new_tokens=16),
    )


def test_only_the_first_instructions_are_joined():
    def said(role: str, content: object) -> dict:
        return {"role": role, "content": content, "name": "ignored"}

    parts = [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]
    assert bodies.messages(
        [said("system", "a"), said("developer", "b"), said("system", parts), said("user", "c")]
    ) == [{"role": "system", "content": "a\n\nb\n\nxy"}, {"role": "user", "content": "c"}]
    with pytest.raises(Invalid) as caught:
        bodies.messages([said("system", "a"), said("system", "b"), said("user", "c"),
                         said("system", "d")])  # fmt: skip
    assert "Message 4" in str(caught.value), "numbers are those of what was sent"
    assert caught.value.param == "messages[3]"


def test_a_body_is_left_as_it_was():
    body = {"messages": [{"role": "system", "content": "a"}, {"role": "system", "content": "b"},
                         *ASKED], "stop": ["x"]}  # fmt: skip
    before = repr(body)
    bodies.chat(body)
    assert repr(body) == before
