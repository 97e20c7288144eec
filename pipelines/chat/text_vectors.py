"""Embeddings: texts in, vectors of length 1 out."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from pipelines.chat.catalog import ChatCatalog
from pipelines.chat.context import ContextExceeded
from pipelines.chat.entries import CACHE_PREFIX, EMBED_PREFIX, ChatEntry
from pipelines.chat.events import Reading
from pipelines.chat.model_library import ModelLibrary
from pipelines.chat.requests import MAX_TEXT, STARTER
from pipelines.core.engine import StrictModel
from pipelines.core.errors import BadRequest, Busy, Stopped
from pipelines.core.events import Progress, Result

if TYPE_CHECKING:
    from pipelines.core.cache import ModelCache

MAX_INPUTS = 2_048
MAX_CHARACTERS = 4_000_000  # of all texts
AT_A_TIME = 32  # texts between two looks at whether to stop
_Token = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]
_Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
_Tokens = Annotated[tuple[_Token, ...], Field(min_length=1, max_length=MAX_TEXT)]


class EmbeddingRequest(StrictModel):
    """Texts to be embedded."""

    model: Annotated[str, Field(max_length=200, title="Model", description="Who reads.")] = STARTER
    inputs: Annotated[
        tuple[_Text | _Tokens, ...],
        Field(
            min_length=1,
            max_length=MAX_INPUTS,
            title="Texts",
            description="Texts, or tokens in numbers of the model's vocabulary.",
        ),
    ]
    dimensions: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000,
            title="Dimensions",
            description="How many of the first numbers are kept. Empty: all.",
        ),
    ] = None


def run(
    request: EmbeddingRequest, cache: ModelCache, stop: threading.Event
) -> Iterator[Progress | Reading | Result]:
    """Reads the texts. ``Result.data`` has ``vectors``, in the order of the texts, and the counts
    that answers have.

    Raises:
        Stopped: ``stop`` was set.
        UserError: a text is too long for the model, or the model cannot be had or has failed.
    """
    entry = ChatCatalog(cache.home, own=ModelLibrary(cache.home)).get(request.model)
    if entry.backend == "remote":
        raise BadRequest(
            "{model} runs on another server, which is not asked for embeddings.", model=entry.title
        ).at("model")
    prefix = EMBED_PREFIX if entry.backend == "llama.cpp" else CACHE_PREFIX
    name = prefix + entry.name
    yield from cache.warm(name, stop)
    model = None
    try:
        with cache.lease(name) as model:
            vectors: list[list[float]] = []
            tokens, count = 0, len(request.inputs)
            for start in range(0, count, AT_A_TIME):
                yield Reading(start, count)
                if stop.is_set():
                    raise Stopped
                texts = request.inputs[start : start + AT_A_TIME]
                _check_tokens(texts, model)
                try:
                    found, read = _embed(texts, model, entry, stop)
                except ContextExceeded as error:
                    raise _too_long(error, entry) from None
                vectors += found
                tokens += read
    finally:
        if model is not None and not model.alive:
            with contextlib.suppress(Busy):
                cache.release(name)
    yield Result(
        {
            "vectors": [_cut(each, request.dimensions, entry) for each in vectors],
            "prompt_tokens": tokens,
            "cached_tokens": 0,
            "completion_tokens": 0,
            "model": request.model,
        }
    )


def _embed(
    texts: Sequence[str | Sequence[int]], model: Any, entry: ChatEntry, stop: threading.Event
) -> tuple[list[list[float]], int]:
    if entry.backend == "llama.cpp":
        return model.embed(texts, stop)
    read = [model.complete_prompt(text) if isinstance(text, str) else [*text] for text in texts]
    return [model.embed(tokens, stop) for tokens in read], sum(map(len, read))


def _too_long(error: ContextExceeded, entry: ChatEntry) -> BadRequest:
    return BadRequest(
        "A text has {count} tokens; {model} reads at most {limit} of one. Cut it into shorter "
        "ones.",
        count=error.message.values["tokens"],
        model=entry.title,
        limit=error.message.values["limit"],
    ).at("inputs")


def _check_tokens(texts: Sequence[str | Sequence[int]], model: Any) -> None:
    """Raises BadRequest where the model's vocabulary has no such token."""
    for text in texts:
        worst = -1 if isinstance(text, str) else max(text)
        if worst >= model.vocabulary_size:
            raise BadRequest(
                "{field} names the token {token}; the vocabulary of {model} ends at {last}.",
                field="inputs",
                token=worst,
                model=model.entry.title,
                last=model.vocabulary_size - 1,
            ).at("inputs")


def _cut(vector: list[float], dimensions: int | None, entry: ChatEntry) -> list[float]:
    """The first numbers of a vector, of length 1 again."""
    if dimensions is None or dimensions == len(vector):
        return vector
    if dimensions > len(vector):
        raise BadRequest(
            "dimensions is {value}; the vectors of {model} have {limit}.",
            value=dimensions,
            model=entry.title,
            limit=len(vector),
        ).at("dimensions")
    kept = vector[:dimensions]
    length = math.sqrt(sum(number * number for number in kept)) or 1.0
    return [number / length for number in kept]
