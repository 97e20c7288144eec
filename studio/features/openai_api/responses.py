"""``/v1/responses``: the newer form of a chat, read as one, and remembered to be gone on from.

Source of the shapes: https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.chat.events import Words
from pipelines.core.errors import NotFound
from studio.api import sse
from studio.features.openai_api import bodies
from studio.features.openai_api.bodies import Asked
from studio.features.openai_api.errors import Invalid
from studio.features.openai_api.running import Answer
from studio.features.openai_api.tools import Call, CallReader
from studio.features.openai_api.wire import Format, usage

MOST, MOST_CHARACTERS = 500, 8_000_000  # of an owner's that are remembered
MOST_OWNERS = 1_000
_SAME = ("model", "temperature", "top_p", "stream", "seed", "parallel_tool_calls")
# Fields that would be ignored to the caller's harm, and their values that ask for nothing.
_UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "background": (False,),
    "conversation": ("",),
    "prompt": ({},),
    "reasoning": ({}, {"effort": "none"}),
    "truncation": ("disabled",),
}
_PARAMS = (
    ("messages", "input"),
    ("max_tokens", "max_output_tokens"),
    ("response_format", "text.format"),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A response that can be gone on from.

    Attributes:
        messages: of the conversation with its answer, without instructions.
        body: as it was answered.
    """

    messages: list[dict[str, Any]]
    body: dict[str, Any]

    @property
    def characters(self) -> int:
        return len(json.dumps(self.messages))


class ResponseMemory:
    """The newest responses of each owner, until the studio stops.

    Args:
        studio: whose owners.
    """

    def __init__(self, studio: Any) -> None:
        self._lock = threading.Lock()
        self._owners: OrderedDict[str, OrderedDict[str, Kept]] = OrderedDict()

    def keep(self, owner: str, kept: Kept) -> None:
        """Remembers a response; the oldest ones beyond the limits are forgotten."""
        with self._lock:
            mine = self._owners.setdefault(owner, OrderedDict())
            self._owners.move_to_end(owner)
            mine[kept.body["id"]] = kept
            total = sum(each.characters for each in mine.values())
            while len(mine) > MOST or (total > MOST_CHARACTERS and len(mine) > 1):
                total -= mine.popitem(last=False)[1].characters
            while len(self._owners) > MOST_OWNERS:
                self._owners.popitem(last=False)

    def get(self, owner: str, id: str) -> Kept:
        """A response of the owner's.

        Raises:
            NotFound: there is none, or it is forgotten.
        """
        with self._lock:
            kept = self._owners.get(owner, {}).get(id)
        if kept is None:
            raise NotFound(
                "There is no response {id} any more: the newest {count} are remembered until the "
                "studio stops. Send the conversation itself.",
                id=id[:80],
                count=MOST,
            )
        return kept

    def forget(self, owner: str, id: str) -> None:
        """Forgets a response; raises NotFound where there is none."""
        self.get(owner, id)
        with self._lock:
            self._owners.get(owner, OrderedDict()).pop(id, None)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A body as a chat.

    Attributes:
        asked: the chat's request.
        messages: of the conversation, without instructions.
        is_kept: it can be gone on from.
        sent: the body's fields.
    """

    asked: Asked
    messages: list[dict[str, Any]]
    is_kept: bool
    sent: dict[str, Any]


def read_body(body: Mapping[str, Any], before: Callable[[str], Kept]) -> Wanted:
    """What a body asks for.

    Args:
        before: gives the response of an id.

    Raises:
        Invalid: names the first field that cannot be used.
        NotFound: what it goes on from is not remembered.
    """
    given = bodies.drop_nulls(body)
    for name, neutral in _UNSUPPORTED.items():
        if name in given and given[name] not in neutral:
            raise Invalid("{field} cannot be followed here. Leave it out.", field=name, param=name)
    messages = list(before(str(given["previous_response_id"])).messages
                    if given.get("previous_response_id") else [])  # fmt: skip
    messages += _messages(given.get("input"))
    told = [{"role": "system", "content": given["instructions"]}] if given.get(
        "instructions") else []  # fmt: skip
    chat = {name: given[name] for name in _SAME if name in given}
    chat |= {"messages": [*told, *messages], "tools": _tools(given.get("tools"))}
    if "max_output_tokens" in given:
        chat["max_tokens"] = given["max_output_tokens"]
    choice = given.get("tool_choice")
    if isinstance(choice, dict) and "name" in choice:
        choice = {"type": "function", "function": {"name": choice["name"]}}
    chat["tool_choice"] = choice
    text = given.get("text")
    if isinstance(text, dict) and isinstance(form := text.get("format"), dict):
        chat["response_format"] = (
            {"type": "json_schema", "json_schema": form}
            if form.get("type") == "json_schema"
            else form
        )
    try:
        asked = bodies.chat(chat)
    except Invalid as error:
        param, values = _param(error.param), dict(error.message.values)
        if values.get("field") == error.param:
            values["field"] = param
        raise Invalid(error.message.template, param=param, code=error.code, **values) from None
    return Wanted(asked, messages, given.get("store", True) is not False, dict(given))


def _messages(given: Any) -> list[dict[str, Any]]:
    """The input as a chat's messages."""
    if isinstance(given, str) and given:
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise Invalid("{field} is missing.", field="input", param="input")
    found: list[dict[str, Any]] = []
    for number, item in enumerate(given):
        kind = item.get("type", "message") if isinstance(item, dict) else None
        if kind == "message":
            found.append({"role": item.get("role"), "content": item.get("content")})
        elif kind == "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            call = {"id": item.get("call_id"), "type": "function", "function": function}
            if found and found[-1]["role"] == "assistant" and "tool_calls" in found[-1]:
                found[-1]["tool_calls"].append(call)
            else:
                found.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif kind == "function_call_output":
            output = item.get("output")
            content = output if isinstance(output, str | list) else json.dumps(output)
            found.append({"role": "tool", "content": content})
        elif kind != "reasoning":  # a model's thoughts, which none here has had
            raise Invalid(
                "{field} is of the type {kind}; it must be message, function_call or "
                "function_call_output.",
                field=f"input[{number}]",
                kind=str(kind)[:40],
                param=f"input[{number}]",
            )
    return found


