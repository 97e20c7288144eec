"""The chat template in a GGUF file, and whether it says how to pool, read without llama.cpp.

Where llama.cpp finds one it runs it while it loads the model, without a limit: one that counts for
ever, or fills the memory, would take the machine. So it is given another, and the model's own is
rendered by :mod:`pipelines.chat.rendering.process`. The form of the file is GGUF's
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), versions 2 and 3, little-endian.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

KEY = "tokenizer.chat_template"
POOLING = ".pooling_type"  # behind the architecture's name
MAX_TEMPLATE = 1_000_000  # bytes; the largest public ones have 30,000
MAX_PAIRS = 10_000
_STRING, _ARRAY = 8, 9
# Bytes of the other types, by their numbers: integers, floats, bool.
_LENGTH = struct.Struct("<Q")
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


class TemplateTooLong(Exception):
    """The template has more than :data:`MAX_TEMPLATE` bytes; their number is the argument."""


def read_template(path: Path) -> str:
    """The model's own chat template; empty where the file has none or is no such file.

    Raises:
        TemplateTooLong: it is longer than any that is one.
    """
    try:
        with path.open("rb") as file:
            return _find(file)
    except (OSError, EOFError, struct.error):  # llama.cpp says what is wrong with the file
        return ""


def names_pooling(path: Path) -> bool:
    """Whether a file says how its model's embeddings are pooled, as those made for them do."""
    try:
        with path.open("rb") as file:
            for name, kind in _pairs(file):
                if name.endswith(POOLING.encode()):
                    return True
                _skip(file, kind)
    except (OSError, EOFError, struct.error):
        pass
    return False


def _pairs(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """Name of each value and the number of its type; whoever iterates goes on behind the value."""
    magic, version, _, pairs = struct.unpack("<4sIQQ", _read(file, 24))
    if magic != b"GGUF" or version not in (2, 3):
        return
    for _ in range(min(pairs, MAX_PAIRS)):
        name = _read(file, _number(file))
        (kind,) = struct.unpack("<I", _read(file, 4))
        yield name, kind


def _find(file: IO[bytes]) -> str:
    for name, kind in _pairs(file):
        if kind == _STRING and name == KEY.encode():
            if (length := _number(file)) > MAX_TEMPLATE:
                raise TemplateTooLong(length)
            return _read(file, length).decode("utf-8", "replace")
        _skip(file, kind)
    return ""


def _skip(file: IO[bytes], kind: int) -> None:
    """Goes on behind a value."""
    if kind == _STRING:
        _leap(file, _number(file))
    elif kind == _ARRAY:
        kind, count = struct.unpack("<IQ", _read(file, 12))
        if kind == _STRING:  # each has eight bytes at least
            _check_left(file, 8 * count)
            for _ in range(count):
                (length,) = _LENGTH.unpack(file.read(8))
                # Within what is buffered: there are some hundred thousand.
                file.read(length) if length < 1000 else _leap(file, length)
        else:  # of arrays in arrays no file has any
            _leap(file, count * _size(kind))
    else:
        _leap(file, _size(kind))


def _size(kind: int) -> int:
    if kind not in _SIZES:
        raise EOFError
    return _SIZES[kind]


def _number(file: IO[bytes]) -> int:
    return _LENGTH.unpack(_read(file, 8))[0]


def _read(file: IO[bytes], count: int) -> bytes:
    if count > MAX_TEMPLATE or len(data := file.read(count)) < count:
        raise EOFError
    return data


def _leap(file: IO[bytes], count: int) -> None:
    _check_left(file, count)
    file.seek(count, os.SEEK_CUR)


def _check_left(file: IO[bytes], count: int) -> None:
    if count > os.fstat(file.fileno()).st_size - file.tell():
        raise EOFError
