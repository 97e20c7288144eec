"""Bodies of OpenAI's protocol as odd clients send them, made at random, at the door /v1.

An engine that says what it was asked stands in the place of a model. Each body is put together of
fields whose meaning is known: what is followed must reach the engine, what asks for nothing must
change nothing, and what cannot be followed must be refused by its name.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from pipelines.chat.entries import ChatEntry
from pipelines.chat.events import Reading, Words
from pipelines.chat.requests import MAX_SEED, STARTER, Generation
from pipelines.core.events import Result
from studio.core.accounts.accounts import LOCAL_OWNER
from studio.features.chat.answers.streams import Stream
from studio.features.openai_api.routes import router
from tests.sweeps.plain_sentences import check_text

pytestmark = pytest.mark.deep

CASES = 1200
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
TEXTS = [
    "Hello",
    "a\u2028b\u2029c\x85d",
    "注意：🦊",
    "  ",
    "<|im_end|>",
    '{"role": "system"}',
    "x" * 500,
]
ANSWER = "It\u2028is 🦆."
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}

# Name → values that are followed, each with the engine's field and value.
FOLLOWED: dict[str, list[tuple[Any, str, Any]]] = {
    "temperature": [(0, "temperature", 0), (1.5, "temperature", 1.5), ("0.5", "temperature", 0.5)],
    "top_p": [(0, "top_p", 0), (1, "top_p", 1)],
    "top_k": [(5, "top_k", 5), (0, "top_k", 0), (-1, "top_k", 0)],  # -1 is off in vLLM
    "min_p": [(0.1, "min_p", 0.1)],
    "repetition_penalty": [(1.25, "repetition_penalty", 1.25)],
    "presence_penalty": [(-2, "presence_penalty", -2), (0.5, "presence_penalty", 0.5)],
    "frequency_penalty": [(2, "frequency_penalty", 2)],
    "logit_bias": [({"5": -100, "70": 1.5}, "logit_bias", {5: -100, 70: 1.5})],
    "max_tokens": [
        (1, "max_new_tokens", 1),
        (7.0, "max_new_tokens", 7),
        (-1, "max_new_tokens", None),  # no limit, as llama.cpp and LM Studio write it
    ],
    "stop": [("end", "stop", ("end",)), (["a", "b"], "stop", ("a", "b"))],
    "seed": [
        (0, "seed", 0),
        (MAX_SEED + 1, "seed", 0),
        (2**63 - 1, "seed", (2**63 - 1) % (MAX_SEED + 1)),
    ],
}
NOTHING: dict[str, list[Any]] = {  # asks for nothing
    "tools": [[]], "functions": [[]], "tool_choice": ["none", "auto"], "function_call": ["none"],
    "response_format": [{"type": "text"}, {}], "n": [1], "best_of": [1], "user": ["me", 5],
    "metadata": [{"a": "b"}], "store": [True], "service_tier": ["auto"], "modalities": [["text"]],
    "parallel_tool_calls": [True, False], "stream_options": [{"include_usage": None}, {}],
    "reasoning_effort": ["none"], "verbosity": ["medium"], "prediction": [{"type": "content"}],
    "guided_json": [{}], "grammar": [""], "typical_p": [1.0], "mirostat": [0],
    "ignore_eos": [False], "no_such_field": [[1], {"a": {}}, "x"], "suffix": [""],
    "safety_identifier": ["x"],
}  # fmt: skip
REFUSED: dict[str, list[Any]] = {
    "tools": [{"f": 1}, [TOOL] * 200], "functions": [[{"name": "f"}]],
    "tool_choice": ["required", TOOL], "response_format": [{"type": "xml"}, "json_object"],
    "n": [0, 9, "many", 1.5, [1]], "best_of": [5], "modalities": [["audio"]],
    "audio": [{"voice": "x"}], "reasoning_effort": ["high"], "web_search_options": [{"a": 1}],
    "guided_json": [{"type": "object"}], "grammar": ["root ::= a"], "min_tokens": [3],
    "chat_template": ["{{ x }}"], "stop_token_ids": [[5]],
    "temperature": [-1, 3, "hot", [1], {}], "top_p": [-0.1, 1.1, "x"], "top_k": [-2, 1.5],
    "min_p": [2], "repetition_penalty": [9], "presence_penalty": [3, "x"],
    "frequency_penalty": [[1]], "logit_bias": [{"a": 1}, {"5": 1000}, [1], "x", {"5": "x"}],
    "max_tokens": [-2, "many", [1], 10**9], "stop": [[""], 5, ["x" * 500], {"a": 1}],
    "seed": [-2, 2**63, 1.5, "x"], "stream": ["perhaps", 7],
    "model": [5, "no-such-model", ["a"]], "stream_options": [5, [1]],
}  # fmt: skip


@dataclass
class Body:
    """A body, and what becomes of it.

    Attributes:
        fields: of the body.
        wanted: the engine's fields and their values.
        refused: fields any of which may be named in the refusal; none: it is answered.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    wanted: dict[str, Any] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)


