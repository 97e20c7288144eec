"""Tokens to text as they come: no half characters, no begun stop strings, no quadratic work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_WINDOW = 6  # tokens before the new ones that the decoder sees: spaces depend on what is before
_BROKEN = "\ufffd"  # what decodes to this at the end may be the begin of a character


class Detokenizer:
    """Turns one answer's tokens into text piece by piece.

    Args:
        tokenizer: has ``decode(ids)``.
        prompt: tokens before the answer.
        stops: strings before the first of which the text ends.

    Attributes:
        stopped: whether a stop string has come.
    """

    def __init__(self, tokenizer: Any, prompt: Sequence[int], stops: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._before = list(prompt[-_WINDOW:])  # decoded already
        self._new: list[int] = []  # not yet
        self._held = ""  # decoded, but may begin a stop string
        self._stops = [stop for stop in stops if stop]
        self.stopped = False

    def add(self, token: int) -> str:
        """The text that is certain now that ``token`` has come; may be empty."""
        self._new.append(token)
        before = self._decode(self._before)
        text = self._decode(self._before + self._new)[len(before) :]
        if text.endswith(_BROKEN) and len(self._new) < _WINDOW:
            return ""
        self._before = (self._before + self._new)[-_WINDOW:]
        self._new = []
        return self._release(text)

    def finish(self) -> str:
        """What was held back; called once, after the last token."""
        before = self._decode(self._before)
        text = self._decode(self._before + self._new)[len(before) :] if self._new else ""
        text, self._held = self._held + text, ""
        at = self._first_stop(text)
        if at is not None:
            self.stopped = True
            return text[:at]
        return text

    def _release(self, text: str) -> str:
        text = self._held + text
        at = self._first_stop(text)
        if at is not None:
            self.stopped, self._held = True, ""
            return text[:at]
        held = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def _first_stop(self, text: str) -> int | None:
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        return min(found, default=None)

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True)


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` may be the begin of ``stop``."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
