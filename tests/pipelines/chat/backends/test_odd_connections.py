"""Connections to other people's servers: packed, cut, silent, without end, or never begun."""

from __future__ import annotations

import gzip
import json
import threading
import time
import zlib
from collections.abc import Callable

import httpx
import pytest

from pipelines.chat.backends import remote
from pipelines.chat.backends.remote import Remote
from pipelines.chat.backends.remote_answers import AnswerReader
from pipelines.chat.backends.retry_after import seconds_to_wait
from pipelines.chat.backends.unpacking import PIECE_BYTES, unpack
from pipelines.core.errors import Busy, Stopped, Unavailable
from tests.patience import PROMPTLY
from tests.pipelines.chat.backends.providers import Handle, delta, provider
from tests.pipelines.chat.backends.test_odd_providers import ASKED, ask, entry

BOM = b"\xef\xbb\xbf"


def events(*pieces: dict) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(piece).encode() for piece in pieces)


ANSWER = events(delta("Hel"), delta("lö"), delta("", "stop")) + b"data: [DONE]\n\n"
WHOLE = b'{"choices": [{"message": {"content": "Hell\xc3\xb6"}, "finish_reason": "stop"}]}'


def raw(
    *pieces: bytes,
    status: str = "200 OK",
    then: Callable[[], object] = lambda: None,
    **headers: str,
) -> Handle:
    """Sends a head and bytes as they are, calls ``then``, and hangs up."""

    def handle(handler) -> None:
        lines = [f"HTTP/1.1 {status}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        handler.wfile.write("\r\n".join([*lines, "", ""]).encode())
        for piece in pieces:
            handler.wfile.write(piece)
            handler.wfile.flush()
        then()
        handler.close_connection = True

    return handle


@pytest.mark.parametrize(
    "handle",
    [
        raw(gzip.compress(ANSWER), content_encoding="gzip"),
        raw(gzip.compress(ANSWER[:40]) + gzip.compress(ANSWER[40:]), content_encoding="X-Gzip"),
        raw(zlib.compress(ANSWER), content_encoding="deflate"),
        raw(zlib.compress(ANSWER)[2:-4], content_encoding="deflate"),
        raw(ANSWER, content_encoding="identity"),
        raw(BOM + ANSWER),
        raw(BOM + WHOLE),
        raw(b"\n \r\n", b"   ", BOM[:1], BOM[1:], b"\n", WHOLE),
        raw(*(bytes([byte]) for byte in ANSWER)),
    ],
)
def test_answers_are_read_however_they_are_packed(handle: Handle):
    assert ask(handle)[0] == "Hellö"


@pytest.mark.parametrize(
    ("handle", "sentence"),
    [
        (raw(b"?", content_encoding="br"), "packs its answer in a way that was not asked for: br."),
        (raw(b"?", content_encoding="gzip, gzip"), "not asked for: gzip, gzip."),
        (raw(ANSWER, content_encoding="gzip"), "broke off before its answer began"),
        (raw(gzip.compress(events(delta("Hi")))[:-9], content_encoding="gzip"), "broke off"),
        (raw(BOM + b'{"error": {"message": "no credit"}}'), "could not answer: no credit."),
        (raw(b"too hot to go on", status="500 No", content_length="99"),
         "could not answer: too hot to go on."),
        (raw(status="502 No", content_length="99"), "could not answer: HTTP 502."),
        (raw(b"?", status="500 No", content_encoding="br"), "could not answer: HTTP 500."),
        (raw(b"Welcome to nginx!"), "no answer of OpenAI's protocol: Welcome to nginx!"),
        (raw(status="307 No", location="javascript:x"), "sends its clients on to x."),
        (raw(status="307 No", location="http://["), "sends its clients on to another address."),
        (raw(status="304 No"), "could not answer: HTTP 304."),
        (raw(status="302 No", location=""), "could not answer: HTTP 302."),
    ],
)  # fmt: skip
def test_what_cannot_be_unpacked_or_is_cut_is_said_truly(handle: Handle, sentence: str):
    with pytest.raises(Unavailable) as caught:
        ask(handle)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    "words",
    ["KeyError: 'choices'", "Traceback (most recent call last):\n  File \"a.py\"\nValueError: no",
     "<class 'ValueError'>", "'NoneType' object is not iterable"],
)  # fmt: skip
def test_what_another_program_has_failed_with_is_not_shown_and_not_called_ours(words: str):
    for body in (words.encode(), json.dumps({"error": {"message": words}}).encode()):
        with pytest.raises(Unavailable) as caught:
            ask(raw(body, status="500 No"))
        assert str(caught.value) == (
            "The server of Far could not answer: a fault of its own, which its log tells of."
        )


