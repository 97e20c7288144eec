"""What a request sends to another server, as the model's file has it.

Servers differ in the fields that they take: Mistral's refuses ``seed``, OpenAI's newer models want
``max_completion_tokens``. A model's file says so by ``extensions``, ``omit_fields``,
``rename_fields`` and ``extra_fields``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pipelines.chat.requests import ChatRequest, CompletionRequest
from pipelines.core.errors import BadRequest

NEEDED = ("model", "messages", "prompt", "stream")
# OpenAI's own, and those that vLLM, llama-server and Atelier take besides.
STANDARD = (
    "stream_options", "temperature", "top_p", "seed", "max_tokens", "stop", "logprobs",
    "top_logprobs", "presence_penalty", "frequency_penalty", "logit_bias", "echo",
    "response_format",
)  # fmt: skip
EXTENSIONS = (
    "top_k", "min_p", "repetition_penalty", "repeat_penalty", "continue_final_message",
    "add_generation_prompt",
)  # fmt: skip
# A request's field → what carries it (any of these suffices), and the value that changes nothing.
_CARRIERS: Mapping[str, tuple[tuple[str, ...], Any]] = {
    "temperature": (("temperature",), 1.0),
    "top_p": (("top_p",), 1.0),
    "top_k": (("top_k",), 0),
    "min_p": (("min_p",), 0.0),
    "repetition_penalty": (("repetition_penalty", "repeat_penalty"), 1.0),
    "presence_penalty": (("presence_penalty",), 0.0),
    "frequency_penalty": (("frequency_penalty",), 0.0),
    "logit_bias": (("logit_bias",), {}),
    "max_new_tokens": (("max_tokens",), None),
    "stop": (("stop",), ()),
    "seed": (("seed",), -1),
    "logprobs": (("logprobs",), None),
    "json_schema": (("response_format",), None),
}


class ServerModel(Protocol):
    """What a model's file says of it, as far as this concerns what its server is sent."""

    @property
    def name(self) -> str: ...
    @property
    def backend(self) -> str: ...
    @property
    def remote_model(self) -> str | None: ...
    @property
    def extensions(self) -> bool: ...
    @property
    def omit_fields(self) -> Sequence[str]: ...
    @property
    def rename_fields(self) -> Mapping[str, str]: ...
    @property
    def extra_fields(self) -> Mapping[str, Any]: ...


def check_fields(entry: ServerModel) -> None:
    """Whether a model's file changes only what can be changed.

    Raises:
        BadRequest: it names a field that is not sent, or that must be; says which.
    """
    changing = STANDARD + EXTENSIONS
    for setting, names in (
        ("omit_fields", entry.omit_fields),
        ("rename_fields", entry.rename_fields),
    ):
        for name in names:
            if name not in changing:
                raise BadRequest(
                    "{setting} names {name}; it may name {names}.",
                    setting=setting,
                    name=name[:60],
                    names=", ".join(changing),
                ).at(setting)
    taken = {*NEEDED, *changing} - {*entry.omit_fields, *entry.rename_fields}
    targets = list(entry.rename_fields.values())
    for setting, names in (("rename_fields", targets), ("extra_fields", entry.extra_fields)):
        for name in names:
            if not name or name in taken:
                raise BadRequest(
                    "{setting} would send {name} a second time. Choose another name, or name "
                    "{name} under omit_fields first.",
                    setting=setting,
                    name=name[:60],
                ).at(setting)
            taken.add(name)


def body_for(request: ChatRequest | CompletionRequest, entry: ServerModel) -> dict[str, Any]:
    """The body of the request to the server of ``entry``.

    Args:
        request: with all sampling values filled in.
    """
    body: dict[str, Any] = {
        "model": entry.remote_model or entry.name,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
    }
    if request.max_new_tokens is not None:
        body["max_tokens"] = request.max_new_tokens
    if request.stop:
        body["stop"] = list(request.stop)
    body |= {
        name: value
        for name in ("presence_penalty", "frequency_penalty")
        if (value := getattr(request, name))
    }
    if request.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in request.logit_bias.items()}
    if request.json_schema is not None:
        schema = {"name": "answer", "schema": request.json_schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if isinstance(request, ChatRequest):
        body["messages"] = [message.model_dump() for message in request.messages]
        if request.logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": request.logprobs}
    else:
        tokens = request.prompt_tokens
        body["prompt"] = request.prompt if tokens is None else [*tokens]
        if request.logprobs is not None:
            body["logprobs"] = request.logprobs
        if request.echo and not request.echoes_text:
            body["echo"] = True
    if entry.extensions:
        penalty = request.repetition_penalty
        body |= {"top_k": request.top_k, "min_p": request.min_p}
        # vLLM's and Atelier's name, and llama.cpp's.
        body |= {"repetition_penalty": penalty, "repeat_penalty": penalty}
        if isinstance(request, ChatRequest) and request.continue_last:
            # vLLM's and Atelier's names; llama.cpp goes on by itself.
            body |= {"continue_final_message": True, "add_generation_prompt": False}
    sent = {
        entry.rename_fields.get(name, name): value
        for name, value in body.items()
        if name not in entry.omit_fields
    }
    return sent | dict(entry.extra_fields)


def unsent_fields(request: ChatRequest | CompletionRequest, entry: ServerModel) -> tuple[str, ...]:
    """What a request asks for and the server of ``entry`` is not sent, by the request's names.

    Args:
        request: as it was asked, before what it leaves open is filled in.
    """
    if entry.backend != "remote":
        return ()
    sent = {*STANDARD, *(EXTENSIONS if entry.extensions else ())} - {*entry.omit_fields}
    return tuple(
        name
        for name, (carriers, neutral) in _CARRIERS.items()
        if getattr(request, name) not in (None, neutral) and sent.isdisjoint(carriers)
    )
