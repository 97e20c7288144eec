"""Nothing is silent for long: a stream says that it is still there, and how far it has read."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import pytest

from pipelines.chat.events import Reading, Words
from pipelines.core.errors import Unavailable
from pipelines.core.events import Progress, Result
from studio.api import sse
from studio.features.openai_api import bodies
from studio.features.openai_api.answering import Answering
from studio.features.openai_api.wire import ChatFormat, CompletionFormat
from tests.patience import PATIENCE

FACTS = {"finish_reason": "stop", "prompt_tokens": 9, "cached_tokens": 0, "completion_tokens": 1}
SCOPE = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}


class _Sent:
    """What has been sent; waits for a piece of it."""

    def __init__(self) -> None:
        self.status, self.text = None, ""
        self._changed = threading.Condition()

    async def __call__(self, message) -> None:
        with self._changed:
            self.status = message.get("status", self.status)
            self.text += message.get("body", b"").decode()
            self._changed.notify_all()

    def wait_for(self, text: str, times: int = 1) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.text.count(text) >= times, PATIENCE)


def answer(events, *, stream: bool = True, chat: bool = True) -> _Sent:
    """Answers by the engine ``events(sent)``."""
    sent = _Sent()

    class Events(Iterator):
        def __init__(self) -> None:
            self._events = events(sent)

        def __next__(self):
            return next(self._events)

        def close(self) -> None:
            self._events.close()

    async def nothing():
        await asyncio.Event().wait()

    if chat:
        form = ChatFormat(
            bodies.chat({"messages": [{"role": "user", "content": "a"}], "stream": stream})
        )
    else:
        form = CompletionFormat(bodies.completion({"prompt": "a", "stream": stream}))
    asyncio.run(
        Answering(form, lambda request, stop: Events(), lambda tokens: None)(SCOPE, nothing, sent)
    )
    return sent


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.02)


def test_a_stream_begins_while_the_model_loads():
    def engine(sent: _Sent):
        yield Progress(1, 2)
        sent.wait_for(": waiting\n\n", times=2)
        assert (sent.status, sent.text.count("data:")) == (200, 0)
        yield Words("Hi", 1)
        yield Result(FACTS)

    sent = answer(engine)
    comments, words = sent.text.split("data: ", 1)
    assert set(comments.split("\n\n")) == {": waiting", ""}
    assert json.loads(words.split("\n")[0])["choices"][0]["delta"]["role"] == "assistant"
    assert sent.text.endswith("data: [DONE]\n\n")


def test_a_comment_says_how_far_the_prompt_has_been_read():
    def engine(sent: _Sent):
        yield Reading(0, 900)
        sent.wait_for(": 0 of 900 tokens read\n\n", times=2)
        yield Reading(256, 900)
        sent.wait_for(": 256 of 900 tokens read\n\n", times=2)
        yield Words("Hi", 1)
        sent.wait_for(": 256 of 900 tokens read\n\n", times=3)
        yield Result(FACTS)

    answer(engine)


def test_progress_that_comes_often_does_not_keep_the_comments_back():
    def engine(sent: _Sent):
        done = 0
        while sent.text.count("tokens read") < 3:
            done += 1
            yield Reading(min(done, 9**9), 9**9)
        yield Result(FACTS)

    answer(engine, chat=False)


def test_what_goes_wrong_at_once_has_a_status_and_later_ends_the_stream(
    monkeypatch: pytest.MonkeyPatch,
):
    def engine(sent: _Sent):
        if sse.HEARTBEAT_SECONDS < 1:
            sent.wait_for(": waiting")
        raise Unavailable("The file {file} of {model} is not there.", file="x", model="M")
        yield

    late = answer(engine)
    assert late.status == 200
    assert json.loads(late.text.rsplit("data: ", 1)[1])["error"]["type"] == "server_error"
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", PATIENCE)
    assert answer(engine).status == 503


def test_a_whole_answer_has_no_comments():
    def engine(sent: _Sent):
        yield Reading(0, 9)
        threading.Event().wait(0.1)  # longer than a stream is quiet
        yield Words("Hi", 1)
        yield Result(FACTS)

    assert json.loads(answer(engine, stream=False).text)["choices"][0]["message"]["content"] == "Hi"