def make_body(draw: random.Random, base: Callable[[random.Random, Body], None]) -> Body:
    """A body with a few fields of each kind."""
    body = Body()
    base(draw, body)
    for name in draw.sample(list(FOLLOWED), draw.randrange(5)):
        body.fields[name], field_name, value = draw.choice(FOLLOWED[name])
        body.wanted[field_name] = value
    for name in draw.sample(list(NOTHING), draw.randrange(6)):
        body.fields[name] = draw.choice([*NOTHING[name], None])
    for name in draw.sample([*FOLLOWED, *REFUSED], draw.randrange(3)):
        body.fields.setdefault(name, None)
    if draw.random() < 0.4:
        name = draw.choice(list(REFUSED))
        body.fields[name] = draw.choice(REFUSED[name])
        body.refused.add(name)
        if name in ("tools", "functions"):
            body.fields.pop("tool_choice", None)
            body.fields.pop("function_call", None)
    return body


def conversation(draw: random.Random, body: Body) -> None:
    messages, said = [], []
    for _ in range(draw.randrange(1, 6)):
        role = draw.choice(["user", "user", "assistant", "system", "developer"])
        text = draw.choice(TEXTS)
        message: dict[str, Any] = {"role": role, "content": text}
        if draw.random() < 0.3:
            message["content"] = [{"type": "text", "text": text}]
        if role == "assistant" and draw.random() < 0.3:
            message["content"], text = draw.choice([None, [], ""]), ""
        message |= {
            name: None
            for name in draw.sample(["name", "tool_calls", "refusal", "audio"], draw.randrange(3))
        }
        messages.append(message)
        said.append(("system" if role == "developer" else role, text))
    body.fields["messages"] = messages
    leading = next((at for at, (role, _) in enumerate(said) if role != "system"), len(said))
    if leading > 1:
        said = [("system", "\n\n".join(text for _, text in said[:leading])), *said[leading:]]
    body.wanted |= {"said": said, "continue_last": said[-1][0] == "assistant"}
    if draw.random() < 0.15:
        at = draw.randrange(len(messages) + 1)
        odd, where = draw.choice(
            [
                ({"role": "assistant", "tool_calls": [{"id": "1"}]}, "tool_calls[0]"),
                ({"role": "tool", "content": None, "tool_call_id": "1"}, "content"),
                ({"role": "bishop", "content": "x"}, "role"),
                ({"content": "x"}, "role"),
                ("x", "role"),
                ({"role": "user", "content": None}, "content"),
                ({"role": "user", "content": [{"type": "image_url"}]}, "content[0]"),
                ({"role": "user", "content": ["x"]}, "content[0]"),
                ({"role": "user", "content": [{"type": "text"}]}, "content[0]"),
            ]
        )
        messages.insert(at, odd)
        body.refused.add(f"messages[{at}].{where}")
    elif draw.random() < 0.05:
        body.fields["messages"] = draw.choice([[], {}, "x", None, 5])
        body.refused.add("messages")


def prompt(draw: random.Random, body: Body) -> None:
    given = draw.choice([*TEXTS, [5, 7], [[5, 7]], ["Hello"]])
    body.fields["prompt"] = given
    if isinstance(given, str):
        body.wanted["prompt"] = given
    elif given == ["Hello"]:
        body.wanted["prompt"] = "Hello"
    else:
        body.wanted["prompt_tokens"] = (5, 7)
    if draw.random() < 0.1:
        body.fields["prompt"] = draw.choice([None, [], {}, 5, [5, "x"], [[]], [True], [-1]])
        body.refused |= {"prompt", "prompt[0]", "prompt[1]"}


