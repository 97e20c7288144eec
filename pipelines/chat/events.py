"""What a chat engine yields besides :class:`pipelines.core.events.Progress` and ``Result``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reading:
    """The prompt is being read.

    Attributes:
        done: tokens read so far, those that were in the cache already included.
        total: tokens of the prompt.
    """

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class TokenOdds:
    """One token and its probability.

    Attributes:
        text: what it stands for; may be part of a character (see ``bytes``).
        logprob: natural logarithm of its probability before temperature and cuts; None where it is
            not known, as of a text's first token.
        bytes: what it stands for, UTF-8, whole or part of a character.
        top: the likeliest tokens at its place with theirs, likeliest first.
    """

    text: str
    logprob: float | None
    bytes: bytes
    top: tuple[TokenOdds, ...] = ()


@dataclass(frozen=True, slots=True)
class Words:
    """What was said since the last one: never half a character, never part of a stop string.

    Attributes:
        text: may be empty, when a token is only the begin of a character.
        tokens: how many were made for it.
        odds: of those tokens, when they were asked for.
    """

    text: str
    tokens: int
    odds: tuple[TokenOdds, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a backend.

    Attributes:
        reason: ``"stop"``: the model or a stop string ended it; ``"length"``: a limit did; of other
            servers also ``"content_filter"``.
        prompt_tokens: of the whole prompt; None where another server has not told.
        cached_tokens: of those, how many need not be read again.
        tokens: that were made; None where another server has not told.
        prompt_seconds: spent reading.
        seconds: spent writing.
        left_out: what has come from another server besides words, such as ``"thoughts"``.
    """

    reason: str
    prompt_tokens: int | None
    cached_tokens: int
    tokens: int | None
    prompt_seconds: float
    seconds: float
    left_out: tuple[str, ...] = ()
