"""Lines and events as the standard has them, however the bytes are cut."""

from __future__ import annotations

import json

import pytest

from pipelines.chat.backends import server_sent_events
from pipelines.chat.backends.server_sent_events import TooLong, read_events, read_lines

# All that str.splitlines ends a line at, but what the standard ends one at.
NO_ENDS = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei"


def data(*chunks: bytes) -> list[str]:
    return [event.data for event in read_events(chunks)]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_the_same_however_their_bytes_are_cut(end: str, size: int):
    texts = ["one", NO_ENDS, "注意🦆", json.dumps({"a": "é"}, ensure_ascii=False), "last"]
    stream = "".join(f": still here{end}{end}data: {text}{end}{end}" for text in texts).encode()
    assert data(*(stream[at : at + size] for at in range(0, len(stream), size))) == texts


def test_only_cr_and_lf_end_a_line():
    stream = b"a\r\rb\n\nc\r\n\r\nd\n\re"
    lines = ["a", "", "b", "", "c", "", "d", "", "e"]
    assert list(read_lines([stream])) == lines
    assert list(read_lines(bytes([byte]) for byte in stream)) == lines
    assert list(read_lines([b"a\r", b"", b"\nb"])) == ["a", "b"]


def test_a_line_is_handed_on_with_its_last_byte():
    def pieces():
        for piece in (b"data: a\r\r", b"data: b\r", b"\r"):
            seen.append(piece)
            yield piece

    seen: list[bytes] = []
    events = read_events(pieces())
    assert next(events).data == "a"
    assert seen == [b"data: a\r\r"], "it does not wait for what may follow a CR"


def test_fields_are_read_as_the_standard_has_them():
    stream = (
        b"\xef\xbb\xbfdata:a\ndata:  b\ndata\nid: 7\nretry: 5\nother: x\nevent: message\n\n"
        b"event: ping\n\n"
        b"event: error\ndata: {}\n\n"
        b'error: {"code": 500}\n\n'
        b"data: cut"
    )
    found = [(event.data, event.kind, event.whole) for event in read_events([stream])]
    assert found == [
        ("a\n b\n", "message", True),
        ("{}", "error", True),
        ('{"code": 500}', "error", True),
        ("cut", "", False),
    ]


def test_bytes_that_are_no_utf_8_cost_themselves_only():
    assert data(b"data: a\xffb\n\n", b"data: c\n\n") == ["a\ufffdb", "c"]


@pytest.mark.parametrize("piece", [b"x" * 100, b"data: x\n"])
def test_an_event_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch, piece: bytes):
    monkeypatch.setattr(server_sent_events, "MAX_EVENT_BYTES", 1000)
    with pytest.raises(TooLong):
        data(b"data: ", *([piece] * 1000))