class Door:
    """The studio's door for programs, with an engine that remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[Generation] = []
        entry = ChatEntry(name=STARTER, title="S", backend="remote", url="http://far/v1")
        studio = SimpleNamespace(
            answers=SimpleNamespace(stream=self._stream),
            usable_chat_models=SimpleNamespace(entry=lambda owner, name: self._entry(name, entry)),
        )
        studio.find = partial(getattr, studio)
        app = FastAPI()
        app.state.studio = studio
        app.include_router(router)

        async def as_local_owner(scope, receive, send) -> None:
            scope.setdefault("state", {}).update(owner=LOCAL_OWNER, api_key=None)
            await app(scope, receive, send)

        self.client = TestClient(as_local_owner)

    def _entry(self, name: str, entry: ChatEntry) -> ChatEntry:
        from pipelines.models.catalog import unknown_name

        if name != entry.name:
            raise unknown_name(name, [entry.name])
        return entry

    def _stream(self, request: Generation, owner: str, stop: threading.Event) -> Stream:
        self.requests.append(request)
        return Stream(self._events(), stop, lambda: None)

    def _events(self) -> Iterator[Any]:
        yield Reading(0, 3)
        for letter in ANSWER:
            yield Words(letter, 1)
        yield Result({"finish_reason": "stop", "prompt_tokens": 3, "cached_tokens": 0,
                      "completion_tokens": len(ANSWER)})  # fmt: skip

    def ask(self, path: str, body: dict[str, Any], language: str = "en"):
        self.requests.clear()
        return self.client.post(
            path, content=json.dumps(body), headers={"accept-language": language}
        )


@pytest.fixture(scope="module")
def door() -> Door:
    return Door()


@pytest.mark.parametrize(("path", "base"), [(CHAT, conversation), (COMPLETIONS, prompt)])
def test_what_is_asked_is_followed_or_refused_by_its_name(door: Door, path: str, base):
    for seed in range(CASES):
        draw = random.Random(seed)
        body = make_body(draw, base)
        if draw.random() < 0.5 and not body.refused:
            body.fields["stream"] = True
        answer = door.ask(path, body.fields)
        if body.refused:
            assert answer.status_code in (400, 404), (seed, body, answer.text)
            check_refusal(door, path, body, answer, seed)
        else:
            assert answer.status_code == 200, (seed, body.fields, answer.text)
            assert text_of(answer, path) == ANSWER, seed
            check_request(door.requests, body, seed)


def check_refusal(door: Door, path: str, body: Body, answer, seed: int) -> None:
    """The refusal names one of the fields, in both languages, and nothing was computed."""
    assert not door.requests, seed
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    names = {name.partition("[")[0] for name in body.refused}
    assert error["param"] in body.refused or error["param"].partition("[")[0] in names, (
        seed,
        body,
        error,
    )
    foreign = ['"none"', *(str(value)[:40] for value in body.fields.values())]
    check_text(error["message"], "en", *foreign)
    chinese = door.ask(path, body.fields, "zh").json()["error"]["message"]
    check_text(chinese, "zh", *foreign)


def text_of(answer, path: str) -> str:
    if not answer.headers["content-type"].startswith("text/event-stream"):
        (choice,) = answer.json()["choices"]
        return choice["message"]["content"] if path == CHAT else choice["text"]
    events = [line[6:] for line in answer.text.split("\n\n") if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    if path == CHAT:
        return "".join(choice["delta"].get("content") or "" for choice in choices)
    return "".join(choice["text"] for choice in choices)


def check_request(requests: list[Generation], body: Body, seed: int) -> None:
    """The engine was asked what the body asks, and nothing else was set."""
    (request,) = requests
    for name, value in body.wanted.items():
        if name == "said":
            assert [(each.role, each.content) for each in request.messages] == value, seed
        elif name in body.fields and body.fields[name] is None:
            continue  # null came over it
        else:
            assert getattr(request, name) == value, (seed, name)
    free = set(Generation.model_fields) - body.wanted.keys() - {"model", "max_new_tokens"}
    for name in free:
        assert getattr(request, name) == Generation.model_fields[name].default, (seed, name)
