"""Bodies of requests, in OpenAI's terms, as requests to the engine.

Bounds are the engine's own (:mod:`pipelines.chat.requests`); here only names are changed. Fields
that nobody here knows are ignored, as OpenAI's API does; those that ask for what cannot be had,
so that ignoring them would give a wrong answer, are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from pipelines.chat.requests import (
    MAX_SEED,
    STARTER,
    ChatRequest,
    CompletionRequest,
    Generation,
)
from pipelines.errors import BadRequest, validated
from studio.openai.errors import Invalid

MAX_CHOICES = 8
COMPLETION_TOKENS = 16  # of a completion that names no limit, as in OpenAI's API

# Engine's name → OpenAI's, where they differ.
NAMES = {"max_new_tokens": "max_tokens", "continue_last": "continue_final_message"}
_SAME = ("model", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")
_TOO_LONG = {("content", "string_too_long"), ("prompt", "string_too_long")}

ModelT = TypeVar("ModelT", bound=BaseModel)


class Options(BaseModel):
    """Fields that are about the answer's form and not the engine's business."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class StreamOptions(Options):
    include_usage: bool = False


class Form(Options):
    """How the answer is to be given.

    Attributes:
        n: how many answers to each prompt.
        stream: in pieces as they come.
        stream_options: what else the stream has.
        echo: (completions) the prompt before the answer.
    """

    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] = 1
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    echo: bool = False


class ChatLogprobs(Options):
    logprobs: bool = False
    top_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a body asks for.

    Attributes:
        form: of the answer.
        requests: one for each choice, in the order of their indices.
        logprobs: how many likeliest tokens are told beside each, or None.
        echoes: what stands before each choice's answer.
    """

    form: Form
    requests: tuple[Generation, ...]
    logprobs: int | None
    echoes: tuple[str, ...]

    @property
    def model(self) -> str:
        return self.requests[0].model


def chat(body: Mapping[str, Any]) -> Asked:
    """What the body of ``POST /v1/chat/completions`` asks for.

    Raises:
        Invalid: names the first field that cannot be used.
    """
    given = given_in(body)
    _refuse_tools(given)
    form = checked(Form, given | {"echo": False})
    wanted = checked(ChatLogprobs, given)
    if wanted.top_logprobs is not None and not wanted.logprobs:
        raise Invalid("top_logprobs needs logprobs to be true.", param="top_logprobs")
    logprobs = (wanted.top_logprobs or 0) if wanted.logprobs else None
    request = checked(
        ChatRequest,
        {
            **_generation(given),
            "logprobs": logprobs,
            "messages": messages(given.get("messages")),
            "continue_last": given.get("continue_final_message", False),
            "overflow": "refuse",
        },
        {**NAMES, "max_new_tokens": _limit_name(given), "logprobs": "top_logprobs"},
    )
    return Asked(form, _choices(request, form.n), logprobs, ("",) * form.n)


def completion(body: Mapping[str, Any]) -> Asked:
    """What the body of ``POST /v1/completions`` asks for.

    Raises:
        Invalid: names the first field that cannot be used.
    """
    given = given_in(body)
    if given.get("suffix"):
        raise Invalid("Text cannot be filled in before a suffix here.", param="suffix")
    form = checked(Form, given)
    logprobs = given.get("logprobs")
    if form.echo and logprobs is not None:
        raise Invalid("The odds of the prompt's own tokens are not told: ask for echo or for "
                      "logprobs, not for both.", param="echo")  # fmt: skip
    requests: list[Generation] = []
    for prompt in _prompts(given.get("prompt"), form.n):
        request = checked(
            CompletionRequest,
            {
                "max_new_tokens": COMPLETION_TOKENS,
                **_generation(given),
                "logprobs": logprobs,
                "prompt": prompt,
            },
            {**NAMES, "max_new_tokens": _limit_name(given)},
        )
        requests += _choices(request, form.n)
    echoes = tuple(request.prompt if form.echo else "" for request in requests)
    return Asked(form, tuple(requests), requests[0].logprobs, echoes)


def messages(given: Any) -> list[dict[str, Any]]:
    """A conversation in OpenAI's form as the engine takes it.

    Text parts become one text, ``developer`` is ``system``, and system messages at the start are
    joined into one.

    Raises:
        Invalid: what it holds cannot be understood here; names the message.
    """
    if not isinstance(given, list) or not given:
        raise Invalid("There are no messages. Send at least one of the role user.",
                      param="messages")  # fmt: skip
    read: list[dict[str, Any]] = []
    for number, message in enumerate(given, start=1):
        where = f"messages[{number - 1}]"
        role, content = _role(message, number, where), _content(message, number, where)
        if role == "system" and read:
            if any(each["role"] != "system" for each in read):
                raise Invalid(
                    "Message {number} is the system's; only the first message may be.",
                    number=number,
                    param=where,
                )
            read[0]["content"] += f"\n\n{content}"
            continue
        read.append({"role": role, "content": content})
    return read


def checked(kind: type[ModelT], data: Any, names: Mapping[str, str] | None = None) -> ModelT:
    """:func:`validated`, with the field's name in OpenAI's API.

    Args:
        names: the engine's names → OpenAI's, where they differ.

    Raises:
        Invalid: names the first field that cannot be used.
    """
    try:
        return validated(kind, data)
    except BadRequest as error:
        raise renamed(error, names or {}, "messages" if kind is ChatRequest else None) from None


def renamed(error: BadRequest, names: Mapping[str, str], otherwise: str | None = None) -> Invalid:
    """The same error by OpenAI's names; about ``otherwise`` where it names nothing."""
    if isinstance(error, Invalid):
        return error
    outer = next(iter(error.path), None)
    if outer is None:
        param = otherwise
    else:
        param = names.get(str(outer), str(outer))
        for part in error.path[1:]:
            param += f"[{part}]" if isinstance(part, int) else f".{part}"
    values = dict(error.message.values)
    if param is not None and "field" in values:
        values["field"] = param
    inner = error.path[-1] if error.path else None
    code = "context_length_exceeded" if (inner, error.kind) in _TOO_LONG else None
    return Invalid(error.message.template, param=param, code=code, **values)


