"""What a model's tokens stand for: the exact bytes, though a token may be half a character."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # SentencePiece's tokens for single bytes


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a text.

    Attributes:
        id: its row in the embedding.
        piece: as the vocabulary has it, such as ``Ġcapital`` or ``▁capital``.
        bytes: what it stands for in UTF-8; may begin or end within a character.
        start, end: the bytes of the text (UTF-8) that it covers; equal where it covers none.
        first, last: the characters that it covers, the halved ones included: ``text[first:last]``.
        special: a token of the model's own, such as the one that begins a text.
    """

    id: int
    piece: str
    bytes: bytes
    start: int
    end: int
    first: int
    last: int
    special: bool = False

    @property
    def text(self) -> str | None:
        """What it stands for, or None where that is not whole characters."""
        return whole(self.bytes)


def whole(piece: bytes) -> str | None:
    """The characters of ``piece``, or None where it begins or ends within one."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return None


def bytes_of(tokenizer: Any, ids: Sequence[int]) -> list[bytes]:
    """What each token stands for, where it does not stand at the begin of a text.

    Byte-level BPE (GPT-2, LLaMA 3) and SentencePiece with byte fallback (LLaMA 2).
    """
    table = _byte_of() if _is_byte_level(tokenizer) else None
    added = tokenizer.added_tokens_decoder
    found = []
    for id, piece in zip(ids, tokenizer.convert_ids_to_tokens(list(ids)), strict=True):
        if id in added:
            found.append(added[id].content.encode())
        elif piece is None:  # a row of the embedding that has no token
            found.append(b"")
        elif table is not None and all(letter in table for letter in piece):
            found.append(bytes(table[letter] for letter in piece))
        elif match := _BYTE.fullmatch(piece):
            found.append(bytes([int(match[1], 16)]))
        else:
            found.append(piece.replace("▁", " ").encode())
    return found


def cut(tokenizer: Any, text: str, read_specials: bool = False) -> list[Token]:
    """The tokens of ``text``, those that the model wants before any text included.

    Args:
        tokenizer: a ``transformers.PreTrainedTokenizerBase``.
        read_specials: whether special tokens that stand in the text count as such; else they are
            text like any other.
    """
    parts, specials = [(text, False)], special_tokens(tokenizer)
    if read_specials and specials:
        # With a group in the pattern, every second part is a special token.
        longest_first = sorted(specials, key=lambda token: (-len(token), token))
        found = re.split(f"({'|'.join(map(re.escape, longest_first))})", text)
        parts = [(part, at % 2 == 1) for at, part in enumerate(found) if part]
    begin = _begin(tokenizer)
    if begin and parts and parts[0] == (special_name(tokenizer, begin[0]), True):
        begin = []  # it stands there already
    tokens = [_special(tokenizer, id, 0, 0, "") for id in begin]
    byte, character = 0, 0
    for part, special in parts:
        if special:
            id = tokenizer.convert_tokens_to_ids(part)
            tokens.append(_special(tokenizer, id, byte, character, part))
        else:
            tokens += _plain(tokenizer, part, byte, character)
        byte, character = byte + len(part.encode()), character + len(part)
    return tokens


def special_tokens(tokenizer: Any) -> set[str]:
    """The model's special tokens, as they are written."""
    added = tokenizer.added_tokens_decoder.values()
    return {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)}


def special_name(tokenizer: Any, id: int) -> str:
    return tokenizer.convert_ids_to_tokens([id])[0]


def _special(tokenizer: Any, id: int, byte: int, character: int, text: str) -> Token:
    piece = special_name(tokenizer, id)
    return Token(id, piece, piece.encode(), byte, byte + len(text.encode()),
                 character, character + len(text), special=True)  # fmt: skip


def _plain(tokenizer: Any, text: str, byte: int, character: int) -> list[Token]:
    """Tokens of a text without special ones, that begins at ``byte`` and ``character``."""
    encoded = tokenizer(
        text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
    )
    ids = encoded["input_ids"]
    pieces = bytes_of(tokenizer, ids)
    data = text.encode()
    if b"".join(pieces) == b" " + data and pieces[0].startswith(b" "):
        pieces[0] = pieces[0][1:]  # SentencePiece puts a space before the first word
    # Byte → character that it is part of.
    character_of = [at for at, letter in enumerate(text) for _ in letter.encode()] + [len(text)]
    if b"".join(pieces) == data:
        ends = list(accumulate(map(len, pieces), initial=0))
        spans = [
            (start, end, character_of[start], character_of[end - 1] + 1 if end > start else
             character_of[start])
            for start, end in pairwise(ends)
        ]  # fmt: skip
    else:  # a tokenizer that writes the text otherwise first, such as é in one character
        byte_at = list(accumulate((len(letter.encode()) for letter in text), initial=0))
        spans = [
            (byte_at[first], byte_at[last], first, last)
            for first, last in encoded["offset_mapping"]
        ]
    names = tokenizer.convert_ids_to_tokens(ids)
    return [
        Token(id, name, piece, byte + start, byte + end, character + first, character + last)
        for id, name, piece, (start, end, first, last) in zip(
            ids, names, pieces, spans, strict=True
        )
    ]


def _begin(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before every text."""
    ids = list(tokenizer("", add_special_tokens=True)["input_ids"])
    while ids and ids[-1] == tokenizer.eos_token_id != tokenizer.bos_token_id:
        ids.pop()
    return ids


def _is_byte_level(tokenizer: Any) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend is not None and "ByteLevel" in repr(backend.decoder)


@functools.cache
def _byte_of() -> dict[str, int]:
    """The letters that byte-level BPE writes bytes with (GPT-2)."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {letter: byte for byte, letter in bytes_to_unicode().items()}
