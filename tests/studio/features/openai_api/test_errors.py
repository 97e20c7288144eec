"""What cannot be answered: OpenAI's envelope, true statuses, and the client's own exceptions."""

from __future__ import annotations

import http.server
import json
import threading
import time

import httpx
import openai
import pytest

from tests.patience import PROMPTLY
from tests.studio.features.openai_api.conftest import HELLO, MODEL

CHAT = "/v1/chat/completions"


def refusal(client: openai.OpenAI, kind: type[openai.APIStatusError], **changes):
    """The exception that the client makes of the answer."""
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**{"model": MODEL, "messages": HELLO, **changes})
    error = caught.value
    assert set(error.body) == {"message", "type", "param", "code"}
    assert error.body["message"].strip()
    assert "Traceback" not in error.body["message"]
    return error


def envelope(answer: httpx.Response) -> dict:
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return body["error"]


def message(role: str, text: str = "a duck") -> dict:
    return {"role": role, "content": text}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"temperature": -1}, "temperature", "temperature is -1; it must be at least 0"),
        ({"temperature": 2.1}, "temperature", "at most 2"),
        ({"temperature": "hot"}, "temperature", "temperature cannot be hot"),
        ({"max_tokens": 0}, "max_tokens", "max_tokens is 0; it must be at least 1"),
        ({"max_tokens": 10**9}, "max_tokens", "at most 131072"),
        ({"max_completion_tokens": 0}, "max_completion_tokens", "max_completion_tokens is 0"),
        ({"stop": [str(n) for n in range(100)]}, "stop", "stop has 100 entries; at most 16"),
        ({"stop": [""]}, "stop", "0 characters"),
        ({"stop": 5}, "stop", "stop cannot be 5"),
        ({"n": 0}, "n", "at least 1"),
        ({"n": 9}, "n", "at most 8"),
        ({"seed": -2}, "seed", "at least -1"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "at most 20"),
        ({"top_logprobs": 2}, "top_logprobs", "logprobs"),
        ({"extra_body": {"top_k": -2}}, "top_k", "at least 0"),
        ({"extra_body": {"min_p": 2}}, "min_p", "at most 1"),
        ({"extra_body": {"repetition_penalty": 9}}, "repetition_penalty", "at most 2"),
        ({"extra_body": {"continue_final_message": True}}, "messages", "assistant's"),
        ({"response_format": {"type": "xml"}}, "response_format", "json_object"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}},
            "response_format.json_schema.schema",
            "no JSON schema",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"not": {}}}}},
            "response_format",
            "no grammar",
        ),
        ({"tool_choice": "required"}, "tool_choice", "tools"),
        ({"messages": []}, "messages", "There are no messages"),
        ({"messages": {}}, "messages", "There are no messages"),
        ({"messages": ["hello"]}, "messages[0].role", "role"),
        ({"messages": [message("bishop")]}, "messages[0].role", "bishop"),
        (
            {"messages": [message("user"), {"role": "assistant", "tool_calls": [{}]}]},
            "messages[1].tool_calls[0]",
            "without a name",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "n" * 1000}}]},
            "tools[0].function.name",
            "1 to 64",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": 5}}]},
            "tools[0].function.parameters",
            "must be an object",
        ),
        ({"tools": [{"type": "function", "function": {"name": "f"}}] * 2}, "tools[1]", "two tools"),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}] * 200},
            "tools",
            "at most 128",
        ),
        ({"tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice", "among"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "no text"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "no text"),
        (
            {"messages": [message("user", [{"type": "image_url", "image_url": {"url": "x"}}])]},
            "messages[0].content[0]",
            "image_url",
        ),
    ],
)
def test_bad_value_is_refused_by_its_name(client, changes, param, words, stream):
    error = refusal(client, openai.BadRequestError, stream=stream, **changes)
    assert (error.status_code, error.type) == (400, "invalid_request_error")
    assert error.param == param
    assert words in error.body["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"messages": [{"role"',
        b'{"messages": [{"role": "user", "content": "\xff\xfe"}]}',
        b"[]",
        b'"text"',
        b"[" * 100_000,
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "\\udfff", "messages": [{"role": "user", "content": "a"}]}',
        b'{"temperature": NaN, "messages": [{"role": "user", "content": "a"}]}',
        b'{"temperature": Infinity, "messages": [{"role": "user", "content": "a"}]}',
        b'{"max_tokens": 1' + b"0" * 5000 + b', "messages": [{"role": "user", "content": "a"}]}',
        b'{"stream": "perhaps", "messages": [{"role": "user", "content": "a"}]}',
        b'{"stream_options": 5, "messages": [{"role": "user", "content": "a"}]}',
        b'{"model": 5, "messages": [{"role": "user", "content": "a"}]}',
    ],
)
def test_what_is_no_request_is_refused_in_the_envelope(raw: httpx.Client, body: bytes):
    answer = raw.post(CHAT, content=body)
    assert answer.status_code == 400
    assert envelope(answer)["type"] == "invalid_request_error"


