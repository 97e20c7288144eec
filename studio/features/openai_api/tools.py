"""Tools: what a model is told of them, and the calls in what it says.

Models are told and answer as those of Qwen and Hermes were trained to (their chat templates): tools
in ``<tools>`` within the system prompt, calls in ``<tool_call>``, results in ``<tool_response>`` of
the user's. A call that is forced is held to by a JSON schema, so that any model makes it.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.chat.json_schemas import OBJECT
from studio.features.openai_api.errors import Invalid
from studio.features.openai_api.structured import check_schema_at

MOST_TOOLS = 128
_NAME = re.compile(r"[\w-]{1,64}", re.ASCII)
OPENING, CLOSING = "<tool_call>", "</tool_call>"
_TOLD = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call.

    Attributes:
        parameters: the JSON schema of its arguments.
    """

    name: str
    description: str
    parameters: dict[str, Any]

    def as_json(self) -> str:
        """What a model is told of it."""
        facts = {"name": self.name, "description": self.description, "parameters": self.parameters}
        told = {name: value for name, value in facts.items() if value}
        return json.dumps({"type": "function", "function": told}, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools of a request.

    Attributes:
        tools: those that may be called.
        forced: a call must be made, of one of these.
    """

    tools: tuple[Tool, ...] = ()
    forced: tuple[Tool, ...] = ()

    def describe(self) -> str:
        """What the system prompt says of them."""
        return _TOLD.format(tools="\n".join(tool.as_json() for tool in self.tools))

    def schema(self) -> dict[str, Any] | None:
        """That of a call that must be made; None where none must."""
        calls = [
            {
                "type": "object",
                "properties": {"name": {"const": tool.name}, "arguments": tool.parameters},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for tool in self.forced
        ]
        if not calls:
            return None
        return calls[0] if len(calls) == 1 else {"anyOf": calls}

    def has(self, name: Any) -> bool:
        """Whether there is a tool of this name."""
        return any(tool.name == name for tool in self.tools)


NO_TOOLS = Toolbox()


def read_tools(given: Mapping[str, Any]) -> Toolbox:
    """The tools of a body; none where ``tool_choice`` is ``none``.

    Raises:
        Invalid: names the field that cannot be used.
    """
    for old, new in (("functions", "tools"), ("function_call", "tool_choice")):
        if given.get(old) not in (None, [], "", "none", "auto"):
            raise Invalid(
                "{field} is not known here. Send it as {name}.", field=old, name=new, param=old
            )
    listed, choice = given.get("tools") or [], given.get("tool_choice") or "auto"
    if choice == "none":
        return NO_TOOLS
    if not isinstance(listed, list) or len(listed) > MOST_TOOLS:
        raise Invalid(
            "{field} must be a list of at most {limit} tools.",
            field="tools",
            limit=MOST_TOOLS,
            param="tools",
        )
    tools = tuple(_tool(each, f"tools[{number}]") for number, each in enumerate(listed))
    names = [tool.name for tool in tools]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise Invalid("There are two tools called {name}.", name=name, param=f"tools[{number}]")
    return Toolbox(tools, _choose(choice, tools))


def _tool(given: Any, place: str) -> Tool:
    function = given.get("function") if isinstance(given, dict) else None
    if not isinstance(function, dict) or given.get("type", "function") != "function":
        raise Invalid(
            "{field} must be an object of the type function, with a function in it.",
            field=place,
            param=place,
        )
    name, description = function.get("name"), function.get("description") or ""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Invalid(
            "{field} is {value}; it must have 1 to 64 letters, digits, _ or -.",
            field=f"{place}.function.name",
            value=str(name)[:70],
            param=f"{place}.function.name",
        )
    if not isinstance(description, str):
        raise Invalid("{field} must be a text.", field=f"{place}.function.description",
                      param=f"{place}.function.description")  # fmt: skip
    parameters = function.get("parameters") or OBJECT
    return Tool(name, description, check_schema_at(parameters, f"{place}.function.parameters"))


def _choose(choice: Any, tools: Sequence[Tool]) -> tuple[Tool, ...]:
    if choice == "auto":
        return ()
    if choice == "required":
        if not tools:
            raise Invalid("There are no tools here that could be chosen.", param="tool_choice")
        return tuple(tools)
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    found = tuple(tool for tool in tools if tool.name == name)
    if not found:
        raise Invalid(
            "{field} is {value}; it must be auto, required, or a function that is among the tools.",
            field="tool_choice",
            value=next((each[:80] for each in (name, choice) if isinstance(each, str)), "?"),
            param="tool_choice",
        )
    return found


# --- histories ----------------------------------------------------------------------------------


def call_text(calls: Any, number: int, where: str) -> str:
    """The calls of an assistant's message as it had said them.

    Raises:
        Invalid: one has no function's name, or arguments that are no JSON.
    """
    texts = []
    for at, call in enumerate(calls if isinstance(calls, list) else [calls]):
        function = call.get("function") if isinstance(call, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        place = f"{where}.tool_calls[{at}]"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise Invalid(
                "Message {number} calls a tool without a name.", number=number, param=place
            )
        given = function.get("arguments") or "{}"
        try:
            arguments = json.loads(given) if isinstance(given, str) else given
        except ValueError:
            arguments = given  # what a model has said that was cut off
        call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
        texts.append(f"{OPENING}\n{call}\n{CLOSING}")
    return "\n".join(texts)


def result_text(content: str) -> str:
    """What a tool has said, as a part of the user's message."""
    return f"<tool_response>\n{content}\n</tool_response>"


# --- answers ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool.

    Attributes:
        arguments: JSON.
    """

    name: str
    arguments: str
    id: str = field(default_factory=lambda: f"call_{secrets.token_urlsafe(12)}")


class CallReader:
    """Tells words from calls in what a model says, piece by piece.

    Args:
        toolbox: the tools that can be called; what names another is words.
    """

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox
        self._held = ""  # what may yet turn out to be a call
        self._said = False

    def read(self, text: str) -> list[str | Call]:
        """What is known of the answer by its next piece."""
        self._held += text
        found: list[str | Call] = []
        while True:
            if self._is_bare() or not self._held:
                return found  # it is known at the end
            before, opening, rest = self._held.partition(OPENING)
            if opening:
                inner, closing, after = rest.partition(CLOSING)
                words = before.rstrip()
                found += self._words(words)
                if not closing:
                    self._held = self._held[len(words) :]
                    return found
                call = self._call(inner)
                if call is None:
                    found += self._words(self._held[len(words) : len(self._held) - len(after)])
                else:
                    found.append(call)
                self._held = after.lstrip("\n")
                continue
            # Blanks before a call are none of the words.
            words = self._held[: len(self._held) - _possible_begin(self._held, OPENING)]
            kept = len(self._held) - len(words.rstrip())
            found += self._words(self._held[: len(self._held) - kept])
            self._held = self._held[len(self._held) - kept :]
            return found

    def end(self) -> list[str | Call]:
        """What is left once the model has ended."""
        held, self._held = self._held, ""
        text = held.lstrip().removeprefix(OPENING)
        call = self._call(text) if held else None
        if call is not None:
            return [call]
        return self._words(held)

    def _is_bare(self) -> bool:
        """Whether the whole answer may be a call without anything around it."""
        return not self._said and self._held.lstrip()[:1] == "{"

    def _words(self, text: str) -> list[str | Call]:
        if text.strip():
            self._said = True
        return [text] if text else []

    def _call(self, text: str) -> Call | None:
        """The call that a text is; None where it is none of the tools'."""
        try:
            given = json.loads(text.strip())
        except ValueError:
            return None
        if not isinstance(given, dict) or not self._toolbox.has(given.get("name")):
            return None
        arguments = given.get("arguments", given.get("parameters", {}))
        if isinstance(arguments, str):
            return Call(given["name"], arguments)
        return Call(given["name"], json.dumps(arguments, ensure_ascii=False))


def _possible_begin(text: str, mark: str) -> int:
    """How many characters at the end of a text may be the begin of a mark."""
    return next((n for n in range(len(mark) - 1, 0, -1) if text.endswith(mark[:n])), 0)
