"""What can be asked of a language model: bounds, defaults and help texts live here only."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    FailFast,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError

from pipelines.core.engine import StrictModel
from pipelines.core.errors import BadRequest

STARTER = "smollm2-135m"
MAX_TEXT = 400_000  # characters of one message: more than the longest context here holds
MAX_ANSWER = 4 * MAX_TEXT  # characters: an answer may be longer than what a person may send
MAX_MESSAGES = 2_000
MAX_NEW_TOKENS = 131_072
MAX_STOPS, MAX_STOP_LENGTH = 16, 200
MAX_SEED = 2**32 - 2  # llama.cpp takes 2³² − 1 for “draw one”
MAX_LOGPROBS = 20
CHARACTERS = 4  # of English a token, about
MAX_BIASES = 1000
PENALTY_WINDOW = 64
"""Of prompt and answer, the last tokens that presence and frequency penalties look at.

llama.cpp's usual window: over a whole context, a frequency penalty would forbid common words."""

Role = Literal["system", "user", "assistant"]


class ChatMessage(StrictModel):
    """One message of a conversation."""

    role: Annotated[Role, Field(title="Role", description="Who says it.")]
    content: Annotated[
        str, Field(max_length=MAX_ANSWER, title="Message", description="What is said.")
    ]

    @field_validator("content")
    @classmethod
    def _length(cls, content: str, about: ValidationInfo) -> str:
        if about.data.get("role") != "assistant" and len(content) > MAX_TEXT:
            raise PydanticKnownError("string_too_long", {"max_length": MAX_TEXT})
        return content


class Sampling(StrictModel):
    """How the next token is chosen. None leaves a value as the model's file says.

    All backends apply these in one order: repetition penalty, top-k, top-p, min-p, temperature.
    """

    temperature: Annotated[
        float | None,
        Field(
            ge=0,
            le=2,
            title="Temperature",
            description="Above 1 is bolder, below 1 more careful; 0 always takes the likeliest.",
        ),
    ] = None
    top_p: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            title="Top-p",
            description="Only the likeliest tokens that together have this probability.",
        ),
    ] = None
    top_k: Annotated[
        int | None,
        Field(
            ge=0,
            le=1000,
            title="Top-k",
            description="Only this many of the likeliest tokens; 0 is off.",
        ),
    ] = None
    min_p: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            title="Min-p",
            description="Only tokens at least this share as likely as the likeliest; 0 is off.",
        ),
    ] = None
    repetition_penalty: Annotated[
        float | None,
        Field(
            ge=0.5,
            le=2,
            title="Repetition penalty",
            description="Above 1 makes what was said already less likely; 1 is off.",
        ),
    ] = None


class Generation(Sampling):
    """What chat and plain completion share."""

    model: Annotated[str, Field(max_length=200, title="Model", description="Who answers.")] = (
        STARTER
    )
    max_new_tokens: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_NEW_TOKENS,
            title="Longest answer",
            description="In tokens, about ¾ of a word each. Empty: until the answer ends.",
        ),
    ] = None
    stop: Annotated[
        tuple[str, ...],
        Field(
            max_length=MAX_STOPS,
            title="Stop strings",
            description="The answer ends before the first of these.",
        ),
    ] = ()
    seed: Annotated[
        int,
        Field(
            ge=-1,
            le=MAX_SEED,
            title="Seed",
            description="The same seed gives the same answer. −1 draws one.",
        ),
    ] = -1
    logprobs: Annotated[
        int | None,
        Field(
            ge=0,
            le=MAX_LOGPROBS,
            title="Odds",
            description="How many other tokens' odds are told beside each token. Empty: none.",
        ),
    ] = None

    presence_penalty: Annotated[
        float,
        Field(
            ge=-2,
            le=2,
            title="Presence penalty",
            description="Above 0 makes what was said a moment ago less likely; 0 is off.",
        ),
    ] = 0.0
    frequency_penalty: Annotated[
        float,
        Field(
            ge=-2,
            le=2,
            title="Frequency penalty",
            description="The same, the more the oftener it was said; 0 is off.",
        ),
    ] = 0.0
    logit_bias: Annotated[
        dict[
            Annotated[int, Field(ge=0, le=2**31 - 1)],
            Annotated[float, Field(ge=-100, le=100)],
        ],
        Field(
            max_length=MAX_BIASES,
            title="Logit bias",
            description="What is added to the logits of tokens, by their numbers in the model's "
            "vocabulary: −100 forbids a token.",
        ),
    ] = {}  # noqa: RUF012  a model copies it

    json_schema: Annotated[
        dict[str, Any] | None,
        Field(
            title="JSON schema",
            description="The answer is JSON that fits this schema.",
        ),
    ] = None

    @field_validator("json_schema")
    @classmethod
    def _schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is None:
            return None
        from pipelines.chat.json_schemas import check_schema  # its library takes its time

        return check_schema(schema)

    @property
    def penalty_window(self) -> int | None:
        """How many of the last tokens the penalties look at; None: all."""
        return PENALTY_WINDOW if self.presence_penalty or self.frequency_penalty else None

    @field_validator("stop")
    @classmethod
    def _stops(cls, stops: tuple[str, ...]) -> tuple[str, ...]:
        for stop in stops:
            if not 1 <= len(stop) <= MAX_STOP_LENGTH:
                raise BadRequest(
                    "A stop string has {length} characters; it must have 1 to {limit}.",
                    length=len(stop),
                    limit=MAX_STOP_LENGTH,
                ).at("stop")
        return stops


