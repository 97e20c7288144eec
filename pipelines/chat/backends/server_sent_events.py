"""Server-sent events, read from bytes as they come.

Lines end with CR, LF or both, and with nothing else (WHATWG HTML, section 9.2.5).
``str.splitlines``, which httpx' ``iter_lines`` follows, also ends them at U+2028, U+2029, U+0085
and form feeds, which JSON lets stand in its texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_EVENT_BYTES = 16_000_000  # of one event: a page of odds has some hundred thousand
DONE = "[DONE]"  # the data of the last event in OpenAI's protocol
_BOM = b"\xef\xbb\xbf"


class TooLong(Exception):
    """An event is longer than :data:`MAX_EVENT_BYTES`."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event.

    Attributes:
        data: its lines of data, joined by line feeds.
        kind: its type; empty where it names none.
        whole: False for what stood at the end of the stream without the empty line that ends an
            event: it may have been cut.
    """

    data: str
    kind: str = ""
    whole: bool = True


def read_events(chunks: Iterable[bytes]) -> Iterator[ServerSentEvent]:
    """The events in a stream of bytes, each as soon as its last byte has come.

    Comments, ids and times to retry after are passed over. A field ``error``, which llama.cpp has
    sent in the place of data, becomes an event of the type ``error``. Servers that leave out the
    empty lines between events send a JSON object on each line: each is an event of its own, since
    two objects together are no JSON.

    Raises:
        TooLong: an event has no end within :data:`MAX_EVENT_BYTES`.
    """
    data: list[str] = []
    kind, size = "", 0
    for line in read_lines(chunks):
        if not line:
            if data:
                yield ServerSentEvent("\n".join(data), kind)
            data, kind, size = [], "", 0
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name in ("data", "error"):
            if len(data) == 1 and _is_object(data[0]) and (value == DONE or _is_object(value)):
                yield ServerSentEvent(data.pop(), kind)
                kind, size = "", 0
            data.append(value)
        if name in ("event", "error"):
            kind = value if name == "event" else "error"
        if (size := size + len(line)) > MAX_EVENT_BYTES:
            raise TooLong
    if data:
        yield ServerSentEvent("\n".join(data), kind, whole=False)


def _is_object(line: str) -> bool:
    """Whether a line of data is a JSON object by its ends: lines of one that is spread over
    several begin or end otherwise."""
    line = line.strip()
    return line.startswith("{") and line.endswith("}")


def read_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines of UTF-8 without their ends, which are CR, LF or CRLF; the last may have none.

    Raises:
        TooLong: a line is longer than :data:`MAX_EVENT_BYTES`.
    """
    held: list[bytes] = []  # of a line that has not ended
    size, after_cr, first = 0, False, True
    for chunk in chunks:
        if not chunk:
            continue
        if after_cr and chunk.startswith(b"\n"):  # the second half of a CRLF
            chunk = chunk[1:]
        after_cr = chunk.endswith(b"\r") if chunk else False
        for piece in chunk.splitlines(keepends=True):  # of bytes: at CR and LF only
            held.append(piece)
            if (size := size + len(piece)) > MAX_EVENT_BYTES:
                raise TooLong
            if piece.endswith((b"\r", b"\n")):
                yield _text(b"".join(held).rstrip(b"\r\n"), first)
                held, size, first = [], 0, False
    if held:
        yield _text(b"".join(held), first)


def _text(line: bytes, first: bool) -> str:
    return (line.removeprefix(_BOM) if first else line).decode("utf-8", "replace")
