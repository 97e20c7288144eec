"""Bodies of requests, in OpenAI's terms, as requests to the engine.

Bounds are the engine's own (:mod:`pipelines.chat.requests`); here only names are changed. Fields
that nobody here knows are ignored; those that ask for what cannot be had, so that ignoring them
would give a wrong answer, are refused (:mod:`studio.features.openai_api.unsupported`).
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
from pipelines.core.errors import BadRequest, validate
from studio.features.openai_api.errors import Invalid
from studio.features.openai_api.structured import schema_asked_for
from studio.features.openai_api.tools import NO_TOOLS, Toolbox, call_text, read_tools, result_text
from studio.features.openai_api.unsupported import refuse_parts_of, refuse_unsupported

MAX_CHOICES = 8
COMPLETION_TOKENS = 16  # of a completion that names no limit, as in OpenAI's API
LARGEST_SEED = (
    2**63 - 1
)  # of OpenAI's API; larger ones than the engine's are brought into its range

# Engine's name → OpenAI's, where they differ.
NAMES = {
    "max_new_tokens": "max_tokens",
    "continue_last": "continue_final_message",
    "prompt_tokens": "prompt",
    "json_schema": "response_format",
}
_SAME = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty",
)  # fmt: skip
_TOO_LONG = {("content", "string_too_long"), ("prompt", "string_too_long")}

ModelT = TypeVar("ModelT", bound=BaseModel)


class Options(BaseModel):
    """Fields that are about the answer's form and not the engine's business."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class StreamOptions(Options):
    include_usage: bool | None = None


