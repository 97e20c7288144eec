"""What goes first when a conversation outgrows the context; a token is a character here."""

from __future__ import annotations

import pytest

from pipelines.chat.context import ContextExceeded, fit
from pipelines.chat.requests import ChatMessage


def talk(*pairs: str) -> list[ChatMessage]:
    """``"u:text"`` and so on."""
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return [ChatMessage(role=roles[pair[0]], content=pair[2:]) for pair in pairs]


def count(messages) -> int:
    return sum(len(message.content) for message in messages)


def test_what_fits_stays_whole():
    messages = talk("s:ss", "u:uuu", "a:aaa", "u:u")

    assert fit(messages, count, limit=10, answer=1) == (tuple(messages), 0)


def test_the_oldest_turns_go_as_a_whole_and_the_system_prompt_stays():
    messages = talk("s:ss", "u:uuu", "a:aaa", "u:uu", "a:a", "u:u")

    kept, dropped = fit(messages, count, limit=8, answer=2)

    assert kept == tuple(talk("s:ss", "u:uu", "a:a", "u:u"))
    assert dropped == 2


def test_room_for_the_answer_is_at_most_half_of_the_context():
    messages = talk("u:uuuu", "a:aaaa", "u:uuuu")

    assert fit(messages, count, limit=8, answer=1000) == ((messages[2],), 2)


def test_a_last_turn_that_fits_only_without_room_is_still_answered():
    messages = talk("u:uuuu", "a:a", "u:uuuuuuu")

    assert fit(messages, count, limit=8, answer=4) == ((messages[2],), 2)


def test_a_last_turn_that_does_not_fit_is_refused_with_both_numbers():
    with pytest.raises(ContextExceeded, match=r"11 tokens.*holds 8"):
        fit(talk("s:s", "u:uuuu", "a:a", "u:uuuuuuuuuu"), count, limit=8, answer=1)


def test_tokens_are_counted_about_log_of_the_turns_times():
    calls = 0

    def count_calls(messages) -> int:
        nonlocal calls
        calls += 1
        return count(messages)

    messages = talk(*["u:uu", "a:aa"] * 500, "u:u")
    kept, dropped = fit(messages, count_calls, limit=40, answer=10)

    assert 26 < count(kept) <= 30
    assert len(kept) + dropped == len(messages)
    assert calls <= 13