class ChatRequest(Generation):
    """An answer to a conversation.

    Attributes:
        continue_last: the last message is the assistant's, and is gone on with.
        overflow: when the conversation is longer than the model's context, ``"drop"`` leaves out
            the oldest turns (never the system prompt) and ``"refuse"`` raises
            :class:`pipelines.chat.context.ContextExceeded`.
    """

    messages: Annotated[
        tuple[ChatMessage, ...],
        Field(
            max_length=MAX_MESSAGES,
            title="Messages",
            description="The conversation so far, oldest first.",
        ),
    ]
    continue_last: bool = False
    overflow: Literal["drop", "refuse"] = "drop"

    @model_validator(mode="after")
    def _order(self) -> ChatRequest:
        check_order(self.messages, self.continue_last)
        return self


class CompletionRequest(Generation):
    """Text that goes on where the prompt ends; no chat template is put around it.

    Attributes:
        prompt_tokens: in the place of ``prompt``, where they are given.
        max_new_tokens: may be 0 here: the prompt is read and nothing said.
        echo: the prompt comes before the answer, with its tokens' odds where odds are asked for.
    """

    prompt: Annotated[
        str, Field(max_length=MAX_TEXT, title="Prompt", description="What is gone on with.")
    ] = ""
    prompt_tokens: Annotated[
        tuple[Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)], ...] | None,
        Field(
            min_length=1,
            max_length=MAX_TEXT,
            title="Tokens of the prompt",
            description="The same in numbers of the model's vocabulary.",
        ),
        FailFast(),  # there may be 400,000 of them
    ] = None
    max_new_tokens: Annotated[
        int | None,
        Field(
            ge=0,
            le=MAX_NEW_TOKENS,
            title="Longest answer",
            description="In tokens, about ¾ of a word each. Empty: until the answer ends.",
        ),
    ] = None
    echo: bool = False

    @property
    def echoes_text(self) -> bool:
        """Whether the prompt that is to be repeated is known without asking a model."""
        return self.echo and self.logprobs is None and self.prompt_tokens is None


def check_order(messages: tuple[ChatMessage, ...], continue_last: bool) -> None:
    """Whether these messages can be answered, or the last one gone on with.

    Raises:
        BadRequest: there are none, or there is no answer to go on with, or it is as long as one
            can be.
    """
    if not messages:
        raise BadRequest("There are no messages. Send at least one of the role user.")
    if continue_last and messages[-1].role != "assistant":
        raise BadRequest(
            "The last message is the {role}'s; it must be the {wanted}'s.",
            role=messages[-1].role,
            wanted="assistant",
        )
    if continue_last and (count := len(messages[-1].content)) >= MAX_ANSWER:
        raise BadRequest(
            "This answer has {count} characters; it cannot have more than {limit}. Ask for the "
            "rest in a new message.",
            count=count,
            limit=MAX_ANSWER,
        )


def about_tokens(request: Generation) -> int:
    """A guess at the tokens of a prompt whose tokenizer is elsewhere."""
    if isinstance(request, ChatRequest):
        contents = (message.content for message in request.messages)
        return sum(math.ceil(len(content) / CHARACTERS) + 4 for content in contents)
    if isinstance(request, CompletionRequest):
        tokens = request.prompt_tokens
        return math.ceil(len(request.prompt) / CHARACTERS) if tokens is None else len(tokens)
    return 0
