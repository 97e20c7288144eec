"""What servers of OpenAI's protocol send, read so that nothing is taken for granted.

Of other people's servers every field may be null, missing, a list in the place of one object, or of
another type. Nothing here raises for that: what cannot be used is passed over, and what a person
would miss is noted.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from pipelines.chat.events import TokenOdds, Words
from pipelines.core.errors import tells_of_a_fault

MOST_TOKENS = 10**9  # a count beyond this is none
SHOWN = 300  # characters of a server's own words
_COUNTS = ("prompt_tokens", "completion_tokens", "prompt_tokens_details")
MAX_DEPTH = 20  # of parts within parts
_LENGTH = {
    "length", "max_tokens", "model_length", "max_output_tokens", "model_context_window_exceeded",
}  # fmt: skip
_FILTER = {
    "content_filter", "content_filtered", "safety", "sensitive", "recitation", "refusal", "spii",
    "prohibited_content", "blocklist", "guardrail_intervened",
}  # fmt: skip
# An answer that was given up: DeepSeek's, Zhipu's, vLLM's and SGLang's words, and a router's.
_BROKEN = {
    "abort", "aborted", "cancelled", "canceled", "timeout", "network_error",
    "server_error", "insufficient_system_resource",
}  # fmt: skip
# A delta's field → what a person is told that it was.
_NOT_WORDS = {
    "reasoning_content": "thoughts",
    "reasoning": "thoughts",
    "reasoning_details": "thoughts",
    "thinking": "thoughts",
    "tool_calls": "tool calls",
    "function_call": "tool calls",
    "images": "pictures",
    "audio": "sound",
}
_KINDS_OF_PART = {
    "thinking": "thoughts",
    "reasoning": "thoughts",
    "redacted_thinking": "thoughts",
    "tool_use": "tool calls",
    "tool_call": "tool calls",
    "image_url": "pictures",
    "image": "pictures",
    "audio": "sound",
    "input_audio": "sound",
}


class AnswerReader:
    """Reads the objects of one answer, in pieces or whole.

    Attributes:
        answers: whether the server has begun to answer, be it without words.
        began: whether any words or odds have come.
        reason: why it ended: ``"stop"``, ``"length"``, ``"content_filter"`` or ``"tool_calls"``;
            None as long as nothing has said so.
        complete: whether the server has said why it ended, and no words since.
        left_out: what has come besides words and is not handed on.
    """

    def __init__(self) -> None:
        self._usage: dict[str, Any] = {}
        self._half = ""  # of a character that UTF-16 writes in two, split between two pieces
        self._pieces: list[str] = []  # said by deltas, or by messages with the answer so far
        self._by_deltas = False
        self.answers = self.began = self.complete = False
        self.reason: str | None = None
        self.left_out: dict[str, None] = {}  # in the order of their coming

    def read(self, data: Mapping[str, Any]) -> Iterator[Words]:
        """The words in one object."""
        self._count(data.get("usage"))
        for choice in objects(data.get("choices")):
            if choice.get("index") not in (None, 0, "0"):  # one answer is asked for
                continue
            self._count(choice.get("usage"))
            text = "".join(self._texts(choice))
            odds = _odds(choice.get("logprobs"))
            if (reason := reason_of(choice.get("finish_reason"))) is not None:
                self.reason = reason
                text += self._rest()
            if text or odds or reason is not None:
                self.complete = reason is not None
            if text or odds:
                self.began = True
                yield Words(text, max(1, len(odds)), odds)

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens of the prompt, or None where the server has not told."""
        return count_in(self._usage.get("prompt_tokens")) or None

    @property
    def tokens(self) -> int | None:
        """Tokens of the answer, or None where the server has not told."""
        found = count_in(self._usage.get("completion_tokens"))
        return None if found == 0 and self.began else found

    @property
    def cached_tokens(self) -> int:
        details = self._usage.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        return min(count_in(cached) or 0, self.prompt_tokens or 0)

    @contextlib.contextmanager
    def ends_as_it_says(self) -> Iterator[None]:
        """What happens to the connection of an answer that is complete does not harm it."""
        try:
            yield
        except (httpx.HTTPError, httpx.StreamError, OSError):
            if not self.complete:
                raise

    def _count(self, usage: Any) -> None:
        """Keeps what a usage object tells, which may tell of one count at a time."""
        if isinstance(usage, dict):
            self._usage |= {name: usage[name] for name in _COUNTS if usage.get(name) is not None}

    def _texts(self, choice: Mapping[str, Any]) -> Iterator[str]:
        deltas, messages = objects(choice.get("delta")), objects(choice.get("message"))
        for piece in (*deltas, *messages):
            for name, kind in _NOT_WORDS.items():
                if piece.get(name):
                    self.left_out[kind] = None
        words = "".join(map(self._words, deltas))
        if words:  # a message beside them is the answer so far
            self._by_deltas = True
            self._pieces.append(words)
            yield self._pair_surrogates(words)
        elif messages:
            for message in messages:
                yield self._pair_surrogates(self._new_in(self._words(message)))
        elif not deltas:  # of a completion, or of a server that answers a conversation like one
            yield self._pair_surrogates(self._content(choice.get("text")))

    def _words(self, piece: Mapping[str, Any]) -> str:
        return self._content(piece.get("content")) + self._content(piece.get("refusal"))

    def _new_in(self, message: str) -> str:
        """What a message adds to what was said: some servers end a stream of pieces with the whole
        answer, others send the answer so far each time, and a few call the pieces messages."""
        said = "".join(self._pieces)
        new = message.removeprefix(said)
        if new == message and self._by_deltas and message.strip() in said:
            return ""  # said once more, without the blanks at its ends or in part
        self._pieces = [said, new]
        return new

    def _content(self, content: Any, depth: int = MAX_DEPTH) -> str:
        if content is None:
            return ""
        if isinstance(content, str):
            return content
        if isinstance(content, list) and depth:
            return "".join(self._content(each, depth - 1) for each in content)
        if isinstance(content, dict):
            for name in ("text", "refusal"):
                if isinstance(content.get(name), str):
                    return content[name]
            kind = content.get("type")
            kind = _KINDS_OF_PART.get(kind) if isinstance(kind, str) else None
            self.left_out[kind or "something that is no text"] = None
            return ""
        self.left_out["something that is no text"] = None
        return ""

    def _pair_surrogates(self, text: str) -> str:
        """The text with characters whole whose halves came in two pieces."""
        if not text:
            return ""
        text = self._half + text
        cut = len(text) - 1 if "\ud800" <= text[-1] <= "\udbff" else len(text)
        text, self._half = text[:cut], text[cut:]
        return _whole(text)

    def _rest(self) -> str:
        rest, self._half = self._half, ""
        return _whole(rest)


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects in ``value``: itself, or those of a list."""
    if isinstance(value, dict):
        return [value]
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def count_in(value: Any) -> int | None:
    """A count of tokens, or None where ``value`` is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= MOST_TOKENS else None


