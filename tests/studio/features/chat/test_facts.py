"""What is told of an answer whose server does not tell everything."""

from __future__ import annotations

import json

from studio.features.chat.answers.requests import add_up
from studio.features.chat.json_views import _notes
from studio.features.openai_api import bodies
from studio.features.openai_api.running import Answer
from studio.features.openai_api.wire import ChatFormat, CompletionFormat, usage

HALF = {"completion_tokens": 3, "seconds": 1.5}


def test_counts_of_two_parts_are_added_up_only_where_both_are_known():
    whole = add_up(HALF, {"completion_tokens": 5, "seconds": 0.5})
    assert (whole["completion_tokens"], whole["tokens_per_second"]) == (8, 4)
    assert add_up(HALF, {})["completion_tokens"] == 3, "the second part was stopped at once"
    unknown = add_up(HALF, {"completion_tokens": None, "seconds": 0.5})
    assert unknown["completion_tokens"] is None
    assert "tokens_per_second" not in unknown


def test_counts_that_are_not_known_are_not_told_to_programs():
    known = {"prompt_tokens": 7, "completion_tokens": 2, "cached_tokens": 0}
    assert usage([known, known], 1).total_tokens == 11
    assert usage([known, {**known, "completion_tokens": None}], 1) is None
    assert usage([{**known, "prompt_tokens": None}], 1) is None


def test_what_was_left_out_stands_beside_the_answer_in_both_languages():
    facts = {"left_out": "thoughts, tool calls", "not_sent": "top_k, seed",
             "finish_reason": "content_filter"}  # fmt: skip
    assert _notes(facts, "en") == [
        "Cut by the server's filter of contents",
        "Sent besides and not shown: thoughts, tool calls",
        "Not sent to this server: Top-k, Seed",
    ]
    assert _notes(facts, "zh")[1] == "另外发来但未显示：思考过程, 工具调用"
    assert _notes({"left_out": 5, "not_sent": "no such", "finish_reason": "stop"}, "en") == [
        "Sent besides and not shown: 5"
    ]


def test_programs_are_told_what_was_left_out_at_the_end_of_a_choice():
    facts = {"finish_reason": "stop", "left_out": "thoughts", "prompt_tokens": None,
             "completion_tokens": 1, "cached_tokens": 0}  # fmt: skip
    chat = ChatFormat(bodies.chat({"messages": [{"role": "user", "content": "a"}]}))
    for form in (chat, CompletionFormat(bodies.completion({"prompt": "a"}))):
        body = json.loads(form.whole([Answer("a", (), facts)]))
        (last,) = json.loads(form.end_choice(0, facts).removeprefix("data: "))["choices"]
        for choice in (*body["choices"], last):
            assert (choice["finish_reason"], choice["left_out"]) == ("stop", "thoughts")
        assert body["usage"] is None
        assert "left_out" not in form.end_choice(0, {"finish_reason": "length"})
