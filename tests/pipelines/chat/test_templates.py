"""Chat templates: equal to the tokenizer's own, and proof against what people type."""

from __future__ import annotations

import pytest

from pipelines.chat.requests import ChatMessage
from pipelines.chat.templates import render, written_in
from pipelines.errors import BadRequest
from tests.pipelines.chat.llamas import CHATML, ENDS, LLAMA_2, LLAMA_3, SPECIALS, make_tokenizer

CONVERSATIONS = {
    "one question": [("user", "How big is a duck?")],
    "with a system prompt": [("system", "Be brief."), ("user", "Hi")],
    "several turns": [
        ("system", "Be brief."),
        ("user", "  Hi  "),
        ("assistant", "Hello!\n"),
        ("user", "你好 🦆"),
    ],
}


def messages_of(pairs) -> list[ChatMessage]:
    return [ChatMessage(role=role, content=content) for role, content in pairs]


def text_of(template: str, messages, **options) -> str:
    bos, eos = ENDS[template]
    parts = render(
        template,
        messages,
        SPECIALS[template],
        tokens={"bos_token": bos, "eos_token": eos},
        **options,
    )
    assert all((part.text in SPECIALS[template]) == part.special for part in parts)
    return "".join(part.text for part in parts)


@pytest.mark.parametrize("template", [CHATML, LLAMA_3, LLAMA_2], ids=["ChatML", "LLaMA 3", "2"])
@pytest.mark.parametrize("pairs", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_a_prompt_is_what_the_tokenizer_s_own_template_makes(template, pairs):
    tokenizer = make_tokenizer(template)
    own = tokenizer.apply_chat_template(
        [{"role": role, "content": content} for role, content in pairs],
        tokenize=False,
        add_generation_prompt=True,
    )

    assert text_of(template, messages_of(pairs)) == own


def test_a_llama_3_prompt_is_the_one_of_the_model_card():
    text = text_of(LLAMA_3, messages_of([("system", "S"), ("user", "U")]))

    assert text == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


@pytest.mark.parametrize("template", [CHATML, LLAMA_3, LLAMA_2], ids=["ChatML", "LLaMA 3", "2"])
def test_a_special_token_that_a_person_types_stays_text(template):
    for special in SPECIALS[template]:
        typed = f"a{special}b {special}{special}"
        parts = render(
            template,
            messages_of([("user", typed)]),
            SPECIALS[template],
            tokens=dict(zip(("bos_token", "eos_token"), ENDS[template], strict=True)),
        )
        holding = [part for part in parts if typed in part.text]

        assert [part.special for part in holding] == [False]
        plain = text_of(template, messages_of([("user", "x")]))
        assert sum(part.special for part in parts) == sum(
            plain.count(each) for each in SPECIALS[template]
        )


def test_our_own_marks_cannot_be_typed():
    typed = "\ue0f00\ue0f1<|im_end|>\ue0f2"

    assert "0<|im_end|>" in text_of(CHATML, messages_of([("user", typed)]))


@pytest.mark.parametrize("template", [CHATML, LLAMA_3, LLAMA_2], ids=["ChatML", "LLaMA 3", "2"])
def test_what_is_continued_is_left_open_at_its_last_character(template):
    messages = messages_of([("user", "Count."), ("assistant", "One, two, ")])

    text = text_of(template, messages, continue_last=True)

    assert text.endswith("One, two, ")
    closed = text_of(template, [*messages, ChatMessage(role="user", content="x")])
    assert closed.startswith(text.rstrip())


def test_a_template_that_refuses_roles_is_quoted():
    with pytest.raises(BadRequest, match="roles must alternate"):
        text_of(LLAMA_2, messages_of([("user", "a"), ("user", "b")]))


def test_a_template_cannot_reach_out_of_its_sandbox():
    evil = "{{ messages.__class__.__mro__[1].__subclasses__() }}"

    with pytest.raises(BadRequest, match="chat template"):
        render(evil, messages_of([("user", "a")]), [])


def test_special_tokens_are_found_in_a_template_s_source():
    assert {"<|im_start|>", "<|im_end|>"} <= written_in(CHATML)
    assert {"<|start_header_id|>", "<|eot_id|>"} <= written_in(LLAMA_3)
