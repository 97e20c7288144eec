"""Models on another server that speaks OpenAI's protocol: vLLM, llama-server, Ollama, FastChat …

Where address and key come from is the owner's file in ``<home>/chat/``, never a request. This is
how one outgrows the machine: tensor parallelism and distribution are that server's business.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from pipelines.chat.catalog import ChatEntry
from pipelines.chat.context import ContextExceeded
from pipelines.chat.events import Finished, Reading, TokenOdds, Words
from pipelines.chat.hanging_up import hung_up_at
from pipelines.chat.requests import ChatMessage, ChatRequest, CompletionRequest
from pipelines.errors import Busy, Refused, Stopped, Unavailable, UserError

CONNECT_SECONDS = 10.0
_CHARACTERS = 4  # of English a token, about


def about_tokens(messages: Sequence[ChatMessage]) -> int:
    """A guess at the tokens of a conversation whose tokenizer is elsewhere."""
    return sum(math.ceil(len(message.content) / _CHARACTERS) + 4 for message in messages)


class Remote:
    """A client of one model on another server.

    Args:
        entry: of the backend ``remote``.
    """

    def __init__(self, entry: ChatEntry) -> None:
        self.entry = entry
        self._model = entry.remote_model or entry.name

    def answer(
        self, request: ChatRequest | CompletionRequest, stop: threading.Event
    ) -> Iterator[Reading | Words | Finished]:
        """Asks the server; the last event is :class:`Finished`.

        Raises:
            Stopped: ``stop`` was set; the connection is closed then.
            ContextExceeded, Refused, Busy, Unavailable: what the server says, or that it cannot be
                reached, does not answer in time, or breaks off.
        """
        chat = isinstance(request, ChatRequest)
        path = "/chat/completions" if chat else "/completions"
        start, first, tokens = time.monotonic(), None, 0
        reason, usage = None, {}
        with self._failing(stop), self._client() as client:
            body = self._body(request)
            with client.stream("POST", path, json=body) as response, hung_up_at(stop, response):
                if response.status_code != httpx.codes.OK:
                    raise self._said(response)
                for data in _events(response, stop):
                    if "error" in data:
                        raise self._error(data["error"], 500)
                    usage = data.get("usage") or usage
                    for choice in data.get("choices", ()):
                        if (words := _words(choice, chat)) is not None:
                            first = first or time.monotonic()
                            tokens += words.tokens
                            yield words
                        reason = choice.get("finish_reason") or reason
        if stop.is_set():
            raise Stopped
        if reason is None:
            raise Unavailable(
                "{model} broke off in the middle of its answer. Send the message again, or "
                "continue the answer.",
                model=self.entry.title,
            )
        end = time.monotonic()
        details = usage.get("prompt_tokens_details") or {}
        yield Finished(
            "length" if reason == "length" else "stop",
            prompt_tokens=usage.get("prompt_tokens", 0),
            cached_tokens=details.get("cached_tokens", 0),
            tokens=usage.get("completion_tokens", tokens),
            prompt_seconds=(first or end) - start,
            seconds=end - (first or end),
        )

    def _body(self, request: ChatRequest | CompletionRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
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
        if isinstance(request, ChatRequest):
            body["messages"] = [message.model_dump() for message in request.messages]
            if request.logprobs is not None:
                body |= {"logprobs": True, "top_logprobs": request.logprobs}
        else:
            body["prompt"] = request.prompt
            if request.logprobs is not None:
                body["logprobs"] = request.logprobs
        if self.entry.extensions:
            penalty = request.repetition_penalty
            body |= {"top_k": request.top_k, "min_p": request.min_p}
            # vLLM's and Atelier's name, and llama.cpp's.
            body |= {"repetition_penalty": penalty, "repeat_penalty": penalty}
            if isinstance(request, ChatRequest) and request.continue_last:
                # vLLM's and Atelier's names; llama.cpp goes on by itself.
                body |= {"continue_final_message": True, "add_generation_prompt": False}
        return body

    def _client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.entry.key}"} if self.entry.key else {}
        timeout = httpx.Timeout(self.entry.timeout, connect=CONNECT_SECONDS)
        return httpx.Client(
            base_url=self.entry.url, headers=headers, timeout=timeout, follow_redirects=False
        )

    @contextlib.contextmanager
    def _failing(self, stop: threading.Event) -> Iterator[None]:
        """Says what is wrong with the connection."""
        try:
            yield
        except (httpx.HTTPError, httpx.StreamError, OSError, ValueError) as error:
            if stop.is_set():
                raise Stopped from error
            if isinstance(error, httpx.ReadTimeout):
                raise Unavailable(
                    "The server of {model} has said nothing for {seconds} seconds. It may be "
                    "overloaded; try again, or raise timeout in the model's file.",
                    model=self.entry.title,
                    seconds=round(self.entry.timeout),
                ) from error
            raise Unavailable(
                "The server of {model} cannot be reached ({reason}). Start it, or correct the url "
                "in the model's file.",
                model=self.entry.title,
                reason=str(error) or type(error).__name__,
            ) from error

    def _said(self, response: httpx.Response) -> UserError:
        text = response.read().decode("utf-8", "replace")
        try:
            error = json.loads(text)
        except ValueError:
            error = text
        return self._error(error, response.status_code)

    def _error(self, error: Any, status: int) -> UserError:
        """The server's refusal, in its own words."""
        while isinstance(error, dict) and "error" in error:
            error = error["error"]
        fields = error if isinstance(error, dict) else {"message": str(error)}
        reason = str(fields.get("message") or fields.get("detail") or fields)[:500].rstrip(".")
        status = fields["code"] if isinstance(fields.get("code"), int) else status
        code = f"{fields.get('code')} {fields.get('type')}"
        values = {"model": self.entry.title, "reason": reason}
        if "context_length_exceeded" in code or "exceed_context_size" in code:
            return ContextExceeded("{model} refuses the prompt: {reason}.", **values)
        if status in (401, 403):
            return Refused(
                "The server of {model} does not take the key ({reason}). Correct api_key in the "
                "model's file.",
                **values,
            )
        if status == 429:
            return Busy("The server of {model} is busy: {reason}. Try again later.", **values)
        return Unavailable("The server of {model} could not answer: {reason}.", **values)