def test_a_body_beyond_the_limit_is_refused(raw: httpx.Client):
    body = json.dumps({"messages": HELLO, "padding": "x" * 4_000_000}).encode()

    def without_a_length():
        yield body

    for content in (body, without_a_length()):
        answer = raw.post(CHAT, content=content)
        assert answer.status_code == 413
        assert envelope(answer)["code"] == "request_too_large"


def test_a_model_that_is_not_there_is_not_found(client):
    for stream in (False, True):
        error = refusal(client, openai.NotFoundError, model="smollm2-135n", stream=stream)
        assert (error.code, error.param) == ("model_not_found", "model")
        assert MODEL in error.body["message"], "close names are offered"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-9")
    assert caught.value.code == "model_not_found"
    refusal(client, openai.NotFoundError, model="own-chat:x")
    refusal(client, openai.NotFoundError, model="../../etc/passwd")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("text", ["duck " * 200_000, "duck " * 75_000, "a" * 390_000])
def test_a_prompt_beyond_the_context_is_refused_at_once(client, text: str, stream: bool):
    start = time.monotonic()
    error = refusal(
        client,
        openai.BadRequestError,
        messages=[message("user", text)],
        stream=stream,
    )
    assert time.monotonic() - start < PROMPTLY
    assert error.code == "context_length_exceeded"
    assert error.param.startswith("messages")


def test_a_completion_s_prompt_beyond_the_context_is_refused(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=MODEL, prompt="duck " * 10_000)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a"] * 9}, "prompt"),
        ({"prompt": ["a"] * 3, "n": 3}, "n"),
        ({"prompt": None}, "prompt"),
        ({"suffix": "the end"}, "suffix"),
        ({"logprobs": 21}, "logprobs"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"prompt": [1, 2, 10**6]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"logit_bias": {"1000000": 1}}, "logit_bias"),
    ],
)
def test_bad_value_of_a_completion_is_refused_by_its_name(client, changes, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(**{"model": MODEL, "prompt": "a", **changes})
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", CHAT, 405), ("POST", "/v1/models", 405), ("GET", "/v1/nothing", 404),
     ("DELETE", "/v1/files/x", 404), ("POST", "/v1/audio/speech", 404),
     ("PUT", "/v1/responses", 405)],
)  # fmt: skip
def test_other_paths_and_methods_are_refused_in_the_envelope(raw, method, path, status):
    answer = raw.request(method, path)
    assert answer.status_code == status
    envelope(answer)


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_does_not_load_is_an_error_with_the_cause(client, stream: bool):
    error = refusal(client, openai.InternalServerError, model="broken", stream=stream)
    assert (error.status_code, error.type) == (503, "server_error")
    assert "llama.cpp cannot load Broken:" in error.body["message"]
    assert len(error.body["message"]) > len("llama.cpp cannot load Broken: .")


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_is_down_is_an_error_with_the_cause(client, stream: bool):
    error = refusal(client, openai.InternalServerError, model="down", stream=stream)
    assert error.status_code == 503
    assert "refused" in error.body["message"]


def test_sentences_are_in_the_client_s_language(client):
    error = refusal(
        client,
        openai.BadRequestError,
        max_tokens=0,
        extra_headers={"Accept-Language": "zh-CN"},
    )
    assert "max_tokens" in error.body["message"]
    assert "至少" in error.body["message"]


class _BreaksOff(http.server.BaseHTTPRequestHandler):
    """A server of OpenAI's protocol that dies after two words."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for word in ("One", " two"):
            chunk = {"choices": [{"index": 0, "delta": {"content": word}}]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())

    def log_message(self, *_):
        pass


def test_an_error_in_the_middle_ends_the_stream_with_its_cause(client, studio):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _BreaksOff)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    file = studio.home / "chat" / "breaks.yaml"
    file.write_text(f"title: B\nbackend: remote\nurl: http://127.0.0.1:{server.server_port}/v1\n")
    try:
        chunks = client.chat.completions.create(model="breaks", messages=HELLO, stream=True)
        said = [next(chunks).choices[0].delta.content for _ in range(3)]
        assert said == ["", "One", " two"]
        with pytest.raises(openai.APIError) as caught:
            next(chunks)
        assert "broke off" in caught.value.message
        assert caught.value.type == "server_error"
        whole = refusal(client, openai.InternalServerError, model="breaks")
        assert "broke off" in whole.body["message"]
    finally:
        file.unlink()
        server.shutdown()
        server.server_close()
