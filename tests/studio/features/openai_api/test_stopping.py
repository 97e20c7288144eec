"""A client that hangs up stops what it has asked for."""

from __future__ import annotations

import contextlib
import time

import httpx
import openai
import psutil
import pytest

from studio.core.services import Options
from tests.patience import PATIENCE, PROMPTLY, wait_until
from tests.studio.features.chat.answering import count_unfinished
from tests.studio.features.openai_api.conftest import HELLO, MODEL
from tests.studio.live import build_api, live_studio, waiting_client

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
# It counts on for as long as it is let: minutes on two cores.
ENDLESS = {"model": MODEL, "prompt": "1, 2, 3, 4,", "temperature": 0, "max_tokens": 4000,
           "repetition_penalty": 1}  # fmt: skip


def llama_workers() -> list[psutil.Process]:
    """llama.cpp's processes: this studio's, and those that tests before it may have left open."""
    found = []
    for each in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is one, too
            if "pipelines.chat.backends.llama_worker" in each.cmdline():
                found.append(each)
    return found


def busy_share(over: float = 0.3) -> float:
    """How many of the processors llama.cpp takes, looked at for so many seconds."""

    def cpu_seconds() -> dict[psutil.Process, float]:
        times = {}
        for process in workers:
            with contextlib.suppress(psutil.NoSuchProcess):  # of a test before, it ends just now
                times[process] = sum(process.cpu_times()[:2])
        return times

    workers = llama_workers()
    assert workers
    before = cpu_seconds()
    time.sleep(over)
    return sum(seconds - before[process] for process, seconds in cpu_seconds().items()) / over


@pytest.fixture(autouse=True)
def nothing_else_runs(client, studio):
    client.completions.create(model=MODEL, prompt="a", max_tokens=1)  # the model is loaded
    wait_until(lambda: count_unfinished(studio.answers) == 0)


def is_stopped(studio) -> bool:
    """No answer is under way any more, and llama.cpp rests, before it could have counted on."""
    start = time.monotonic()
    wait_until(lambda: count_unfinished(studio.answers) == 0)
    wait_until(lambda: busy_share() < 0.2)
    return time.monotonic() - start < PROMPTLY


@pytest.mark.parametrize("n", [1, 3])
def test_hanging_up_on_a_stream_stops_it(raw: httpx.Client, studio, n: int):
    with raw.stream("POST", COMPLETIONS, json={**ENDLESS, "n": n, "stream": True}) as answer:
        seen = answer.iter_lines()
        assert next(seen).startswith("data: ")
        assert count_unfinished(studio.answers, "local") == n
        wait_until(lambda: busy_share(0.1) > 0)
    assert is_stopped(studio)


def test_closing_the_official_client_s_stream_stops_it(client: openai.OpenAI, studio):
    extra = {"repetition_penalty": 1}
    body = {name: value for name, value in ENDLESS.items() if name not in extra}
    stream = client.completions.create(**body, stream=True, extra_body=extra)
    next(iter(stream))
    stream.close()
    assert is_stopped(studio)


def test_hanging_up_on_a_whole_answer_stops_it(raw: httpx.Client, studio):
    with waiting_client(raw, COMPLETIONS, ENDLESS):
        wait_until(lambda: count_unfinished(studio.answers) == 1)
        wait_until(lambda: busy_share(0.1) > 0)
    assert is_stopped(studio)


def test_hanging_up_while_the_prompt_is_read_stops_it(raw: httpx.Client, studio):
    prompt = " ".join(str(number * 7919) for number in range(500))  # about 3,500 tokens
    with waiting_client(raw, COMPLETIONS, {**ENDLESS, "prompt": prompt}):
        wait_until(lambda: count_unfinished(studio.answers) == 1)
        wait_until(lambda: busy_share(0.1) > 0)
    assert is_stopped(studio)


def test_more_answers_at_a_time_than_an_owner_may_have_are_refused(
    raw, client, studio, monkeypatch
):
    """All of a request's answers are given, or none: it does not begin with those that fit."""
    monkeypatch.setattr("studio.features.chat.answers.slots.MAX_OF_OWNER", 8)
    with raw.stream("POST", COMPLETIONS, json={**ENDLESS, "n": 6, "stream": True}) as answer:
        lines = answer.iter_lines()  # kept: httpx hangs up when this is forgotten
        next(lines)
        for stream in (False, True):
            with pytest.raises(openai.RateLimitError) as caught:
                client.chat.completions.create(
                    model=MODEL, messages=HELLO, max_tokens=1, n=3, stream=stream
                )
            assert caught.value.code == "rate_limit_exceeded"
            assert int(caught.value.response.headers["retry-after"]) >= 1
        assert count_unfinished(studio.answers) == 6
        # The client waits as long as it is told, and asks again.
        patient = client.with_options(max_retries=int(PATIENCE))
        answer.close()
        assert patient.chat.completions.create(
            model=MODEL, messages=HELLO, max_tokens=1, n=3
        ).choices
    assert is_stopped(studio)


def test_closing_the_studio_ends_a_stream_and_is_not_held_up_by_it(tmp_path):
    with live_studio(Options(tmp_path, device="cpu", offline=True), build_api) as (_, address):
        client = httpx.Client(base_url=address, timeout=PATIENCE)
        answer = client.send(
            client.build_request("POST", COMPLETIONS, json={**ENDLESS, "stream": True}),
            stream=True,
        )
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        start = time.monotonic()
    assert time.monotonic() - start < PROMPTLY
    with contextlib.suppress(httpx.RemoteProtocolError):
        assert "[DONE]" not in "".join(lines)
    client.close()
