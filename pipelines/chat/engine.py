"""The chat engine: a conversation or a prompt in, words as they come out.

One entry for all backends. What runs here is leased from the model cache; a remote server is asked
directly.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipelines.chat import text_vectors
from pipelines.chat.backends.remote_fields import unsent_fields
from pipelines.chat.catalog import ChatCatalog
from pipelines.chat.context import context_exceeded, fit
from pipelines.chat.entries import CACHE_PREFIX, ChatEntry
from pipelines.chat.events import Finished, Reading, TokenOdds, Words
from pipelines.chat.model_library import ModelLibrary
from pipelines.chat.requests import (
    MAX_ANSWER,
    MAX_SEED,
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    Sampling,
)
from pipelines.chat.templates import arrangements
from pipelines.chat.text_vectors import EmbeddingRequest
from pipelines.core.errors import BadRequest, Busy, Unavailable
from pipelines.core.events import Progress, Result

if TYPE_CHECKING:
    from pipelines.core.cache import ModelCache

# What a model's file leaves open: the plain softmax, as the OpenAI protocol has it.
PLAIN = Sampling(temperature=1.0, top_p=1.0, top_k=0, min_p=0.0, repetition_penalty=1.0)


def run(
    request: ChatRequest | CompletionRequest | EmbeddingRequest,
    cache: ModelCache,
    stop: threading.Event,
) -> Iterator[Progress | Reading | Words | Result]:
    """Answers ``request``; see :mod:`pipelines.chat.events` for what is yielded.

    ``Result.data`` has ``finish_reason`` (``"stop"`` or ``"length"``), ``prompt_tokens``,
    ``cached_tokens``, ``completion_tokens``, ``prompt_seconds``, ``seconds`` (of writing),
    ``first_token_seconds``, ``tokens_per_second``, ``dropped`` (messages left out),
    ``context_length``, ``model`` and ``seed``. Of another server counts may be None, as the seed
    where it is not sent; ``left_out`` (what came besides words) and ``not_sent`` (fields that were
    asked for, by the request's names) are there where they hold something, joined by commas.

    Raises:
        Stopped: ``stop`` was set.
        ContextExceeded: the prompt does not fit and must not be shortened, or cannot be.
        UserError: the model cannot be had, or has failed.
    """
    if isinstance(request, EmbeddingRequest):
        yield from text_vectors.run(request, cache, stop)
        return
    entry = ChatCatalog(cache.home, own=ModelLibrary(cache.home)).get(request.model)
    not_sent = unsent_fields(request, entry)
    if request.json_schema is not None and entry.backend == "transformers":
        raise BadRequest(
            "{model} cannot be held to a JSON schema: only GGUF models and other servers can.",
            model=entry.title,
        ).at("json_schema")
    request, spaces = _without_spaces(resolve(request, entry))
    if entry.backend == "remote":
        from pipelines.chat.backends.remote import Remote

        events = _after_spaces(Remote(entry).answer(request, stop), spaces)
        if isinstance(request, CompletionRequest) and request.echoes_text:
            events = _put_prompt_first(request.prompt, events)
        more: dict[str, Any] = {"not_sent": ", ".join(not_sent)} if not_sent else {}
        if "seed" in entry.omit_fields:
            more["seed"] = None
        yield from _with_progress(request, events, entry.context_length, 0, more)
        return
    name = CACHE_PREFIX + entry.name
    yield from _warm_up(name, cache, stop)
    model = None
    try:
        with cache.lease(name) as model:
            prompt, dropped = _prompt(request, model)
            _check_tokens([*request.logit_bias], model, "logit_bias")
            events = _after_spaces(_answer(request, prompt, model, stop), spaces)
            if request.json_schema is not None:
                events = _check_json(request, events)
            yield from _with_progress(request, events, model.context_length, dropped)
    finally:
        if model is not None and not model.alive:
            with contextlib.suppress(Busy):  # whoever leases it still will be the one
                cache.release(name)


def _warm_up(name: str, cache: ModelCache, stop: threading.Event) -> Iterator[Progress]:
    """Loads a model that is not in the cache, or whose worker has ended or lost its socket."""
    yield from cache.warm(name, stop)
    with cache.lease(name) as model:
        alive = model.alive
    if not alive:
        with contextlib.suppress(Busy):  # others still wait for its answer, and release it then
            cache.release(name)
        yield from cache.warm(name, stop)


def resolve(
    request: ChatRequest | CompletionRequest, entry: ChatEntry
) -> ChatRequest | CompletionRequest:
    """The request with what it leaves open: sampling by the model's file, a drawn seed."""
    update: dict[str, Any] = {
        name: next(
            value
            for value in (getattr(each, name) for each in (request, entry.sampling, PLAIN))
            if value is not None
        )
        for name in Sampling.model_fields
    }
    if request.seed < 0:
        update["seed"] = secrets.randbelow(MAX_SEED + 1)
    return request.model_copy(update=update)


def _without_spaces(
    request: ChatRequest | CompletionRequest,
) -> tuple[ChatRequest | CompletionRequest, int]:
    """An answer to be gone on with, without the spaces at its end; and how many those were.

    A word's token begins with the space before it: after a space of its own, a model can only go on
    with what never follows one, mostly a number.
    """
    if not isinstance(request, ChatRequest) or not request.continue_last:
        return request, 0
    *before, last = request.messages
    text = last.content.rstrip(" ")
    shorter = last.model_copy(update={"content": text})
    update = {"messages": (*before, shorter)}
    return request.model_copy(update=update), len(last.content) - len(text)


def _after_spaces(
    events: Iterator[Reading | Words | Finished], spaces: int
) -> Iterator[Reading | Words | Finished]:
    """The events without as many spaces at the beginning of what is said: they stand there."""
    for event in events:
        if spaces and isinstance(event, Words) and event.text:
            text = event.text
            rest = text[min(spaces, len(text) - len(text.lstrip(" "))) :]
            spaces = 0 if rest else spaces - len(text)
            event = replace(event, text=rest)
        yield event


def _prompt(request: ChatRequest | CompletionRequest, model: Any) -> tuple[Sequence[int], int]:
    """The prompt's tokens, and how many messages were left out to make it fit."""
    limit = model.context_length
    if isinstance(request, CompletionRequest):
        if request.prompt_tokens is None:
            prompt = model.complete_prompt(request.prompt)
        else:
            prompt = [*request.prompt_tokens]
            _check_tokens(prompt, model, "prompt")
        if not prompt:
            raise BadRequest(
                "The prompt is empty, and {model} needs something to go on with.",
                model=model.entry.title,
            ).at("prompt")
        if len(prompt) >= limit:
            raise context_exceeded(len(prompt), limit)
        return prompt, 0
    messages, dropped = request.messages, 0
    if request.overflow == "drop":
        messages, dropped = fit(
            messages,
            lambda some: len(_tokens(some, request, model)),
            limit,
            request.max_new_tokens,
        )
    prompt = _tokens(messages, request, model)
    if len(prompt) >= limit:
        raise context_exceeded(len(prompt), limit)
    return prompt, dropped


def _tokens(messages: Sequence[ChatMessage], request: ChatRequest, model: Any) -> list[int]:
    """The tokens of a conversation, put as the model's chat template takes it.

    Raises:
        BadRequest: it takes it in no way; of the conversation as it is.
    """
    refused: BadRequest | None = None
    for arranged in arrangements(messages):
        try:
            return model.prompt(arranged, request.continue_last)
        except BadRequest as error:
            refused = refused or error
    raise refused


def _check_tokens(tokens: Sequence[int], model: Any, field: str) -> None:
    """Raises BadRequest where the model's vocabulary has no such token."""
    for token in tokens:
        if token >= model.vocabulary_size:
            raise BadRequest(
                "{field} names the token {token}; the vocabulary of {model} ends at {last}.",
                field=field,
                token=token,
                model=model.entry.title,
                last=model.vocabulary_size - 1,
            ).at(field)


def _answer(
    request: ChatRequest | CompletionRequest,
    prompt: Sequence[int],
    model: Any,
    stop: threading.Event,
) -> Iterator[Reading | Words | Finished]:
    """What the model says, behind the prompt where that is to be repeated."""
    if not isinstance(request, CompletionRequest):
        yield from model.generate(prompt, request, stop)
        return
    if request.echo:
        yield from _echo(request, prompt, model, stop)
    if request.max_new_tokens != 0:
        yield from model.generate(prompt, request, stop)
        return
    yield Finished("length", len(prompt), 0, 0, prompt_seconds=0.0, seconds=0.0)


def _check_json(
    request: ChatRequest | CompletionRequest, events: Iterator[Reading | Words | Finished]
) -> Iterator[Reading | Words | Finished]:
    """The events of an answer that is JSON where it has ended by itself; raises Unavailable."""
    texts = [request.messages[-1].content] if getattr(request, "continue_last", False) else []
    for event in events:
        if isinstance(event, Words):
            texts.append(event.text)
        elif isinstance(event, Finished) and event.reason == "stop" and not request.stop:
            try:
                json.loads("".join(texts))
            except ValueError:
                raise Unavailable(
                    "{model} could not be held to the JSON schema. Simplify it, or choose another "
                    "model.",
                    model=request.model,
                ) from None
        yield event


def _echo(
    request: CompletionRequest, prompt: Sequence[int], model: Any, stop: threading.Event
) -> Iterator[Reading | Words]:
    """The prompt as words that were not made, with its tokens' odds where they are asked for."""
    odds: list[TokenOdds] = []
    if request.logprobs is not None:
        for event in model.prompt_odds(prompt, request.logprobs, stop):
            if isinstance(event, TokenOdds):
                odds.append(event)
            else:
                yield event
    tokens = request.prompt_tokens
    text = request.prompt if tokens is None else model.text_of(tokens)
    if odds and not text.startswith(odds[0].text):  # what the tokenizer puts before every text
        odds[0] = replace(odds[0], text="")
    yield Words(text, 0, tuple(odds))


def _put_prompt_first(
    prompt: str, events: Iterator[Reading | Words | Finished]
) -> Iterator[Reading | Words | Finished]:
    """The events with the prompt before them, once there are any."""
    for number, event in enumerate(events):
        if number == 0:
            yield Words(prompt, 0)
        yield event


def _within_length(
    request: ChatRequest | CompletionRequest, events: Iterator[Reading | Words | Finished]
) -> Iterator[Reading | Words | Finished]:
    """The events of an answer that has at most :data:`MAX_ANSWER` characters with what it goes on
    from.

    A model that repeats itself where no length is asked for, or a server that heeds none, would
    else fill the memory and the disk.
    """
    room, tokens, first = MAX_ANSWER, 0, None
    if isinstance(request, ChatRequest) and request.continue_last:
        room -= len(request.messages[-1].content)
    for event in events:
        if isinstance(event, Words):
            first = first or time.monotonic()
            tokens += event.tokens
            # What has odds takes room though it has no words.
            if (taken := max(len(event.text), len(event.odds))) >= room:
                yield replace(event, text=event.text[:room])
                break
            room -= taken
        yield event
    else:
        return
    events.close()
    yield Finished("length", None, 0, tokens, 0.0, time.monotonic() - first)


def _with_progress(
    request: ChatRequest | CompletionRequest,
    events: Iterator[Reading | Words | Finished],
    context_length: int,
    dropped: int,
    more: Mapping[str, Any] | None = None,
) -> Iterator[Reading | Words | Result]:
    """A backend's events, its :class:`Finished` as a result with what is known here.

    Args:
        more: facts that count before the others.
    """
    start, first = time.monotonic(), None
    for event in _within_length(request, events):
        if isinstance(event, Finished):
            yield Result(
                {
                    "finish_reason": event.reason,
                    "prompt_tokens": event.prompt_tokens,
                    "cached_tokens": event.cached_tokens,
                    "completion_tokens": event.tokens,
                    "prompt_seconds": event.prompt_seconds,
                    "seconds": event.seconds,
                    "first_token_seconds": first,
                    "tokens_per_second": (
                        event.tokens / event.seconds if event.tokens and event.seconds else None
                    ),
                    "dropped": dropped,
                    "context_length": context_length,
                    "model": request.model,
                    "seed": request.seed,
                    **({"left_out": ", ".join(event.left_out)} if event.left_out else {}),
                    **(more or {}),
                }
            )
            return
        if isinstance(event, Words) and event.tokens and first is None:
            first = time.monotonic() - start
        yield event