def _events(response: httpx.Response, stop: threading.Event) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if stop.is_set():
            raise Stopped
        if not line.startswith("data:"):
            continue
        text = line[5:].strip()
        if text == "[DONE]":
            return
        data = json.loads(text)
        if isinstance(data, dict):
            yield data


def _words(choice: dict[str, Any], chat: bool) -> Words | None:
    text = (choice.get("delta") or {}).get("content") if chat else choice.get("text")
    odds = _odds(choice.get("logprobs") or {})
    if not text and not odds:
        return None
    return Words(text or "", max(1, len(odds)), odds)


def _odds(logprobs: dict[str, Any]) -> tuple[TokenOdds, ...]:
    if "content" in logprobs:  # chat
        return tuple(_one(each) for each in logprobs["content"] or ())
    tokens = logprobs.get("tokens") or ()  # completions
    values = logprobs.get("token_logprobs") or ()
    tops = logprobs.get("top_logprobs") or [{}] * len(tokens)
    return tuple(
        TokenOdds(
            token,
            value,
            token.encode(),
            tuple(TokenOdds(each, odds, each.encode()) for each, odds in (top or {}).items()),
        )
        for token, value, top in zip(tokens, values, tops, strict=False)
    )


def _one(data: dict[str, Any]) -> TokenOdds:
    return TokenOdds(
        data["token"],
        data["logprob"],
        bytes(data["bytes"]) if data.get("bytes") else data["token"].encode(),
        tuple(_one(each) for each in data.get("top_logprobs") or ()),
    )