class Form(Options):
    """How the answer is to be given.

    Attributes:
        n: how many answers to each prompt.
        stream: in pieces as they come.
        stream_options: what else the stream has.
    """

    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] = 1
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()


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
        toolbox: the tools that may be called.
    """

    form: Form
    requests: tuple[Generation, ...]
    logprobs: int | None
    toolbox: Toolbox = NO_TOOLS

    @property
    def model(self) -> str:
        return self.requests[0].model


def chat(body: Mapping[str, Any]) -> Asked:
    """What the body of ``POST /v1/chat/completions`` asks for.

    Raises:
        Invalid: names the first field that cannot be used.
    """
    given = drop_nulls(body)
    form = validate_body(Form, given)
    refuse_unsupported(given, form.n, is_chat=True)
    if given.get("echo"):
        raise Invalid("{field} cannot be followed here. Leave it out.", field="echo", param="echo")
    wanted = validate_body(ChatLogprobs, given)
    if wanted.top_logprobs and not wanted.logprobs:
        raise Invalid("top_logprobs needs logprobs to be true.", param="top_logprobs")
    logprobs = (wanted.top_logprobs or 0) if wanted.logprobs else None
    toolbox, schema = read_tools(given), schema_asked_for(given)
    if toolbox.forced:
        schema = toolbox.schema()
    said = messages(given.get("messages"))
    is_gone_on_with = given.get("continue_final_message", said[-1]["role"] == "assistant")
    if toolbox.tools:
        said = _with_tools(said, toolbox)
    request = validate_body(
        ChatRequest,
        {
            **_generation(given),
            "logprobs": logprobs,
            "messages": said,
            # An answer at the end is one to go on with.
            "continue_last": is_gone_on_with,
            "json_schema": schema,
            "overflow": "refuse",
        },
        {**NAMES, "max_new_tokens": _limit_name(given), "logprobs": "top_logprobs"},
    )
    return Asked(form, _choices(request, form.n), logprobs, toolbox)


def completion(body: Mapping[str, Any]) -> Asked:
    """What the body of ``POST /v1/completions`` asks for.

    Raises:
        Invalid: names the first field that cannot be used.
    """
    given = drop_nulls(body)
    if given.get("suffix"):
        raise Invalid("Text cannot be filled in before a suffix here.", param="suffix")
    form = validate_body(Form, given)
    refuse_unsupported(given, form.n, is_chat=False)
    if given.get("top_logprobs"):
        raise Invalid("{field} is not known here. Send it as {name}.", field="top_logprobs",
                      name="logprobs", param="top_logprobs")  # fmt: skip
    logprobs = given.get("logprobs")
    if logprobs is False:  # as of a conversation
        logprobs = None
    requests: list[Generation] = []
    for number, prompt in enumerate(prompts := _prompts(given.get("prompt"), form.n)):
        tokens = f"prompt[{number}]" if len(prompts) > 1 else "prompt"
        request = validate_body(
            CompletionRequest,
            {
                "max_new_tokens": COMPLETION_TOKENS,
                **_generation(given),
                "logprobs": logprobs,
                "echo": given.get("echo", False),
                **({"prompt": prompt} if isinstance(prompt, str) else {"prompt_tokens": prompt}),
            },
            {**NAMES, "max_new_tokens": _limit_name(given), "prompt_tokens": tokens},
        )
        requests += _choices(request, form.n)
    return Asked(form, tuple(requests), requests[0].logprobs)


def messages(given: Any) -> list[dict[str, Any]]:
    """A conversation in OpenAI's form as the engine takes it.

    Text parts become one text, ``developer`` is ``system``, and system messages at the start are
    joined into one. An assistant's message may be empty. Its calls of tools become words, and what
    the tools have said the user's.

    Raises:
        Invalid: what it holds cannot be understood here; names the message.
    """
    if given and not isinstance(given, list):
        raise Invalid(
            "The messages must be a list, and each of them an object with a role and a content.",
            param="messages",
        )
    if not given:
        raise Invalid("There are no messages. Send at least one of the role user.",
                      param="messages")  # fmt: skip
    read: list[dict[str, Any]] = []
    for number, message in enumerate(given, start=1):
        where = f"messages[{number - 1}]"
        role, content = _role(message, number, where), _content(message, number, where)
        if role == "system" and read and all(each["role"] == "system" for each in read):
            read[0]["content"] += f"\n\n{content}"
            continue
        if role == "tool":
            role, content = "user", result_text(content)
            if number > 1 and _is_of_a_tool(given[number - 2]):
                read[-1]["content"] += f"\n{content}"
                continue
        elif role == "assistant" and message.get("tool_calls"):
            content = "\n".join(filter(None, (content, call_text(message["tool_calls"], number,
                                                                  where))))  # fmt: skip
        read.append({"role": role, "content": content})
    return read


def validate_body(kind: type[ModelT], data: Any, names: Mapping[str, str] | None = None) -> ModelT:
    """:func:`validate`, with the field's name in OpenAI's API.

    Args:
        names: the engine's names → OpenAI's, where they differ.

    Raises:
        Invalid: names the first field that cannot be used.
    """
    try:
        return validate(kind, data)
    except BadRequest as error:
        raise rename_fields(
            error, names or {}, "messages" if kind is ChatRequest else None
        ) from None


def rename_fields(
    error: BadRequest, names: Mapping[str, str], otherwise: str | None = None
) -> Invalid:
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


def drop_nulls(body: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is null: clients send that for what they leave open."""
    return {name: value for name, value in body.items() if value is not None}