def reason_of(value: Any) -> str | None:
    """Why an answer ended, in the words of OpenAI's protocol; None where it has not."""
    if not isinstance(value, str) or not value:
        return None
    lowered = value.lower()
    if lowered in _LENGTH:
        return "length"
    if lowered in _FILTER:
        return "content_filter"
    return "tool_calls" if lowered in ("tool_calls", "function_call", "tool_use") else "stop"


def error_in(data: Mapping[str, Any]) -> Any:
    """The error that an object tells of, or None."""
    if data.get("error"):
        return data["error"]
    if data.get("object") == "error":  # as older servers of vLLM have it
        return dict(data)
    for choice in objects(data.get("choices")):
        if choice.get("error"):
            return choice["error"]
        reason = choice.get("finish_reason")
        if reason == "error":
            return "it ended with an error and did not say which"
        if isinstance(reason, str) and reason.lower() in _BROKEN:
            return f"it ended its answer early and says only “{reason}”"
    return None


def complaint_in(data: Mapping[str, Any]) -> Any:
    """What an object that is no answer complains of, as ``{"code": 1001, "msg": "…"}`` does."""
    if any(isinstance(data.get(name), dict | list) for name in ("data", "result", "output")):
        return None  # something has been made, in another protocol
    complains = any(words_of(data.get(name)) for name in ("message", "msg", "detail"))
    return dict(data) if complains else None


