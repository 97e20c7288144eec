"""Answers and their pieces, byte by byte as OpenAI's clients are sent them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from pipelines.chat.events import TokenOdds, Words
from studio.features.openai_api import bodies, schemas
from studio.features.openai_api.errors import Invalid, problem
from studio.features.openai_api.running import Answer
from studio.features.openai_api.wire import ChatFormat, CompletionFormat, Format

FACTS = {"finish_reason": "stop", "prompt_tokens": 9, "cached_tokens": 4, "completion_tokens": 2}
USAGE = (
    '"usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, '
    '"prompt_tokens_details": {"cached_tokens": 4}}'
)
HALF = "\ud83d"  # of an emoji, as another server may send it
# "é" in two tokens, of which the first was all but impossible.
ODDS = (
    TokenOdds("\ufffd", float("-inf"), b"\xc3", (TokenOdds("a", -0.5, b"a"),)),
    TokenOdds("é", -1.5, b"\xa9"),
)


def chat(**more: Any) -> ChatFormat:
    return ChatFormat(bodies.chat({"messages": [{"role": "user", "content": "hi"}], **more}))


def completion(**more: Any) -> CompletionFormat:
    return CompletionFormat(bodies.completion({"prompt": "hi", **more}))


def choices_in(piece: str) -> str:
    """The text of the field ``choices``, and what follows it."""
    found = re.fullmatch(r'data: {.*?"choices": (.*)}\n\n', piece)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("form", "name", "prefix", "whole"),
    [
        (chat, "chat.completion.chunk", "chatcmpl-", False),
        (chat, "chat.completion", "chatcmpl-", True),
        (completion, "text_completion", "cmpl-", False),
        (completion, "text_completion", "cmpl-", True),
    ],
)
def test_every_answer_and_piece_begins_alike(form, name: str, prefix: str, whole: bool):
    made: Format = form(stream=not whole)
    said = (
        made.whole([Answer("", (), FACTS)]) if whole else made.end_choice(0, FACTS)[len("data: ") :]
    )
    body = json.loads(said)
    assert [*body][:5] == ["id", "created", "model", "object", "choices"]
    assert body["id"].startswith(prefix)
    assert (body["object"], body["model"]) == (name, bodies.STARTER)
    assert said.isascii()


def test_pieces_of_a_chat():
    form = chat(stream=True)
    pieces = [form.first_chunk(0), form.words(0, Words(f"é{HALF}", 1)), form.end_choice(0, FACTS)]
    assert [choices_in(each) for each in pieces] == [
        '[{"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": null, '
        '"finish_reason": null}]',
        '[{"index": 0, "delta": {"content": "\\u00e9\\ud83d"}, "logprobs": null, '
        '"finish_reason": null}]',
        '[{"index": 0, "delta": {}, "logprobs": null, "finish_reason": "stop"}]',
    ]
    assert form.words(0, Words("", 1)) == ""
    assert form.end_stream([FACTS]) == "data: [DONE]\n\n"


def test_usage_is_in_each_piece_where_it_is_asked_for_and_null_until_the_last():
    form = chat(stream=True, stream_options={"include_usage": True})
    assert choices_in(form.first_chunk(0)).endswith('}], "usage": null')
    last, _, done = form.end_stream([FACTS]).partition("data: [DONE]")
    assert choices_in(last) == f"[], {USAGE}"
    assert done == "\n\n"
    unknown = form.end_stream([FACTS | {"prompt_tokens": None}])
    assert '"choices": [], "usage": null}' in unknown


def test_a_whole_chat():
    form = chat(logprobs=True, top_logprobs=1)
    said = form.whole([Answer("é", ODDS, FACTS | {"left_out": "thoughts"})])
    assert said.partition('"choices": ')[2] == (
        '[{"index": 0, "message": {"role": "assistant", "content": "\\u00e9", "refusal": null}, '
        '"logprobs": {"content": ['
        '{"token": "\\ufffd", "logprob": -9999.0, "bytes": [195], "top_logprobs": '
        '[{"token": "a", "logprob": -0.5, "bytes": [97]}]}, '
        '{"token": "\\u00e9", "logprob": -1.5, "bytes": [169], "top_logprobs": []}'
        '], "refusal": null}, "finish_reason": "stop", "left_out": "thoughts"}], ' + USAGE + "}"
    )


def test_pieces_of_a_completion():
    form = completion(stream=True, logprobs=1)
    assert form.first_chunk(0) == ""
    assert choices_in(form.words(0, Words("é", 2, ODDS))) == (
        '[{"index": 0, "text": "\\u00e9", "logprobs": '
        '{"tokens": ["bytes:\\\\xc3", "bytes:\\\\xa9"], '
        '"token_logprobs": [-9999.0, -1.5], '
        '"top_logprobs": [{"a": -0.5, "bytes:\\\\xc3": -9999.0}, {"bytes:\\\\xa9": -1.5}], '
        '"text_offset": [0, 0]}, "finish_reason": null}]'
    )
    more = json.loads(form.words(0, Words("x", 1, (TokenOdds("x", None, b"x"),)))[len("data: ") :])
    assert more["choices"][0]["logprobs"]["text_offset"] == [1]
    assert more["choices"][0]["logprobs"]["token_logprobs"] == [None]
    assert choices_in(form.end_choice(0, FACTS)) == (
        '[{"index": 0, "text": "", "logprobs": null, "finish_reason": "stop"}]'
    )


def test_a_whole_completion_counts_the_prompt_once():
    form = completion(n=2)
    said = form.whole([Answer("a", (), FACTS), Answer("b", (), FACTS)])
    assert said.partition('"choices": ')[2] == (
        '[{"index": 0, "text": "a", "logprobs": null, "finish_reason": "stop"}, '
        '{"index": 1, "text": "b", "logprobs": null, "finish_reason": "stop"}], '
        '"usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, '
        '"prompt_tokens_details": {"cached_tokens": 4}}}'
    )


def test_models_are_listed_with_what_is_known_of_their_kind():
    chatting = schemas.ChatModel(id="m", title="M", context_length=4096)
    painting = schemas.Model(id="p", kind="image", title="P")
    assert json.dumps(schemas.ModelList(data=[chatting, painting]).model_dump()) == (
        '{"object": "list", "data": [{"id": "m", "object": "model", "created": 0, '
        '"owned_by": "atelier", "kind": "chat", "title": "M", "context_length": 4096}, '
        '{"id": "p", "object": "model", "created": 0, "owned_by": "atelier", "kind": "image", '
        '"title": "P"}]}'
    )


def test_an_error_says_all_four_things_be_they_null():
    found = problem(Invalid("There is no {field}.", field=f"é{HALF}", param=HALF))
    assert found.body() == (
        '{"error": {"message": "There is no \\u00e9?.", "type": "invalid_request_error", '
        '"param": "\\ud83d", "code": null}}'
    )
