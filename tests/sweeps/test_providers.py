"""Answers of other people's servers, made at random: whole, odd, cut, and ending in errors."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from pipelines.chat.backends.remote import Remote
from pipelines.chat.entries import ChatEntry
from pipelines.chat.events import Finished, Words
from pipelines.chat.requests import ChatRequest, CompletionRequest
from pipelines.core.errors import UserError
from tests.sweeps.plain_sentences import check_sentence

pytestmark = pytest.mark.deep

CASES = 3000
PIECES = ["Hello", " world", "\n\n", "注意：", "🦊", "é", "a\u2028b", "c\u2029", "\x85",
          "\x0c", "</s>", "[DONE]", "data: x", ": no comment", '{"choices": null}', "  ",
          "\r\n"]  # fmt: skip
# How a conversation's answer comes. One stream has one of these forms: pieces in deltas, with the
# whole answer at the end, or with the answer so far beside each; messages that are the answer so
# far; messages that are pieces.
FORMS = ["deltas", "deltas and the whole", "deltas beside messages", "answers so far", "messages"]
REASONS = [("stop", "stop"), ("length", "length"), ("eos_token", "stop"), ("MAX_TOKENS", "length"),
           ("content_filter", "content_filter")]  # fmt: skip
NOT_WORDS = [("reasoning_content", "thoughts"), ("reasoning", "thoughts"),
             ("tool_calls", "tool calls"), ("images", "pictures")]  # fmt: skip
ODD = [None, [], {}, "", 0, False, [None], 5, "x", [[]], {"a": None}]
WORDS_OF_SERVERS = [
    "out of credit",
    "the card fell out",
    "no such model",
    "请稍后再试",
    "slow down",
]
PLAIN = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}


@dataclass
class Answer:
    """What a server means to say, and the bytes that it says it by.

    Attributes:
        text, reason, tokens: of the answer; tokens are None where they are not told.
        left_out: what comes besides words.
        chunks: objects of the stream, in their order.
    """

    text: str = ""
    reason: str = "stop"
    tokens: tuple[int, int] | None = None
    left_out: set[str] = field(default_factory=set)
    chunks: list[Any] = field(default_factory=list)


def answer(draw: random.Random, chat: bool) -> Answer:
    """An answer in which everything that may be odd is."""
    made, form = Answer(), draw.choice(FORMS) if chat else "text"
    for _ in range(draw.randrange(1, 6)):
        if draw.random() < 0.5:
            made.chunks.append(nothing(draw))
        words = draw.choice(PIECES)
        if form == "messages" and words == made.text:
            continue  # it could as well be the answer so far
        made.text += words
        made.chunks.append({"choices": one_or_many(draw, choice(draw, words, form, made))})
    if form == "deltas and the whole":
        whole = draw.choice([made.text, made.text.strip()])
        made.chunks.append({"choices": [{"index": 0, "message": {"content": whole}}]})
    if draw.random() < 0.5:
        given, made.reason = draw.choice(REASONS)
        made.chunks.append({"choices": [{"index": 0, "finish_reason": given}]})
    if draw.random() < 0.5:
        made.tokens = (draw.randrange(1, 99), draw.randrange(1, 99))
        usage = {"prompt_tokens": made.tokens[0], "completion_tokens": float(made.tokens[1]),
                 "prompt_tokens_details": draw.choice(ODD)}  # fmt: skip
        made.chunks.append({"choices": draw.choice([None, []]), "usage": usage})
    return made


def nothing(draw: random.Random) -> Any:
    """What says nothing, in one of many ways."""
    empty = {
        "index": 0,
        "delta": draw.choice([None, [], {}, {"content": None}]),
        "text": None,
        "logprobs": draw.choice(ODD),
        "finish_reason": draw.choice([None, "", [], {}, 0]),
    }
    return draw.choice(
        [
            {"choices": draw.choice([None, [], {}, [None], [5], "x"])},
            {"choices": [empty]},
            {"choices": [{"index": 1, "delta": {"content": "of another choice"}}]},
            {"error": draw.choice([None, [], {}, "", False]), "usage": draw.choice([None, [], {}])},
            {"usage": {"prompt_tokens": draw.choice([None, -1, "7", [], 1.5, True])}},
            draw.choice([None, [], {}, 5, "x"]),
        ]
    )


def choice(draw: random.Random, words: str, form: str, made: Answer) -> dict[str, Any]:
    logprobs = draw.choice([None, [], {}, {"content": None}])
    found = {"index": draw.choice([0, None]), "finish_reason": None, "logprobs": logprobs}
    if form == "text":
        return {**found, "text": one_or_many(draw, words)}
    content: Any = made.text if form == "answers so far" else words
    if draw.random() < 0.3:
        content = [{"type": "text", "text": content}]
        if draw.random() < 0.5:
            content.insert(0, {"type": "thinking", "thinking": "hm"})
            made.left_out.add("thoughts")
    delta = {"role": draw.choice(["assistant", None, ""]), "content": content}
    if draw.random() < 0.2:
        name, kind = draw.choice(NOT_WORDS)
        delta[name] = draw.choice(["x", [{"x": None}]])
        made.left_out.add(kind)
    if form == "deltas beside messages":
        found["message"] = {"role": "assistant", "content": made.text}
    return {**found, "delta" if "deltas" in form else "message": one_or_many(draw, delta)}


def one_or_many(draw: random.Random, value: Any) -> Any:
    return [value] if isinstance(value, str) is False and draw.random() < 0.5 else value


def stream(draw: random.Random, made: Answer, done: bool = True) -> bytes:
    """The chunks as server-sent events, with everything that their form allows."""
    end = draw.choice([b"\n", b"\r\n", b"\r"])
    found = draw.choice([b"", b"\xef\xbb\xbf"])
    for chunk in made.chunks:
        if draw.random() < 0.3:
            found += draw.choice([b": waiting", b":", b"event: ping" + end + b"data: {half",
                                  b"id: 5", b"retry: 10", b"event: message"])  # fmt: skip
            found += end * 2
        text = json.dumps(chunk, ensure_ascii=draw.random() < 0.5).encode()
        found += draw.choice([b"data: ", b"data:"]) + text + end * 2
    return found + (b"data: [DONE]" + end * 2 if done else b"")


def cut(draw: random.Random, data: bytes) -> list[bytes]:
    """The bytes in pieces, some of one byte."""
    pieces = []
    while data:
        size = draw.choice([1, 2, 3, 50, 1000])
        pieces.append(data[:size])
        data = data[size:]
    return pieces


class Elsewhere(Remote):
    """A client whose server is in this process."""

    def __init__(self, entry: ChatEntry, status: int, pieces: list[bytes]) -> None:
        super().__init__(entry)
        self._status, self._pieces = status, pieces

    def _client(self) -> httpx.Client:
        socket = SimpleNamespace(get_extra_info=lambda name: None)

        def handle(request: httpx.Request) -> httpx.Response:
            json.loads(request.content)
            return httpx.Response(self._status, content=iter(self._pieces),
                                  extensions={"network_stream": socket})  # fmt: skip

        return httpx.Client(base_url="http://far/v1", transport=httpx.MockTransport(handle))


def answer_events(chat: bool, status: int, pieces: list[bytes]) -> Iterator[Words | Finished]:
    entry = ChatEntry(name="far", title="Far", backend="remote", url="http://far/v1")
    if chat:
        request = ChatRequest(messages=[{"role": "user", "content": "a"}], **PLAIN, seed=1)
    else:
        request = CompletionRequest(prompt="a", **PLAIN, seed=1)
    return Elsewhere(entry, status, pieces).answer(request, threading.Event())


def until_error(events: Iterator[Words | Finished]) -> tuple[str, UserError]:
    """What was said before an error, and the error."""
    said = ""
    try:
        for event in events:
            assert isinstance(event, Words), "an end that is none was told"
            said += event.text
    except UserError as error:
        return said, error
    pytest.fail("it ended without a word")


@pytest.mark.parametrize("chat", [True, False])
def test_all_words_come_and_nothing_is_made_up(chat: bool):
    for seed in range(CASES):
        draw = random.Random(seed)
        made = answer(draw, chat)
        *words, end = answer_events(chat, 200, cut(draw, stream(draw, made)))
        assert "".join(each.text for each in words) == made.text, seed
        assert (end.reason, set(end.left_out)) == (made.reason, made.left_out), seed
        assert (end.prompt_tokens, end.tokens) == (made.tokens or (None, None)), seed


@pytest.mark.parametrize("chat", [True, False])
def test_a_cut_is_said_to_be_one(chat: bool):
    for seed in range(CASES):
        draw = random.Random(seed)
        made = answer(draw, chat)
        made.chunks = [
            chunk for chunk in made.chunks if '"finish_reason": "' not in json.dumps(chunk)
        ]
        data = stream(draw, made, done=False)
        events = answer_events(chat, 200, cut(draw, data[: draw.randrange(len(data))]))
        said, error = until_error(events)
        assert made.text.startswith(said), seed
        assert ("middle" if said else "before its answer") in str(error), (seed, str(error))
        check_sentence(error)


@pytest.mark.parametrize("chat", [True, False])
def test_an_error_is_told_in_the_server_s_words(chat: bool):
    for seed in range(CASES):
        draw = random.Random(seed)
        made, words = answer(draw, chat), draw.choice(WORDS_OF_SERVERS)
        error: Any = {
            "message": words,
            "type": draw.choice(ODD),
            "code": draw.choice([*ODD, "503", 429]),
        }
        error = draw.choice([error, words, [error], {"error": error}, {"detail": [{"msg": words}]}])
        made.chunks = [
            chunk for chunk in made.chunks if '"finish_reason": "' not in json.dumps(chunk)
        ]
        made.chunks.insert(
            draw.randrange(len(made.chunks) + 1),
            draw.choice([{"error": error}, {"choices": [{"error": error}]},
                         {"error": error, "choices": draw.choice(ODD)}]),
        )  # fmt: skip
        if draw.random() < 0.5:
            said, found = until_error(answer_events(chat, 200, cut(draw, stream(draw, made))))
            assert made.text.startswith(said), seed
        else:
            status = draw.choice([400, 401, 403, 404, 422, 429, 500, 502, 503])
            body = draw.choice([{"error": error}, error, {"message": error}])
            body = f"<html><h1>{words}</h1></html>" if draw.random() < 0.2 else json.dumps(body)
            said, found = until_error(answer_events(chat, status, cut(draw, body.encode())))
            assert not said
        assert words in str(found), (seed, str(found))
        check_sentence(found, words)


def test_whatever_a_server_sends_is_an_answer_or_a_sentence():
    for seed in range(CASES):
        draw = random.Random(seed)
        made = answer(draw, chat=True)
        data = bytearray(stream(draw, made, done=draw.random() < 0.8))
        for _ in range(draw.randrange(1, 8)):
            at = draw.randrange(len(data))
            data[at : at + draw.randrange(4)] = draw.randbytes(draw.randrange(4))
        try:
            *words, end = answer_events(True, 200, cut(draw, bytes(data)))
            assert isinstance(end, Finished)
            assert all(isinstance(each.text, str) for each in words)
        except UserError as error:
            shown = error.message.values.get("shown", "")
            reason = error.message.values.get("reason", "")
            check_sentence(error, *filter(None, (shown, reason)))