def _tools(given: Any) -> Any:
    """The tools as a chat has them: the function's fields lie one deeper there."""
    if not isinstance(given, list):
        return given
    return [
        {"type": each.get("type"), "function": {n: v for n, v in each.items() if n != "type"}}
        if isinstance(each, dict) and "function" not in each
        else each
        for each in given
    ]


def _param(name: str | None) -> str | None:
    for chats, ours in _PARAMS:
        if name is not None and name.startswith(chats):
            return ours + name[len(chats) :]
    return name and name.replace(".function.", ".")


class ResponseFormat(Format):
    """A response, whole or as events.

    Args:
        wanted: the request.
        keep: told the response that can be gone on from.
    """

    prompt = "input"

    def __init__(self, wanted: Wanted, keep: Callable[[Kept], None]) -> None:
        self.asked = wanted.asked
        self._wanted, self._keep = wanted, keep
        self._reader = CallReader(wanted.asked.toolbox)
        self._items: list[dict[str, Any]] = []
        self._number = -1
        sent = wanted.sent
        self._body: dict[str, Any] = {
            "id": f"resp_{secrets.token_hex(16)}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "instructions": sent.get("instructions"),
            "max_output_tokens": sent.get("max_output_tokens"),
            "model": wanted.asked.model,
            "output": [],
            "parallel_tool_calls": sent.get("parallel_tool_calls", True),
            "previous_response_id": sent.get("previous_response_id"),
            "store": wanted.is_kept,
            "temperature": sent.get("temperature"),
            "text": sent.get("text") or {"format": {"type": "text"}},
            "tool_choice": sent.get("tool_choice") or "auto",
            "tools": sent.get("tools") or [],
            "top_p": sent.get("top_p"),
            "truncation": "disabled",
            "usage": None,
            "metadata": sent.get("metadata") or {},
        }

    def first_chunk(self, index: int) -> str:
        return self._event("response.created", response=self._body) + self._event(
            "response.in_progress", response=self._body
        )

    def words(self, index: int, words: Words) -> str:
        if not words.text:
            return ""
        return "".join(map(self._tell, self._read(words.text)))

    def end_choice(self, index: int, facts: dict[str, Any]) -> str:
        rest = self._reader.end() if self.asked.toolbox.tools else []
        return "".join(map(self._tell, rest)) + self._end_text()

    def end_stream(self, facts: Iterable[dict[str, Any]]) -> str:
        body = self._finish([*facts])
        kind = "completed" if body["status"] == "completed" else "incomplete"
        return self._event(f"response.{kind}", response=body)

    def choice(self, index: int, answer: Answer) -> Any:
        raise NotImplementedError("a response has no choices")

    def whole(self, answers: Sequence[Answer]) -> str:
        (answer,) = answers
        found = self._read(answer.text)
        found += self._reader.end() if self.asked.toolbox.tools else []
        for each in found:
            self._tell(each)
        self._end_text()
        return json.dumps(self._finish([answer.facts]))

    # --- items --------------------------------------------------------------------------------

    def _read(self, text: str) -> list[str | Call]:
        return self._reader.read(text) if self.asked.toolbox.tools else [text]

    def _tell(self, found: str | Call) -> str:
        """The events of more words, or of a call."""
        if isinstance(found, str):
            return self._begin_text() + self._add_text(found)
        text = self._end_text()
        at = len(self._items)
        item = {
            "id": f"fc_{found.id}",
            "type": "function_call",
            "status": "in_progress",
            "call_id": found.id,
            "name": found.name,
            "arguments": "",
        }
        text += self._event("response.output_item.added", output_index=at, item=item)
        where = {"output_index": at, "item_id": item["id"]}
        text += self._event(
            "response.function_call_arguments.delta", **where, delta=found.arguments
        )
        text += self._event(
            "response.function_call_arguments.done",
            **where,
            name=found.name,
            arguments=found.arguments,
        )
        item = item | {"status": "completed", "arguments": found.arguments}
        self._items.append(item)
        return text + self._event("response.output_item.done", output_index=at, item=item)

    def _open(self) -> dict[str, Any] | None:
        """The message that is being written."""
        last = self._items[-1] if self._items else None
        return last if last is not None and last["status"] == "in_progress" else None

    def _begin_text(self) -> str:
        if self._open() is not None:
            return ""
        at, id = len(self._items), f"msg_{secrets.token_hex(12)}"
        part = {"type": "output_text", "text": "", "annotations": []}
        item = {"id": id, "type": "message", "role": "assistant", "status": "in_progress"}
        text = self._event(
            "response.output_item.added", output_index=at, item=item | {"content": []}
        )
        self._items.append(item | {"content": [part]})
        return text + self._event(
            "response.content_part.added", output_index=at, item_id=id, content_index=0, part=part
        )

    def _add_text(self, text: str) -> str:
        item = self._items[-1]
        item["content"][0]["text"] += text
        return self._event("response.output_text.delta", **self._place(item), delta=text,
                           logprobs=[])  # fmt: skip

    def _end_text(self) -> str:
        item = self._open()
        if item is None:
            return ""
        item["status"] = "completed"
        (part,) = item["content"]
        where = self._place(item)
        return (
            self._event("response.output_text.done", **where, text=part["text"], logprobs=[])
            + self._event("response.content_part.done", **where, part=part)
            + self._event("response.output_item.done", output_index=where["output_index"],
                          item=item)
        )  # fmt: skip

    def _place(self, item: dict[str, Any]) -> dict[str, Any]:
        return {"output_index": len(self._items) - 1, "item_id": item["id"], "content_index": 0}

    # --- the whole ----------------------------------------------------------------------------

    def _finish(self, facts: list[dict[str, Any]]) -> dict[str, Any]:
        taken = usage(facts, 1)
        was_cut = facts[0].get("finish_reason") == "length"
        body = self._body | {
            "status": "incomplete" if was_cut else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if was_cut else None,
            "output": self._items,
            "usage": None
            if taken is None
            else {
                "input_tokens": taken.prompt_tokens,
                "input_tokens_details": {
                    "cached_tokens": taken.prompt_tokens_details.cached_tokens
                },
                "output_tokens": taken.completion_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": taken.total_tokens,
            },
        }
        if self._wanted.is_kept:
            said = _messages(self._items) if self._items else []
            self._keep(Kept([*self._wanted.messages, *said], body))
        return body

    def _event(self, kind: str, **fields: Any) -> str:
        self._number += 1
        body = {"type": kind, "sequence_number": self._number, **fields}
        return sse.event(body, kind)
