"""Tokens to text as they come, held against decoding all at once."""

from __future__ import annotations

import random

import pytest

from pipelines.chat.backends.detokenizer import Detokenizer
from tests.pipelines.chat.llamas import make_tokenizer

TEXT = "the cat 🦆🦆 sat — 你好，世界 é\n\n  on the mat 👩‍👩‍👧 end"


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def pieces(tokenizer, ids, stops=()) -> tuple[list[str], Detokenizer]:
    detokenizer = Detokenizer(tokenizer, tokenizer("before ")["input_ids"], stops)
    parts = []
    for id in ids:
        parts.append(detokenizer.add(id))
        if detokenizer.stopped:
            return parts, detokenizer
    return [*parts, detokenizer.finish()], detokenizer


def test_the_pieces_are_the_whole_and_never_half_a_character(tokenizer):
    ids = tokenizer(TEXT)["input_ids"]

    parts, _ = pieces(tokenizer, ids)

    assert "".join(parts) == TEXT
    assert not any("\ufffd" in part for part in parts)
    assert len(ids) > len(TEXT)  # characters of several tokens there were


def test_a_broken_character_at_the_end_is_shown_as_such(tokenizer):
    ids = tokenizer("a🦆")["input_ids"][:-1]

    assert "".join(pieces(tokenizer, ids)[0]) == "a\ufffd"


def test_text_ends_before_the_first_stop_string_wherever_its_tokens_break(tokenizer):
    ids = tokenizer(TEXT)["input_ids"]
    draw = random.Random(0)
    for _ in range(200):
        start = draw.randrange(len(TEXT) - 1)
        stops = [TEXT[start : start + draw.randint(1, 6)], "never there"]
        first = TEXT.index(stops[0])

        parts, detokenizer = pieces(tokenizer, ids, stops)

        assert "".join(parts) == TEXT[:first], stops
        assert detokenizer.stopped


def test_what_only_begins_like_a_stop_string_is_given_in_the_end(tokenizer):
    parts, detokenizer = pieces(tokenizer, tokenizer("the cat sa")["input_ids"], ["sat down"])

    assert "".join(parts) == "the cat sa"
    assert not detokenizer.stopped


def test_the_work_for_a_token_does_not_grow_with_the_answer(tokenizer):
    decoded: list[int] = []

    class Counting:
        def decode(self, ids, **options):
            decoded.append(len(ids))
            return tokenizer.decode(ids, **options)

    detokenizer = Detokenizer(Counting(), [], ["nowhere"])
    for id in tokenizer("the cat sat on the mat " * 60)["input_ids"]:
        detokenizer.add(id)

    assert max(decoded) <= 12
