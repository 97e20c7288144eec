"""The chat engine: a conversation or a prompt in, words as they come out.

One entry for all backends. What runs here is leased from the model cache; a remote server is asked
directly.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipelines.chat.catalog import CACHE_PREFIX, ChatCatalog, ChatEntry
from pipelines.chat.context import exceeded, fit
from pipelines.chat.events import Finished, Reading, Words
from pipelines.chat.remote_fields import unsent_fields
from pipelines.chat.requests import (
    MAX_SEED,
    ChatRequest,
    CompletionRequest,
    Sampling,
    about_tokens,
)
from pipelines.errors import Busy
from pipelines.events import Progress, Result

if TYPE_CHECKING:
    from pipelines.cache import ModelCache

# What a model's file leaves open: the plain softmax, as the OpenAI protocol has it.
PLAIN = Sampling(temperature=1.0, top_p=1.0, top_k=0, min_p=0.0, repetition_penalty=1.0)


def run(
    request: ChatRequest | CompletionRequest, cache: ModelCache, stop: threading.Event
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
    entry = ChatCatalog(cache.home).get(request.model)
    not_sent = unsent_fields(request, entry)
    request, spaces = _without_spaces(resolved(request, entry))
    if entry.backend == "remote":
        from pipelines.chat.remote import Remote

        events = _after_spaces(Remote(entry).answer(request, stop), spaces)
        more: dict[str, Any] = {"not_sent": ", ".join(not_sent)} if not_sent else {}
        if "seed" in entry.omit_fields:
            more["seed"] = None
        yield from _told(request, events, entry.context_length, 0, more)
        return
    name = CACHE_PREFIX + entry.name
    yield from cache.warm(name, stop)
    model = None
    try:
        with cache.lease(name) as model:
            prompt, dropped = _prompt(request, model)
            events = _after_spaces(model.generate(prompt, request, stop), spaces)
            yield from _told(request, events, model.context_length, dropped)
    finally:
        if model is not None and not model.alive:
            with contextlib.suppress(Busy):  # whoever leases it still will be the one
                cache.release(name)


def resolved(
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


def count(request: ChatRequest, cache: ModelCache) -> tuple[int, int]:
    """Tokens of a conversation's whole prompt, and of the model's context.

    The model is loaded for that; raises as :func:`run` does.
    """
    entry = ChatCatalog(cache.home).get(request.model)
    if entry.backend == "remote":
        return about_tokens(request), entry.context_length
    with cache.lease(CACHE_PREFIX + entry.name) as model:
        return len(model.prompt(request.messages, request.continue_last)), model.context_length


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
        prompt = model.complete_prompt(request.prompt)
        if len(prompt) >= limit:
            raise exceeded(len(prompt), limit)
        return prompt, 0
    messages, dropped = request.messages, 0
    if request.overflow == "drop":
        messages, dropped = fit(
            messages,
            lambda some: len(model.prompt(some, request.continue_last)),
            limit,
            request.max_new_tokens,
        )
    prompt = model.prompt(messages, request.continue_last)
    if len(prompt) >= limit:
        raise exceeded(len(prompt), limit)
    return prompt, dropped


def _told(
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
    for event in events:
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
        if isinstance(event, Words) and first is None:
            first = time.monotonic() - start
        yield event
