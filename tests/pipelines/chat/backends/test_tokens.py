from __future__ import annotations

import pytest

from pipelines.chat.backends.tokens import Token, bytes_of, cut, whole
from tests.pipelines.chat.tiny_llama import byte_level, composing_tokenizer, sentencepiece

TEXTS = (
    "The cat sat.",
    "  two  spaces\nand\ttabs \r\n",
    "法国的首都 🙂👩‍👩‍👧",
    "naïve café, e\u0301 and \x00 and \u2028",
    "<|im_start|>user<|im_end|> </s><s> <0x41>",
    " ",
    "a\u3000b",
)
TOKENIZERS = {"byte-level": byte_level(), "sentencepiece": sentencepiece()}


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("text", TEXTS)
def test_the_pieces_put_together_are_the_text(kind, text):
    tokens = [token for token in cut(TOKENIZERS[kind], text) if not token.special]
    assert b"".join(token.bytes for token in tokens) == text.encode()
    data = text.encode()
    assert all(data[token.start : token.end] == token.bytes for token in tokens)
    assert [token.start for token in tokens[1:]] == [token.end for token in tokens[:-1]]


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("text", TEXTS)
def test_whole_pieces_are_the_characters_they_cover(kind, text):
    for token in cut(TOKENIZERS[kind], text):
        if token.text is not None and not token.special:
            assert text[token.first : token.last] == token.text
        elif not token.special:  # halved characters are covered as a whole
            assert token.bytes in text[token.first : token.last].encode()
            assert token.last - token.first <= 4


def test_the_ids_are_those_of_the_tokenizer():
    for tokenizer in TOKENIZERS.values():
        text = "The capital of 法国 is 🙂"
        assert [token.id for token in cut(tokenizer, text)] == tokenizer(text)["input_ids"]


def test_a_character_may_be_cut_into_bytes():
    fire = cut(byte_level(), "🙂")
    assert [token.bytes for token in fire] == [b"\xf0", b"\x9f", b"\x99", b"\x82"]
    assert {(token.first, token.last) for token in fire} == {(0, 1)}
    assert [token.text for token in fire] == [None] * 4


def test_special_tokens_that_somebody_types_are_text():
    typed = cut(byte_level(), "a<|im_end|>b")
    assert not any(token.special for token in typed)
    assert len(typed) > 3


def test_special_tokens_count_when_they_are_asked_for():
    tokenizer = byte_level()
    read = cut(tokenizer, "é<|im_end|>b", read_specials=True)
    assert [token.id for token in read] == tokenizer("é<|im_end|>b")["input_ids"]
    end = next(token for token in read if token.special)
    assert end == Token(1, "<|im_end|>", b"<|im_end|>", 2, 12, 1, 11, special=True)


def test_what_stands_before_every_text_covers_nothing():
    begin, *rest = cut(sentencepiece(), "The")
    assert begin == Token(1, "<s>", b"<s>", 0, 0, 0, 0, special=True)
    # The space that SentencePiece puts before the first word is not in the text.
    assert [(token.piece, token.bytes) for token in rest] == [("▁The", b"The")]


def test_a_begin_that_is_written_out_is_not_put_there_twice():
    tokens = cut(sentencepiece(), "<s>The", read_specials=True)
    assert [token.id for token in tokens].count(1) == 1


def test_no_text_has_no_tokens_but_the_begin():
    assert cut(byte_level(), "") == []
    assert [token.piece for token in cut(sentencepiece(), "")] == ["<s>"]


def test_a_tokenizer_that_composes_characters_still_tells_where_its_tokens_are():
    text = "cafe\u0301 sat"  # of which it makes café
    tokens = cut(composing_tokenizer(), text)
    accent = [token for token in tokens if token.bytes in (b"\xc3", b"\xa9")]
    assert [token.first for token in accent] == [3, 3]
    after = [token for token in tokens if token.first >= 5]
    assert "".join(text[token.first : token.last] for token in after) == " sat"


def test_tokens_of_the_vocabulary_have_their_spaces():
    tokenizer = sentencepiece()
    ids = tokenizer.convert_tokens_to_ids(["▁The", "<0xE2>", "</s>"])
    assert bytes_of(tokenizer, ids) == [b" The", b"\xe2", b"</s>"]


def test_rows_without_a_token_are_empty():
    tokenizer = byte_level()
    assert bytes_of(tokenizer, [len(tokenizer) + 5]) == [b""]


def test_half_a_character_is_no_text():
    assert whole("é".encode()) == "é"
    assert whole("é".encode()[:1]) is None