@pytest.mark.parametrize("data", [b"\0" * 30_000_000, b"\n" * 30_000_000])
def test_what_is_packed_small_is_unpacked_a_little_at_a_time(data: bytes):
    packed = zlib.compress(data)
    response = httpx.Response(
        200, headers={"content-encoding": "deflate"}, stream=httpx.ByteStream(packed)
    )
    sizes = [len(piece) for piece in unpack(response)]
    assert max(sizes) <= PIECE_BYTES
    assert sum(sizes) == len(data)


# --- ends ---------------------------------------------------------------------------------------


def test_an_answer_that_is_complete_is_so_whatever_becomes_of_the_connection(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(remote, "END_SECONDS", 0.1)
    over, count = threading.Event(), {"choices": [], "usage": {"prompt_tokens": 7}}
    cut = raw(events(delta("Hi", "stop"), count), content_length="999")
    silent = raw(events(delta("Hi", "stop"), count), then=over.wait)
    try:
        for handle in (cut, silent):
            said, finished = ask(handle)
            assert (said, finished.reason, finished.prompt_tokens) == ("Hi", "stop", 7)
    finally:
        over.set()
    with pytest.raises(Unavailable, match="broke off in the middle"):
        ask(raw(events(delta("Hi", "stop"), delta(" and")), content_length="999"))


@pytest.mark.parametrize(
    "begin", [b"", b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 100 Continue\r\n\r\n"]
)
def test_a_stop_is_seen_before_a_server_has_said_anything(begin: bytes):
    over, asked, stop = threading.Event(), threading.Event(), threading.Event()

    def handle(handler) -> None:
        handler.wfile.write(begin)
        handler.wfile.flush()
        asked.set()
        over.wait()

    def stop_it() -> None:
        asked.wait()
        stop.set()

    threading.Thread(target=stop_it, daemon=True).start()
    with provider(handle) as url:
        start = time.monotonic()
        with pytest.raises(Stopped):
            list(Remote(entry(url)).answer(ASKED, stop))
        assert time.monotonic() - start < PROMPTLY
        over.set()


@pytest.mark.parametrize("piece", [b"\n" * 50_000, b": waiting\n" * 5_000, b"data: {}\n\n" * 5_000])
def test_what_comes_without_end_and_words_is_stopped_and_not_held(piece: bytes):
    stop, sent = threading.Event(), []

    def handle(handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                handler.wfile.write(piece)
                sent.append(len(piece))
                if len(sent) == 40:
                    stop.set()
        except OSError:  # it was hung up
            pass

    with provider(handle) as url, pytest.raises(Stopped):
        list(Remote(entry(url)).answer(ASKED, stop))


def test_counts_of_any_name_are_not_held():
    reader = AnswerReader()
    for number in range(100):
        list(reader.read({"usage": {f"tokens_{number}": 5, "prompt_tokens": 3}}))
    assert reader.prompt_tokens == 3
    assert len(reader._usage) == 1


# --- when to ask again --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("17", 17), (" 0.4 ", 1), ("0", 1), ("Wed, 21 Oct 2015 07:28:09 GMT", 9),
     ("Wed, 21 Oct 2015 07:27:00 GMT", 1), ("soon", None), ("", None), ("nan", None),
     ("-1e9", None), ("inf", None), ("9" * 500, None), ("Wed, 99 Foo 2015", None),
     ("Wed, 21 Oct 99999 07:28", None)],
)  # fmt: skip
def test_seconds_to_wait_are_read_from_seconds_and_dates(header: str, seconds: int | None):
    assert seconds_to_wait(header, now=1445412480.0) == seconds


def test_when_to_ask_again_is_said():
    busy = raw(b'{"error": "slow down"}', status="429 No", retry_after="17")
    with pytest.raises(Busy, match=r"busy: slow down\. Try again in 17 s\."):
        ask(busy)
    with pytest.raises(Busy, match=r"busy: loading\. Try again in 5 s\."):
        ask(raw(b"loading", status="503 No", retry_after="5"))
    with pytest.raises(Busy, match="Try again later"):
        ask(raw(b"slow down", status="429 No", retry_after="soon"))