def given_in(body: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is null: clients send that for what they leave open."""
    return {name: value for name, value in body.items() if value is not None}


def _generation(given: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's fields that chat and completion share."""
    data: dict[str, Any] = {"model": STARTER}
    data |= {name: given[name] for name in _SAME if name in given}
    if "repeat_penalty" in given:  # llama.cpp's name
        data.setdefault("repetition_penalty", given["repeat_penalty"])
    if (name := _limit_name(given)) in given:
        data["max_new_tokens"] = given[name]
    if (stop := given.get("stop")) is not None:
        data["stop"] = [stop] if isinstance(stop, str) else stop
    return data


def _limit_name(given: Mapping[str, Any]) -> str:
    """OpenAI's newer name for the longest answer, where it is given."""
    return "max_completion_tokens" if "max_completion_tokens" in given else "max_tokens"


def _choices(request: ModelT, count: int) -> tuple[ModelT, ...]:
    """The same request with seeds that follow one another; each draws its own where none is set."""
    if request.seed < 0:
        return (request,) * count
    seeds = ((request.seed + each) % (MAX_SEED + 1) for each in range(count))
    return tuple(request.model_copy(update={"seed": seed}) for seed in seeds)


def _prompts(given: Any, n: int) -> list[str]:
    if given is None:
        raise Invalid("{field} is missing.", field="prompt", param="prompt")
    prompts = given if isinstance(given, list) else [given]
    if not prompts or not all(isinstance(prompt, str) for prompt in prompts):
        raise Invalid("The prompt must be a text, or a list of texts; tokens are not taken.",
                      param="prompt")  # fmt: skip
    if len(prompts) * n > MAX_CHOICES:
        raise Invalid(
            "{count} answers are asked for; at most {limit} are given to one request.",
            count=len(prompts) * n,
            limit=MAX_CHOICES,
            param="n" if n > 1 else "prompt",
        )
    return prompts


def _role(message: Any, number: int, where: str) -> str:
    role = message.get("role") if isinstance(message, dict) else None
    if role in ("tool", "function"):
        raise Invalid("Message {number} is a tool's; there are no tools here.", number=number,
                      param=f"{where}.role")  # fmt: skip
    if role not in ("system", "developer", "user", "assistant"):
        raise Invalid(
            "Message {number} has the role {role}; it must be system, developer, user or "
            "assistant.",
            number=number,
            role=str(role)[:40],
            param=f"{where}.role",
        )
    return "system" if role == "developer" else role


def _content(message: Mapping[str, Any], number: int, where: str) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise Invalid(
            "Message {number} has no text as its content.", number=number, param=f"{where}.content"
        )
    for at, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise Invalid(
                "Message {number} has a part of the type {kind}; the models here read text only.",
                number=number,
                kind=str(kind)[:40],
                param=f"{where}.content[{at}]",
            )
    return "".join(part["text"] for part in content)


def _refuse_tools(given: Mapping[str, Any]) -> None:
    """What would be ignored to the caller's harm."""
    if given.get("tool_choice", "auto") not in ("auto", "none"):
        raise Invalid("There are no tools here that could be chosen.", param="tool_choice")
    form = given.get("response_format")
    if isinstance(form, dict) and form.get("type", "text") != "text":
        raise Invalid(
            "Answers are text here; a response_format of the type {kind} cannot be promised.",
            kind=str(form.get("type"))[:40],
            param="response_format",
        )
