"""Conversations that OpenAI's protocol allows, put as a model's template takes them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipelines.chat.context import fit
from pipelines.chat.engine import _tokens
from pipelines.chat.requests import ChatMessage, ChatRequest
from pipelines.chat.templates import arrangements, render
from pipelines.core.errors import BadRequest
from tests.pipelines.chat.llamas import CHATML, LLAMA_2


def talk(*pairs: str) -> list[ChatMessage]:
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return [ChatMessage(role=roles[pair[0]], content=pair[2:]) for pair in pairs]


def short_forms(messages) -> list[str]:
    return [f"{message.role[0]}:{message.content}" for message in messages]


def prompt(template: str, *pairs: str) -> str:
    """What a model with this template is given."""
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}

    def render_text(messages, continue_last: bool) -> str:
        parts = render(template, messages, (), continue_last=continue_last, tokens=tokens)
        return "".join(part.text for part in parts)

    messages = talk(*pairs)
    request = ChatRequest(messages=messages, continue_last=messages[-1].role == "assistant")
    return _tokens(request.messages, request, SimpleNamespace(prompt=render_text))


@pytest.mark.parametrize(
    ("pairs", "folded"),
    [
        (["s:a", "u:b", "s:c", "u:d"], ["s:a", "u:b", "u:c\n\nd"]),
        (["u:b", "s:c"], ["u:b\n\nc"]),
        (["u:b", "a:x", "s:c", "s:d"], ["u:b", "a:x", "u:c\n\nd"]),
        (["u:b", "s:c", "a:x"], ["u:b\n\nc", "a:x"]),
        (["s:a"], ["u:a"]),
        (["s:a", "s:b"], ["u:a\n\nb"]),
    ],
)
def test_instructions_go_to_the_question_beside_them(pairs, folded):
    first, second, *_ = arrangements(talk(*pairs))
    assert short_forms(first) == pairs
    assert short_forms(second) == folded


def test_one_role_in_a_row_becomes_one_message_and_empty_answers_go():
    *_, last = arrangements(talk("u:a", "a:", "u:b", "s:c", "u:d", "a:"))
    assert short_forms(last) == ["u:a\n\nb\n\nc\n\nd", "a:"]
    assert len(list(arrangements(talk("s:a", "u:b", "a:c", "u:d")))) == 1


@pytest.mark.parametrize("template", [CHATML, LLAMA_2])
@pytest.mark.parametrize(
    "pairs",
    [
        ["s:one", "u:two", "a:three", "s:four", "u:five"],
        ["u:one", "s:two"],
        ["s:one"],
        ["u:one", "a:", "u:two"],
        ["u:one", "u:two"],
        ["u:one", "a:two"],
        ["s:one", "u:two", "s:three", "a:four"],
    ],
)
def test_all_words_are_in_the_prompt_in_their_order(template: str, pairs: list[str]):
    said = prompt(template, *pairs)
    words = [pair[2:] for pair in pairs if pair[2:]]
    places = [said.index(word) for word in words]
    assert places == sorted(places)


def test_what_no_arrangement_helps_is_refused_for_the_conversation_s_own_reason():
    with pytest.raises(BadRequest, match="system is third"):
        prompt("{{ raise_exception(messages[-1]['role'] + ' is third') }}", "u:a", "a:b", "s:c")


def test_instructions_right_before_a_question_stay_with_it():
    messages = talk("s:ss", "u:uuuu", "a:aaaa", "s:x", "u:u")
    kept, dropped = fit(messages, lambda some: sum(len(m.content) for m in some), 8, 2)
    assert (short_forms(kept), dropped) == (["s:ss", "s:x", "u:u"], 2)
