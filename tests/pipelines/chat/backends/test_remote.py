"""Remote models, against a real second server process and against servers that misbehave."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import yaml

from pipelines.chat.catalog import ChatCatalog, find
from pipelines.chat.context import ContextExceeded
from pipelines.chat.engine import run
from pipelines.chat.events import Words
from pipelines.chat.requests import STARTER, ChatRequest, CompletionRequest
from pipelines.core.errors import Busy, Refused, Stopped, Unavailable
from pipelines.core.paths import ROOT
from tests.patience import PATIENCE, PROMPTLY
from tests.pipelines.chat.backends.providers import delta, provider, reply, stream_events
from tests.pipelines.chat.conftest import make_cache

KEY = "the-key"


def request_of(text: str = "Name three birds.", **fields) -> ChatRequest:
    return ChatRequest(messages=[{"role": "user", "content": text}], model="far", **fields)


def answer(request, cache, stop=None) -> tuple[str, dict]:
    events = list(run(request, cache, stop or threading.Event()))
    return "".join(e.text for e in events if isinstance(e, Words)), events[-1].data


@pytest.fixture(scope="module")
def server(chat_home: Path):
    """The address of llama.cpp's own server in a process of its own, with the starter in it."""
    entry = ChatCatalog(chat_home).get(STARTER)
    settings = {"path": str(find(entry, chat_home)), "context": 512, "parallel": 1}
    settings |= {
        "threads": 1,
        "batch_threads": 1,
        "batch": 256,
        "gpu_layers": 0,
        "prompt_cache_mib": 0,
    }
    settings |= {"host": "127.0.0.1", "key": KEY}
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.chat.backends.llama_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    process.stdin.write(json.dumps(settings).encode() + b"\n")
    process.stdin.flush()
    yield json.loads(process.stdout.readline())["address"] + "/v1"
    process.kill()
    process.communicate()


@pytest.fixture
def far(tmp_path: Path):
    """``far(url, …)``: a model cache whose home has the remote model ``far``."""

    def far(url: str, **fields):
        (tmp_path / "chat").mkdir(exist_ok=True)
        data = {"backend": "remote", "url": url, **fields}
        (tmp_path / "chat" / "far.yaml").write_text(yaml.safe_dump(data))
        return make_cache(tmp_path)

    return far


@pytest.fixture
def provider_at():
    """``provider_at(handle)``: the address of a server that answers by ``handle(handler)``."""
    with contextlib.ExitStack() as servers:
        yield lambda handle: servers.enter_context(provider(handle))


@pytest.mark.parametrize("temperature", [0, 1.3])
def test_remote_equals_local_with_the_same_seed(server, far, chat_cache, temperature):
    cache = far(server, api_key=KEY)
    fields = {"temperature": temperature, "top_p": 0.95, "top_k": 40, "min_p": 0.02, "seed": 11}
    fields |= {"repetition_penalty": 1.1, "max_new_tokens": 16}
    request = request_of(**fields)

    there, facts = answer(request, cache)
    here, own = answer(request.model_copy(update={"model": STARTER}), chat_cache)

    assert there == here != ""
    for name in ("prompt_tokens", "completion_tokens", "finish_reason", "seed"):
        assert facts[name] == own[name]


def test_a_plain_prompt_is_completed_there(server, far):
    request = CompletionRequest(
        prompt="Monday, Tuesday, Wednesday,", model="far", temperature=0, max_new_tokens=4
    )

    assert "Thursday" in answer(request, far(server, api_key=KEY))[0]


def test_odds_come_from_there(server, far):
    request = request_of(temperature=0, max_new_tokens=3, logprobs=2)
    words = [
        event
        for event in run(request, far(server, api_key=KEY), threading.Event())
        if isinstance(event, Words)
    ]

    odds = [each for event in words for each in event.odds]
    assert [len(each.top) for each in odds] == [2, 2, 2]


def test_a_wrong_key_is_the_owner_s_to_correct(server, far):
    with pytest.raises(Refused, match=r"does not take the key.*api_key"):
        answer(request_of(), far(server, api_key="wrong"))


def test_a_key_can_stand_in_the_environment(server, far, monkeypatch):
    monkeypatch.setenv("FAR_KEY", KEY)

    assert answer(request_of(max_new_tokens=2), far(server, api_key_env="FAR_KEY"))[0]


def test_a_prompt_too_long_for_there_is_said_as_such(server, far):
    with pytest.raises(ContextExceeded, match="refuses the prompt"):
        answer(request_of("word " * 800), far(server, api_key=KEY))


def test_a_server_that_is_down_is_named_with_the_reason(far):
    with pytest.raises(Unavailable, match=r"cannot be reached.*refused"):
        answer(request_of(), far("http://127.0.0.1:9/v1"))


def test_a_server_that_says_nothing_is_given_up(far, provider_at):
    over = threading.Event()
    url = provider_at(lambda handler: over.wait(PATIENCE))

    with pytest.raises(Unavailable, match="said nothing for 1 seconds"):
        answer(request_of(), far(url, timeout=1))
    over.set()


def test_a_stop_does_not_wait_for_a_slow_server(far, provider_at):
    url = provider_at(stream_events(delta("Hi"), then=2 * PROMPTLY))
    stop, start = threading.Event(), time.monotonic()
    threading.Timer(0.3, stop.set).start()

    with pytest.raises(Stopped):
        answer(request_of(), far(url), stop)

    assert time.monotonic() - start < PROMPTLY


def test_an_answer_that_breaks_off_is_no_answer(far, provider_at):
    with pytest.raises(Unavailable, match="broke off"):
        answer(request_of(), far(provider_at(stream_events(delta("Hi")))))


def test_an_error_in_the_middle_is_told_in_its_own_words(far, provider_at):
    url = provider_at(stream_events(delta("Hi"), {"error": {"message": "the card fell out"}}))

    with pytest.raises(Unavailable, match="the card fell out"):
        answer(request_of(), far(url))


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (429, {"error": {"message": "slow down"}}, Busy, "slow down"),
        (500, {"detail": "boom"}, Unavailable, "boom"),
        (404, {"error": {"message": "no such model", "code": 404}}, Unavailable, "no such model"),
        (200, {"not": "a stream"}, Unavailable, "broke off"),
    ],
)
def test_what_the_server_says_is_passed_on(far, provider_at, status, body, kind, words):
    with pytest.raises(kind, match=words):
        answer(request_of(), far(provider_at(reply(status, body))))


def test_what_is_no_json_is_an_error_of_the_server(far, provider_at):
    with pytest.raises(Unavailable):
        answer(request_of(), far(provider_at(stream_events("{half"))))


def test_strict_servers_are_sent_openai_s_own_fields_only(far, provider_at, monkeypatch):
    seen, url = [], provider_at(stream_events(delta("Hi", "stop"), "[DONE]"))
    original = httpx.Client.stream

    def stream(self, *args, **kwargs):
        seen.append(set(kwargs["json"]))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(httpx.Client, "stream", stream)
    answer(request_of(), far(url, extensions=False))
    answer(request_of(), far(url))

    own = {"model", "messages", "stream", "stream_options", "temperature", "top_p", "seed"}
    assert seen[0] == own
    assert {"top_k", "min_p", "repetition_penalty"} <= seen[1]
