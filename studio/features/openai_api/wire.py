"""What goes out: answers and their pieces as OpenAI's JSON."""

from __future__ import annotations

import json
import secrets
import time
from abc import ABC, abstractmethod
from codecs import getincrementaldecoder
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from pipelines.chat.events import TokenOdds, Words
from studio.api import sse
from studio.features.openai_api import schemas
from studio.features.openai_api.bodies import Asked
from studio.features.openai_api.running import Answer
from studio.features.openai_api.tools import Call, CallReader

DONE = sse.event("[DONE]")
LEAST_LOGPROB = -9999.0  # OpenAI's number for what is all but impossible; JSON has no infinity


class Format(ABC):
    """How the answers to one request are written; a subclass for chat and one for completions.

    Args:
        asked: the request.
    """

    kind: ClassVar[type[schemas.Answer]]  # of the whole answer
    piece: ClassVar[type[schemas.Answer]]  # of a piece of it
    prefix: ClassVar[str]  # of ids
    prompt: ClassVar[str]  # the field that the prompt comes in

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self._head = {
            "id": f"{self.prefix}-{secrets.token_urlsafe(16)}",
            "created": int(time.time()),
            "model": asked.model,
        }
        # OpenAI's pieces have the field usage only where it is asked for, null but in the last.
        has_usage = asked.form.stream and asked.form.stream_options.include_usage
        self._unsent = set() if has_usage else {"usage"}
        self._prompts = len(asked.requests) // asked.form.n

    @abstractmethod
    def first_chunk(self, index: int) -> str:
        """The first piece of a choice; may be empty."""

    @abstractmethod
    def words(self, index: int, words: Words) -> str:
        """The next piece of a choice; empty where it would say nothing."""

    @abstractmethod
    def end_choice(self, index: int, facts: dict[str, Any]) -> str:
        """The last piece of a choice: why it ends."""

    @abstractmethod
    def choice(self, index: int, answer: Answer) -> schemas.Schema:
        """A choice of the whole answer."""

    def end_stream(self, facts: Iterable[dict[str, Any]]) -> str:
        """What ends the stream once all choices have."""
        if self._unsent:
            return DONE
        return self._event(usage=usage(facts, self._prompts)) + DONE

    def whole(self, answers: Sequence[Answer]) -> str:
        """The whole answer."""
        body = self.kind(
            **self._head,
            choices=[self.choice(index, answer) for index, answer in enumerate(answers)],
            usage=usage([answer.facts for answer in answers], self._prompts),
        )
        # In ASCII: what another server has sent may hold half a character of UTF-16.
        return json.dumps(body.model_dump())

    def _event(self, *choices: schemas.Schema, usage: schemas.Usage | None = None) -> str:
        """A piece of the stream."""
        body = self.piece(**self._head, choices=choices, usage=usage)
        return sse.event(body.model_dump(exclude=self._unsent))


class ChatFormat(Format):
    """``chat.completion`` and ``chat.completion.chunk``."""

    kind, piece = schemas.ChatCompletion, schemas.ChatCompletionChunk
    prefix, prompt = "chatcmpl", "messages"

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._readers = [CallReader(asked.toolbox) for _ in asked.requests]
        self._calls = [0] * len(asked.requests)  # that were told so far

    def first_chunk(self, index: int) -> str:
        return self._piece(index, schemas.Delta(role="assistant", content=""))

    def words(self, index: int, words: Words) -> str:
        odds = self._odds(words.odds) if words.odds else None
        if self.asked.toolbox.tools:
            found = self._readers[index].read(words.text)
            text = "".join(self._tell(index, each) for each in found)
            return text + (self._piece(index, schemas.Delta(), logprobs=odds) if odds else "")
        if not (words.text or odds):
            return ""
        return self._piece(index, schemas.Delta(content=words.text), logprobs=odds)

    def end_choice(self, index: int, facts: dict[str, Any]) -> str:
        text = ""
        if self.asked.toolbox.tools:
            text = "".join(self._tell(index, each) for each in self._readers[index].end())
        end = _end(facts, bool(self._calls[index]))
        return text + self._piece(index, schemas.Delta(), **end)

    def _tell(self, index: int, found: str | Call) -> str:
        """A piece with words, or those with a call: who is called, then the arguments."""
        if isinstance(found, str):
            return self._piece(index, schemas.Delta(content=found))
        number, self._calls[index] = self._calls[index], self._calls[index] + 1
        who = schemas.CalledFunction(name=found.name, arguments="")
        arguments = schemas.CalledFunction(arguments=found.arguments)
        pieces = (
            schemas.ToolCallPiece(index=number, id=found.id, type="function", function=who),
            schemas.ToolCallPiece(index=number, function=arguments),
        )
        return "".join(self._piece(index, schemas.Delta(tool_calls=[each])) for each in pieces)

    def _piece(self, index: int, delta: schemas.Delta, **more: Any) -> str:
        return self._event(schemas.ChatPiece(index=index, delta=delta, **more))

    def choice(self, index: int, answer: Answer) -> schemas.ChatChoice:
        message, calls = schemas.Message(content=answer.text), []
        if self.asked.toolbox.tools:
            reader = CallReader(self.asked.toolbox)
            found = [*reader.read(answer.text), *reader.end()]
            calls = [each for each in found if isinstance(each, Call)]
            words = "".join(each for each in found if isinstance(each, str))
            told = [
                schemas.ToolCall(
                    id=each.id,
                    function=schemas.CalledFunction(name=each.name, arguments=each.arguments),
                )
                for each in calls
            ]
            message = schemas.Message(content=words or None, tool_calls=told or None)
        return schemas.ChatChoice(
            index=index,
            message=message,
            logprobs=self._odds(answer.odds),
            **_end(answer.facts, bool(calls)),
        )

    def _odds(self, odds: Sequence[TokenOdds]) -> schemas.ChatLogprobs | None:
        """Each place with as many likeliest tokens as are asked for; None where none are."""
        count = self.asked.logprobs
        if count is None:
            return None
        return schemas.ChatLogprobs(
            content=[
                schemas.PlaceLogprobs(**_one(each), top_logprobs=list(map(_one, each.top[:count])))
                for each in odds
            ]
        )


