"""GGUF files as people have them, and their chat templates, which llama.cpp is not given."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pipelines.chat.backends import gguf_template
from pipelines.chat.backends.gguf_template import KEY, TemplateTooLong, read_template
from pipelines.chat.backends.llama_cpp import LlamaCpp
from pipelines.chat.entries import ChatEntry
from pipelines.chat.requests import ChatMessage
from pipelines.core.errors import BadRequest, Unavailable, validate
from tests.pipelines.chat.llamas import CHATML
from tests.pipelines.chat.tiny_gguf import save_gguf

# llama.cpp tries a template on messages of its own, and would not load this model.
ONLY_HELLO = (
    "{% if messages[-1].content != 'Hello' %}{{ raise_exception('no') }}{% endif %}" + CHATML
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_gguf(tmp_path_factory.mktemp("gguf") / "m.gguf", ONLY_HELLO)


def run(path: Path) -> LlamaCpp:
    data = {"name": "odd", "title": "Odd", "backend": "llama.cpp", "source": {"file": "m.gguf"}}
    entry = validate(ChatEntry, {**data, "context_length": 256, "parallel": 1})
    return LlamaCpp(entry, path, "cpu", lambda *_: None)


def test_a_template_is_rendered_here_and_never_by_llama_cpp(whole: Path):
    model = run(whole)
    try:
        ids = model.prompt([ChatMessage(role="user", content="Hello")])
        text = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
        assert model.text_of(ids) == text
        with pytest.raises(BadRequest, match="take this conversation: no"):
            model.prompt([ChatMessage(role="user", content="Bye")])
    finally:
        model.close()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "m.gguf of Odd is a pointer of Git LFS"),
        (b"<!DOCTYPE html>", "cannot load Odd: invalid magic characters: '<!DO'"),
    ],
)
def test_what_is_no_model_is_said(tmp_path: Path, data: bytes, sentence: str):
    (tmp_path / "m.gguf").write_bytes(data)
    with pytest.raises(Unavailable) as caught:
        run(tmp_path / "m.gguf")
    assert sentence in str(caught.value)


def test_facts_that_cannot_be_are_said(tmp_path: Path):
    with pytest.raises(Unavailable, match="gives it a context of 0 tokens"):
        run(save_gguf(tmp_path / "m.gguf", CHATML, context_length=0))
    with pytest.raises(Unavailable) as caught:
        run(save_gguf(tmp_path / "n.gguf", CHATML, block_count=0))
    assert "[New LWP" not in str(caught.value), "a debugger was called"


# --- the template in a file -----------------------------------------------------------------------


def text(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def file_of(*pairs: bytes, count: int | None = None, version: int = 3) -> bytes:
    head = struct.pack("<4sIQQ", b"GGUF", version, 0, len(pairs) if count is None else count)
    return head + b"".join(pairs)


TEMPLATE = text(KEY.encode()) + struct.pack("<I", 8) + text("Grüße".encode())
OTHERS = [
    text(b"general.name") + struct.pack("<I", 8) + text(b"x" * 5000),
    text(b"a.bool") + struct.pack("<I?", 7, True),
    text(b"a.float") + struct.pack("<Id", 12, 0.5),
    text(b"words") + struct.pack("<IIQ", 9, 8, 3) + text(b"a") + text(b"") + text(b"b" * 4000),
    text(b"kinds") + struct.pack("<IIQ3i", 9, 5, 3, 1, 1, 3),
]


def test_a_template_is_read_from_among_what_else_there_is(whole: Path, tmp_path: Path):
    assert read_template(whole) == ONLY_HELLO
    assert read_template(save_gguf(tmp_path / "bare.gguf")) == ""
    for data in (file_of(*OTHERS, TEMPLATE), file_of(TEMPLATE, *OTHERS, version=2)):
        (tmp_path / "m").write_bytes(data)
        assert read_template(tmp_path / "m") == "Grüße"


@pytest.mark.parametrize(
    "data",
    [
        b"", b"GGUF", b"<!DOCTYPE html> and more than a head", file_of(TEMPLATE, version=1),
        file_of(*OTHERS), file_of(*OTHERS, count=2**60), file_of(TEMPLATE)[:-1],
        file_of(text(b"x") + struct.pack("<IIQ", 9, 8, 2**60)),
        file_of(text(b"x") + struct.pack("<IIQ", 9, 5, 2**62), TEMPLATE),
        file_of(text(b"x") + struct.pack("<IIQ", 9, 9, 1), TEMPLATE),
        file_of(text(b"x") + struct.pack("<I", 99), TEMPLATE),
        file_of(struct.pack("<Q", 2**63), TEMPLATE),
        file_of(text(b"x") + struct.pack("<IQ", 8, 2**62), TEMPLATE),
        file_of(text(KEY.encode()) + struct.pack("<II", 4, 7)),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_has_no_template(tmp_path: Path, data: bytes):
    (tmp_path / "m").write_bytes(data)
    assert read_template(tmp_path / "m") == ""


def test_a_template_that_is_too_long_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gguf_template, "MAX_TEMPLATE", 100)
    pair = text(KEY.encode()) + struct.pack("<I", 8) + text(b"x" * 101)
    (tmp_path / "m").write_bytes(file_of(pair))
    with pytest.raises(TemplateTooLong):
        read_template(tmp_path / "m")