def words_of(error: Any) -> str:
    """What an error says, in the server's own words and in one line; may be empty."""
    return " ".join(_sentence_in(error, 4).split())[:SHOWN].rstrip(" .")


def _sentence_in(error: Any, depth: int) -> str:
    if isinstance(error, str):
        is_json, data = parse_json(error) if depth and error[:1] in ("{", "[") else (False, None)
        return (_sentence_in(data, depth - 1) if is_json else "") or _plain(error)
    if isinstance(error, list) and depth:
        return "; ".join(filter(None, (_sentence_in(each, depth - 1) for each in error[:3])))
    if not isinstance(error, dict) or not depth:
        return ""
    # What a router has been told by the server behind it.
    within = error.get("metadata")
    if isinstance(within, dict) and (found := _sentence_in(within.get("raw"), depth - 1)):
        return found
    for name in ("message", "msg", "detail", "error", "error_message", "title", "code", "type"):
        if found := _sentence_in(error.get(name), depth - 1):
            place = error.get("loc")  # of FastAPI: where in the body it is
            at = ".".join(str(each) for each in place[1:4]) if isinstance(place, list) else ""
            return f"{at}: {found}" if at else found
    return ""


def _plain(text: str) -> str:
    """A text without the tags of a page, which proxies answer with."""
    text = text[:5000].strip()
    if not text.startswith("<") or tells_of_a_fault(text[:20]):
        return text
    text = re.sub(r"<(script|style)\b[^<]*+</\1[^<>]*+>?", " ", text, flags=re.IGNORECASE)
    return re.sub(r"<[^<>]*+>?", " ", text)


def parse_json(text: str) -> tuple[bool, Any]:
    """Whether ``text`` is JSON, and what it holds."""
    try:
        return True, json.loads(text)
    except (ValueError, RecursionError):
        return False, None


def _whole(text: str) -> str:
    """Pairs of surrogates as the character that they stand for; a lone one as U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _odds(logprobs: Any) -> tuple[TokenOdds, ...]:
    if not isinstance(logprobs, dict):
        return ()
    if "tokens" not in logprobs:  # chat
        return tuple(found for each in objects(logprobs.get("content")) if (found := _one(each)))
    tokens, values = _list(logprobs["tokens"]), _list(logprobs.get("token_logprobs"))
    tops = _list(logprobs.get("top_logprobs"))
    found = []
    for at, token in enumerate(tokens):
        value = values[at] if at < len(values) else None
        top = tops[at] if at < len(tops) and isinstance(tops[at], dict) else {}
        if isinstance(token, str):
            others = (_odds_of(each, odds) for each, odds in top.items())
            rest = tuple(each for each in others if each.logprob is not None)
            found.append(_odds_of(token, value, top=rest))
    return tuple(found)


def _one(data: Mapping[str, Any]) -> TokenOdds | None:
    token = data.get("token")
    if not isinstance(token, str):
        return None
    tops = (_one(each) for each in objects(data.get("top_logprobs")))
    return _odds_of(token, data.get("logprob"), data.get("bytes"),
                    tuple(each for each in tops if each is not None))  # fmt: skip


def _odds_of(
    token: str, value: Any, data: Any = None, top: tuple[TokenOdds, ...] = ()
) -> TokenOdds:
    token = _whole(token)
    is_bytes = (
        isinstance(data, list)
        and data
        and all(type(each) is int and 0 <= each <= 255 for each in data)
    )
    return TokenOdds(token, _logprob(value), bytes(data) if is_bytes else token.encode(), top)


def _logprob(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value < 1:
        return None  # NaN is not less either
    return -math.inf if value < -1e30 else min(float(value), 0.0)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