class CompletionFormat(Format):
    """``text_completion``, whole and in pieces."""

    kind = piece = schemas.Completion
    prefix, prompt = "cmpl", "prompt"

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        count = len(asked.requests)
        self._offsets = [0] * count  # of what was said so far, in characters
        self._decoders = [getincrementaldecoder("utf-8")("replace") for _ in range(count)]

    def first_chunk(self, index: int) -> str:
        return ""

    def words(self, index: int, words: Words) -> str:
        odds = self._odds(index, words.odds) if words.odds else None
        return self._piece(index, words.text, logprobs=odds) if words.text or odds else ""

    def end_choice(self, index: int, facts: dict[str, Any]) -> str:
        return self._piece(index, "", **_end(facts))

    def _piece(self, index: int, text: str, **more: Any) -> str:
        return self._event(schemas.CompletionChoice(index=index, text=text, **more))

    def choice(self, index: int, answer: Answer) -> schemas.CompletionChoice:
        odds = self._odds(index, answer.odds)
        return schemas.CompletionChoice(
            index=index, text=answer.text, logprobs=odds, **_end(answer.facts)
        )

    def _odds(self, index: int, odds: Sequence[TokenOdds]) -> schemas.CompletionLogprobs | None:
        """The odds of the next tokens of a choice; None where none are asked for."""
        count = self.asked.logprobs
        if count is None:
            return None
        tokens = [_token(each) for each in odds]
        offsets = []
        for each in odds:
            offsets.append(self._offsets[index])
            if each.text:  # else it stands for nothing, as the token that begins a text
                self._offsets[index] += len(self._decoders[index].decode(each.bytes))
        return schemas.CompletionLogprobs(
            tokens=tokens,
            token_logprobs=[_number(each.logprob) for each in odds],
            # The token that was drawn is among them, be it likely or not.
            top_logprobs=[
                {_token(top): _number(top.logprob) for top in each.top[:count]}
                | {token: _number(each.logprob)}
                for token, each in zip(tokens, odds, strict=True)
            ],
            text_offset=offsets,
        )


def usage(facts: Iterable[dict[str, Any]], prompts: int) -> schemas.Usage | None:
    """What a request has taken, in tokens; a prompt counts once, however many answers it got.

    None where another server has answered that has not told its counts.

    Args:
        facts: of all choices, those to one prompt beside one another.
        prompts: how many there were.
    """
    facts = list(facts)
    if any(each[name] is None for each in facts for name in ("prompt_tokens", "completion_tokens")):
        return None
    firsts = facts[:: max(1, len(facts) // prompts)]
    prompt = sum(each["prompt_tokens"] for each in firsts)
    completion = sum(each["completion_tokens"] for each in facts)
    cached = sum(each["cached_tokens"] for each in firsts)
    return schemas.Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details=schemas.CachedTokens(cached_tokens=cached),
    )


def _end(facts: dict[str, Any], is_called: bool = False) -> dict[str, Any]:
    """The fields that say why a choice ends, and what has come besides words."""
    ends = {name: facts[name] for name in ("finish_reason", "left_out") if facts.get(name)}
    if is_called and ends.get("finish_reason") == "stop":
        ends["finish_reason"] = "tool_calls"
    return ends


def _one(odds: TokenOdds) -> dict[str, Any]:
    return {"token": odds.text, "logprob": _number(odds.logprob), "bytes": list(odds.bytes)}


def _token(odds: TokenOdds) -> str:
    """A token as a text; parts of a character as OpenAI writes them: ``bytes:\\xe2\\x80``."""
    try:
        return odds.bytes.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in odds.bytes)


def _number(logprob: float | None) -> float | None:
    return None if logprob is None else max(logprob, LEAST_LOGPROB)