def _generation(given: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's fields that chat and completion share."""
    data: dict[str, Any] = {"model": STARTER if given.get("model", "") == "" else given["model"]}
    data |= {name: given[name] for name in _SAME if name in given}
    if given.get("top_k") == -1:  # off, as vLLM writes it
        data["top_k"] = 0
    if "seed" in given:
        data["seed"] = _seed(given["seed"])
    if given.get("logit_bias"):
        data["logit_bias"] = _biases(given["logit_bias"])
    if "repeat_penalty" in given:  # llama.cpp's name
        data.setdefault("repetition_penalty", given["repeat_penalty"])
    # -1 is no limit, as llama.cpp and LM Studio write it.
    if (name := _limit_name(given)) in given:
        data["max_new_tokens"] = None if given[name] == -1 else given[name]
    if (stop := given.get("stop")) not in (None, ""):
        data["stop"] = [stop] if isinstance(stop, str) else stop
    return data


def _seed(given: Any) -> Any:
    """A seed in the engine's range: of a larger one the remainder, so that it stays repeatable."""
    if isinstance(given, bool) or not isinstance(given, int) or given <= MAX_SEED:
        return given
    if given > LARGEST_SEED:
        raise Invalid("{field} is {value}; it must be at most {limit}.", field="seed",
                      value=str(given)[:60], limit=LARGEST_SEED, param="seed")  # fmt: skip
    return given % (MAX_SEED + 1)


def _biases(given: Any) -> dict[int, Any]:
    items = given.items() if isinstance(given, dict) else [("?", given)]
    for token, bias in items:
        is_token = token.isdecimal() and str(int(token[:10])) == token
        is_number = isinstance(bias, int | float) and not isinstance(bias, bool)
        if not (is_token and is_number and -100 <= bias <= 100):
            raise Invalid(
                "logit_bias has {bias} for {token}; it takes numbers from -100 to 100, each for a "
                "token's number.",
                bias=str(bias)[:40],
                token=token[:40],
                param="logit_bias",
            )
    return {int(token): bias for token, bias in items}


def _limit_name(given: Mapping[str, Any]) -> str:
    """OpenAI's newer name for the longest answer, where it is given."""
    return "max_completion_tokens" if "max_completion_tokens" in given else "max_tokens"


def _choices(request: ModelT, count: int) -> tuple[ModelT, ...]:
    """The same request with seeds that follow one another; each draws its own where none is set."""
    if request.seed < 0:
        return (request,) * count
    seeds = ((request.seed + each) % (MAX_SEED + 1) for each in range(count))
    return tuple(request.model_copy(update={"seed": seed}) for seed in seeds)


def _prompts(given: Any, n: int) -> list[str | list[Any]]:
    """Texts and lists of tokens; the numbers in the latter are not checked here."""
    if given is None:
        raise Invalid("{field} is missing.", field="prompt", param="prompt")
    prompts = given if isinstance(given, list) else [given]
    if isinstance(given, list) and given and not isinstance(given[0], str | list):
        prompts = [given]  # the tokens of one
    if not prompts or not all(
        isinstance(prompt, str) or (isinstance(prompt, list) and prompt) for prompt in prompts
    ):
        raise Invalid("The prompt must be a text, a list of tokens, or a list of these.",
                      param="prompt")  # fmt: skip
    if len(prompts) * n > MAX_CHOICES:
        raise Invalid(
            "{count} answers are asked for; at most {limit} are given to one request.",
            count=len(prompts) * n,
            limit=MAX_CHOICES,
            param="n" if n > 1 else "prompt",
        )
    return prompts


def _with_tools(said: list[dict[str, Any]], toolbox: Toolbox) -> list[dict[str, Any]]:
    """The conversation with what its system prompt says of tools."""
    told = toolbox.describe()
    if said[0]["role"] == "system":
        return [{"role": "system", "content": f"{said[0]['content']}\n\n{told}"}, *said[1:]]
    return [{"role": "system", "content": told}, *said]


def _is_of_a_tool(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "tool"


def _role(message: Any, number: int, where: str) -> str:
    if isinstance(message, dict):
        refuse_parts_of(message, number, where)
    role = message.get("role") if isinstance(message, dict) else None
    if role is None:
        raise Invalid(
            "Message {number} has no role; it must be system, developer, user, assistant or tool.",
            number=number,
            param=f"{where}.role",
        )
    if role not in ("system", "developer", "user", "assistant", "tool"):
        raise Invalid(
            "Message {number} has the role {role}; it must be system, developer, user, assistant "
            "or tool.",
            number=number,
            role=str(role)[:40],
            param=f"{where}.role",
        )
    return "system" if role == "developer" else role


def _content(message: Mapping[str, Any], number: int, where: str) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not content and isinstance(content, list | None) and message["role"] == "assistant":
        refusal = message.get("refusal")  # what it said in the place of an answer
        return refusal if isinstance(refusal, str) else ""
    if not isinstance(content, list) or not content:
        raise Invalid(
            "Message {number} has no text as its content.", number=number, param=f"{where}.content"
        )
    return "".join(_text(part, number, f"{where}.content[{at}]") for at, part in enumerate(content))


def _text(part: Any, number: int, where: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind is None:
        raise Invalid(
            "Message {number} has a part without a type; it must be text.",
            number=number,
            param=where,
        )
    if kind in ("input_text", "output_text"):  # as OpenAI's Responses call them
        part = {"type": "text", "text": part.get("text")}
        kind = "text"
    if kind not in ("text", "refusal"):
        raise Invalid(
            "Message {number} has a part of the type {kind}; the models here read text only.",
            number=number,
            kind=str(kind)[:40],
            param=where,
        )
    if not isinstance(part.get(kind), str):
        raise Invalid("Message {number} has a part without text.", number=number, param=where)
    return part[kind]
