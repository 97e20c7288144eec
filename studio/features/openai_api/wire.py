"""What goes out: answers and their pieces as OpenAI's JSON."""

from __future__ import annotations

import json
import secrets
import time
from abc import ABC, abstractmethod
from codecs import getincrementaldecoder
from collections.abc import Iterable, Sequence
from typing import Any

from pipelines.chat.events import TokenOdds, Words
from studio.api import sse
from studio.features.openai_api.bodies import Asked
from studio.features.openai_api.running import Answer

DONE = sse.event("[DONE]")
GOES_ON: dict[str, Any] = {"finish_reason": None}
LEAST_LOGPROB = -9999.0  # OpenAI's number for what is all but impossible; JSON has no infinity


class Format(ABC):
    """How the answers to one request are written; a subclass for chat and one for completions.

    Args:
        asked: the request.
    """

    kind: str  # of the whole answer
    piece: str  # of a piece of it
    prefix: str  # of ids
    prompt: str  # the field that the prompt comes in

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self._head = {
            "id": f"{self.prefix}-{secrets.token_urlsafe(16)}",
            "created": int(time.time()),
            "model": asked.model,
        }
        # OpenAI's pieces have the field usage only where it is asked for, null but in the last.
        self._usage = asked.form.stream and asked.form.stream_options.include_usage
        count = len(asked.requests)
        self._offsets = [0] * count  # of what was said so far, in characters
        self._decoders = [getincrementaldecoder("utf-8")("replace") for _ in range(count)]

    @abstractmethod
    def first_chunk(self, index: int) -> str:
        """The first piece of a choice; may be empty."""

    @abstractmethod
    def words(self, index: int, words: Words) -> str:
        """The next piece of a choice; empty where it would say nothing."""

    @abstractmethod
    def ending(self, index: int, facts: dict[str, Any]) -> str:
        """The last piece of a choice: why it ends."""

    @abstractmethod
    def choice(self, index: int, answer: Answer) -> dict[str, Any]:
        """A choice of the whole answer."""

    def closing(self, facts: Iterable[dict[str, Any]]) -> str:
        """What ends the stream once all choices have."""
        if not self._usage:
            return DONE
        return self._event([], usage(facts, len(self.asked.requests) // self.asked.form.n)) + DONE

    def whole(self, answers: Sequence[Answer]) -> str:
        """The whole answer."""
        body = {
            **self._head,
            "object": self.kind,
            "choices": [self.choice(index, answer) for index, answer in enumerate(answers)],
            "usage": usage(
                [answer.facts for answer in answers],
                len(self.asked.requests) // self.asked.form.n,
            ),
        }
        # In ASCII: what another server has sent may hold half a character of UTF-16.
        return json.dumps(body)

    def _event(self, choices: list[dict[str, Any]], used: dict[str, Any] | None = None) -> str:
        """A piece of the stream."""
        body = {**self._head, "object": self.piece, "choices": choices}
        return sse.event(body | ({"usage": used} if self._usage else {}))


class ChatFormat(Format):
    """``chat.completion`` and ``chat.completion.chunk``."""

    kind, piece, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"
    prompt = "messages"

    def first_chunk(self, index: int) -> str:
        return self._piece(index, {"role": "assistant", "content": ""})

    def words(self, index: int, words: Words) -> str:
        odds = None
        if self.asked.logprobs is not None and words.odds:
            odds = chat_odds(words.odds, self.asked.logprobs)
        return self._piece(index, {"content": words.text}, odds) if words.text or odds else ""

    def ending(self, index: int, facts: dict[str, Any]) -> str:
        return self._piece(index, {}, end=_end(facts))

    def _piece(
        self,
        index: int,
        delta: dict[str, str],
        odds: dict[str, Any] | None = None,
        end: dict[str, Any] = GOES_ON,
    ) -> str:
        return self._event([{"index": index, "delta": delta, "logprobs": odds, **end}])

    def choice(self, index: int, answer: Answer) -> dict[str, Any]:
        asked = self.asked.logprobs
        return {
            "index": index,
            "message": {"role": "assistant", "content": answer.text, "refusal": None},
            "logprobs": None if asked is None else chat_odds(answer.odds, asked),
            **_end(answer.facts),
        }


class CompletionFormat(Format):
    """``text_completion``, whole and in pieces."""

    kind = piece = "text_completion"
    prefix, prompt = "cmpl", "prompt"

    def first_chunk(self, index: int) -> str:
        return ""

    def words(self, index: int, words: Words) -> str:
        odds = None
        if self.asked.logprobs is not None and words.odds:
            odds = self._odds(index, words.odds)
        return self._piece(index, words.text, odds) if words.text or odds else ""

    def ending(self, index: int, facts: dict[str, Any]) -> str:
        return self._piece(index, "", end=_end(facts))

    def _piece(
        self,
        index: int,
        text: str,
        odds: dict[str, Any] | None = None,
        end: dict[str, Any] = GOES_ON,
    ) -> str:
        return self._event([{"index": index, "text": text, "logprobs": odds, **end}])

    def choice(self, index: int, answer: Answer) -> dict[str, Any]:
        return {
            "index": index,
            "text": answer.text,
            "logprobs": None if self.asked.logprobs is None else self._odds(index, answer.odds),
            **_end(answer.facts),
        }

    def _odds(self, index: int, odds: Sequence[TokenOdds]) -> dict[str, Any]:
        tokens = [_token(each) for each in odds]
        offsets = []
        for each in odds:
            offsets.append(self._offsets[index])
            if each.text:  # else it stands for nothing, as the token that begins a text
                self._offsets[index] += len(self._decoders[index].decode(each.bytes))
        return {
            "tokens": tokens,
            "token_logprobs": [_number(each.logprob) for each in odds],
            # The token that was drawn is among them, be it likely or not.
            "top_logprobs": [
                {_token(top): _number(top.logprob) for top in each.top[: self.asked.logprobs]}
                | {token: _number(each.logprob)}
                for token, each in zip(tokens, odds, strict=True)
            ],
            "text_offset": offsets,
        }


def chat_odds(odds: Sequence[TokenOdds], count: int) -> dict[str, Any]:
    """``logprobs`` of a chat's choice, with the ``count`` likeliest tokens at each place."""
    return {
        "content": [
            {**_one(each), "top_logprobs": [_one(top) for top in each.top[:count]]} for each in odds
        ],
        "refusal": None,
    }


def usage(facts: Iterable[dict[str, Any]], prompts: int) -> dict[str, Any] | None:
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
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(each["cached_tokens"] for each in firsts)},
    }


def _end(facts: dict[str, Any]) -> dict[str, Any]:
    """Why a choice ends; and by Atelier's own name what another server has sent besides words."""
    end = {"finish_reason": facts["finish_reason"]}
    return end | ({"left_out": facts["left_out"]} if facts.get("left_out") else {})


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
