"""How long an answer may be, and what a request takes of one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from pipelines.chat import engine
from pipelines.chat.events import Finished, Reading, TokenOdds, Words
from pipelines.chat.requests import MAX_ANSWER, MAX_TEXT, ChatMessage, ChatRequest
from pipelines.core.errors import BadRequest, validate

ODDS = tuple(TokenOdds("", None, b"") for _ in range(3))


def request_of(*said: str, **fields) -> ChatRequest:
    roles = itertools.cycle(("user", "assistant"))
    messages = [{"role": next(roles), "content": content} for content in said]
    return validate(ChatRequest, {"messages": messages, **fields})


@pytest.mark.parametrize(
    ("request_", "event", "pieces"),
    [
        (request_of("Hi"), Words("abcd", 2), ["abcd", "abcd", "ab"]),
        (request_of("Hi", "12345", continue_last=True), Words("abcd", 2), ["abcd", "a"]),
        (request_of("Hi"), Words("", 3, ODDS), ["", "", "", ""]),
    ],
)
def test_an_answer_without_an_end_is_given_one(
    request_, event, pieces, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine, "MAX_ANSWER", 10)
    closed = []

    def backend() -> Iterator[Reading | Words | Finished]:
        try:
            yield Reading(1, 1)
            yield from itertools.repeat(event)
        finally:
            closed.append(True)

    reading, *words, finished = engine._within_length(request_, backend())
    assert reading == Reading(1, 1)
    assert [each.text for each in words] == pieces
    assert (finished.reason, finished.tokens) == ("length", event.tokens * len(pieces))
    assert closed, "the model goes on with nobody to hear it"


def test_a_shorter_answer_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "MAX_ANSWER", 10)
    events = [Words("abcd", 1), Words("efghi", 1), Finished("stop", 1, 0, 2, 0.1, 0.1)]
    assert list(engine._within_length(request_of("Hi"), iter(events))) == events


def test_a_long_answer_can_be_asked_about_and_not_gone_on_with_for_ever():
    assert request_of("Hi", "x" * MAX_ANSWER, "And?")
    assert request_of("Hi", "x" * (MAX_ANSWER - 1), continue_last=True)
    with pytest.raises(BadRequest, match="Ask for the rest in a new message"):
        request_of("Hi", "x" * MAX_ANSWER, continue_last=True)


@pytest.mark.parametrize(("role", "limit"), [("user", MAX_TEXT), ("system", MAX_TEXT),
                                             ("assistant", MAX_ANSWER)])  # fmt: skip
def test_a_message_that_is_too_long_is_told_its_limit(role: str, limit: int):
    assert ChatMessage(role=role, content="x" * limit)
    with pytest.raises(BadRequest) as caught:
        validate(ChatMessage, {"role": role, "content": "x" * (limit + 1)})
    assert str(caught.value) == f"Message has {limit + 1} characters; at most {limit} are taken."
    assert (caught.value.path, caught.value.kind) == (("content",), "string_too_long")
