"""The JSON objects of answers in OpenAI's API, field by field in the order in which they go out.

A field that is null says another thing to clients than one that is missing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, SkipValidation

# What another server has sent may hold half a character of UTF-16, which pydantic's texts may not.
Text = Annotated[str, SkipValidation]
Logprob = Annotated[float | None, SkipValidation]


def _is_empty(value: Any) -> bool:
    return value in (None, "")


class Schema(BaseModel):
    """An object of the protocol."""

    model_config = ConfigDict(frozen=True)


class CachedTokens(Schema):
    """Of the tokens of a prompt, how many need not be read again."""

    cached_tokens: int


class Usage(Schema):
    """What a request has taken, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class TokenLogprob(Schema):
    """A token and the natural logarithm of its probability.

    Attributes:
        bytes: of the token in UTF-8: of a whole character or a part of one.
    """

    token: Text
    logprob: Logprob
    bytes: list[int]


class PlaceLogprobs(TokenLogprob):
    """The token at a place of a chat's answer, and the likeliest ones there."""

    top_logprobs: list[TokenLogprob]


class ChatLogprobs(Schema):
    """The odds of a chat's choice, place by place."""

    content: list[PlaceLogprobs]
    refusal: None = None


class CompletionLogprobs(Schema):
    """The odds of a completion, in lists with an entry for each token.

    Attributes:
        text_offset: where each token begins, in characters.
    """

    tokens: list[Text]
    token_logprobs: list[Logprob]
    top_logprobs: list[dict[Text, Logprob]]
    text_offset: list[int]


class CalledFunction(Schema):
    """A tool that is called; its arguments are JSON."""

    name: Annotated[str | None, Field(exclude_if=_is_empty)] = None
    arguments: Text


class ToolCall(Schema):
    """A call of a tool."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ToolCallPiece(Schema):
    """What a piece adds to a call: who is called, or more of the arguments."""

    index: int
    id: Annotated[str | None, Field(exclude_if=_is_empty)] = None
    type: Annotated[Literal["function"] | None, Field(exclude_if=_is_empty)] = None
    function: CalledFunction


def _is_none(value: object) -> bool:
    return value is None


class Message(Schema):
    """What a chat's model has said; without words where it only calls tools."""

    role: Literal["assistant"] = "assistant"
    content: Text | None
    refusal: None = None
    tool_calls: Annotated[list[ToolCall] | None, Field(exclude_if=_is_none)] = None


class Delta(Schema):
    """What a piece adds to a message; the last one adds nothing."""

    role: Annotated[str | None, Field(exclude_if=_is_empty)] = None
    content: Annotated[Text | None, Field(exclude_if=_is_none)] = None
    tool_calls: Annotated[list[ToolCallPiece] | None, Field(exclude_if=_is_none)] = None


# By Atelier's own name what another server has sent besides words.
LeftOut = Annotated[str, Field(exclude_if=_is_empty)]


class ChatChoice(Schema):
    """One whole answer in a chat."""

    index: int
    message: Message
    logprobs: ChatLogprobs | None = None
    finish_reason: str | None = None
    left_out: LeftOut = ""


class ChatPiece(Schema):
    """A piece of an answer in a chat; the last one has a reason and no words."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: str | None = None
    left_out: LeftOut = ""


class CompletionChoice(Schema):
    """One completion, whole or a piece of it."""

    index: int
    text: Text
    logprobs: CompletionLogprobs | None = None
    finish_reason: str | None = None
    left_out: LeftOut = ""


class Answer(Schema):
    """An answer, or a piece of one.

    Attributes:
        created: seconds since 1970.
        usage: None where it is not known, or not known yet.
    """

    id: str
    created: int
    model: str
    object: str
    choices: list[Any]
    usage: Usage | None = None


class ChatCompletion(Answer):
    """A whole answer in a chat."""

    object: Literal["chat.completion"] = "chat.completion"
    choices: list[ChatChoice]


class ChatCompletionChunk(Answer):
    """A piece of the stream of a chat."""

    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    choices: list[ChatPiece]


class Completion(Answer):
    """A completion, or a piece of its stream."""

    object: Literal["text_completion"] = "text_completion"
    choices: list[CompletionChoice]


class Model(Schema):
    """A model that may be asked for; ``kind`` and ``title`` are Atelier's own.

    Attributes:
        created: 0: nobody has noted when the models were made.
    """

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "atelier"
    kind: Literal["chat", "image"]
    title: str


class ChatModel(Model):
    """A model that chats.

    Attributes:
        context_length: Atelier's own: tokens of one conversation, answer included.
    """

    kind: Literal["chat"] = "chat"
    context_length: int


class ModelList(Schema):
    """The models that may be asked for."""

    object: Literal["list"] = "list"
    data: list[SerializeAsAny[Model]]


class Image(Schema):
    """A picture as PNG in base64, and the seed that repeats it, which is Atelier's own."""

    b64_json: str
    seed: int


class Images(Schema):
    """The pictures of one request; ``size`` is WIDTHxHEIGHT in pixels. By Atelier's own name,
    ``notes``, what had no effect or was done otherwise.
    """

    created: int
    data: list[Image]
    output_format: Literal["png"] = "png"
    size: str
    notes: Annotated[list[str] | None, Field(exclude_if=_is_none)] = None


class Error(Schema):
    """What is wrong; ``code`` is what programs branch on, ``param`` the field it is about."""

    message: Text
    type: str
    param: Text | None
    code: str | None


class ErrorEnvelope(Schema):
    """The body of an error."""

    error: Error
