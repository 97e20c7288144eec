"""An answer while it is written, as those who watch it see it: without the database."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.chat.events import Reading, Words
from pipelines.core.events import Progress
from pipelines.core.messages import Message

Phase = Literal["loading", "reading", "writing", "ended"]
RATE_SECONDS = 3.0  # over which tokens per second are counted
RATE_AFTER = 0.5  # seconds of writing before which their number says nothing


@dataclass(frozen=True, slots=True)
class AnswerView:
    """An answer at one moment.

    Attributes:
        version: rises with every change; what has the same version looks the same.
        phase: ``loading`` the model (or waiting for it), ``reading`` the prompt, ``writing``, or
            ``ended``: what became of it stands in the database by then.
        phase_seconds: since the phase began.
        note: what is being done while loading, or None.
        step, total: of loading; 0 of 0 where it is not known.
        read, to_read: tokens of the prompt.
        text: the words from the asked character on.
        characters: of all words so far, those that were there before it was gone on with included.
        tokens: made so far.
        tokens_per_second: over the last seconds; None until it can be told.
        first_token_seconds: from the begin of reading to the first token; None until then.
    """

    version: int
    phase: Phase
    phase_seconds: float
    note: Message | None
    step: int
    total: int
    read: int
    to_read: int
    text: str
    characters: int
    tokens: int
    tokens_per_second: float | None
    first_token_seconds: float | None


class AnswerProgress:
    """Fed by the thread that runs the engine, looked at by any other.

    Words are kept in pieces: neither adding some nor asking for the new ones touches the rest.

    Args:
        begun: the words that there are already, of an answer that is gone on with.
    """

    def __init__(self, begun: str = "") -> None:
        self._changed = threading.Condition()  # guards all of this
        self._pieces = [begun] if begun else []
        self._characters = len(begun)
        self._unkept: list[str] = []
        self._joined: tuple[int, str] = (0, "")  # of how many pieces
        self._version, self._phase, self._note = 0, "loading", None
        self._step = self._total = self._read = self._to_read = self._tokens = 0
        self._asked = self._phase_began = time.monotonic()
        self._first: float | None = None
        self._last: float | None = None
        self._recent: deque[tuple[float, int]] = deque()
        self._recent_tokens = 0  # the sum of these

    # --- the engine's side ------------------------------------------------------------------

    def saw(self, event: Progress | Reading | Words) -> None:
        """Takes in what the engine has yielded."""
        with self._changed:
            match event:
                case Progress():
                    self._enter("loading")
                    self._note, self._step, self._total = event.note, event.step, event.total
                case Reading():
                    if self._phase == "loading":
                        self._asked = time.monotonic()  # loading is no part of the answer
                    self._enter("reading")
                    self._read, self._to_read = event.done, event.total
                case Words():
                    self._enter("writing")
                    self._add(event)
            self._tell()

    def end(self) -> None:
        """Says that the database has the rest."""
        with self._changed:
            self._enter("ended")
            self._tell()

    def facts(self) -> dict[str, Any]:
        """What can be told of an answer whose engine did not come to its end."""
        with self._changed:
            if self._first is None:
                return {}
            seconds = self._last - self._first
            rate = self._tokens / seconds if seconds > 0 else None
            facts = {
                "prompt_tokens": self._to_read or None,
                "completion_tokens": self._tokens,
                "first_token_seconds": self._first - self._asked,
                "seconds": seconds,
                "tokens_per_second": rate,
            }
        return {name: value for name, value in facts.items() if value is not None}

    def list_unkept(self) -> tuple[str, int]:
        """The words that are not in the database yet, and how many pieces they are."""
        with self._changed:
            return "".join(self._unkept), len(self._unkept)

    def mark_kept(self, pieces: int) -> None:
        """Says that the first of :meth:`list_unkept` are in the database now."""
        with self._changed:
            del self._unkept[:pieces]

    # --- the watchers' side -----------------------------------------------------------------

    @property
    def version(self) -> int:
        return self._version

    @property
    def ended(self) -> bool:
        return self._phase == "ended"

    @property
    def text(self) -> str:
        """All words so far."""
        with self._changed:
            count, text = self._joined
            if count < len(self._pieces):
                text += "".join(self._pieces[count:])
                self._joined = (len(self._pieces), text)
            return text

    def view(self, since: int = 0) -> AnswerView:
        """How it stands now, with the words from the character ``since`` on."""
        with self._changed:
            now = time.monotonic()
            return AnswerView(
                version=self._version,
                phase=self._phase,
                phase_seconds=now - self._phase_began,
                note=self._note,
                step=self._step,
                total=self._total,
                read=self._read,
                to_read=self._to_read,
                text=self._text_from(since),
                characters=self._characters,
                tokens=self._tokens,
                tokens_per_second=self._rate(now),
                first_token_seconds=None if self._first is None else self._first - self._asked,
            )

    def wait(self, version: int, seconds: float) -> bool:
        """Waits until there is something newer than ``version``; False when the time is over."""
        with self._changed:
            return self._changed.wait_for(lambda: self._version > version, seconds)

    # --- within the lock --------------------------------------------------------------------

    def _enter(self, phase: Phase) -> None:
        if phase != self._phase:
            self._phase, self._phase_began = phase, time.monotonic()
            self._note = None

    def _tell(self) -> None:
        self._version += 1
        self._changed.notify_all()

    def _add(self, words: Words) -> None:
        self._last = time.monotonic()
        if self._first is None and words.tokens:
            self._first = self._last
        self._tokens += words.tokens
        self._recent.append((self._last, words.tokens))
        self._recent_tokens += words.tokens
        self._forget(self._last)
        # Half an emoji would be no text to the database.
        if text := words.text.encode(errors="replace").decode():
            self._pieces.append(text)
            self._unkept.append(text)
            self._characters += len(text)

    def _forget(self, now: float) -> None:
        while self._recent and self._recent[0][0] < now - RATE_SECONDS:
            self._recent_tokens -= self._recent.popleft()[1]

    def _rate(self, now: float) -> float | None:
        self._forget(now)
        if self._first is None or (span := min(now - self._first, RATE_SECONDS)) < RATE_AFTER:
            return None
        return self._recent_tokens / span

    def _text_from(self, since: int) -> str:
        """Goes back from the end, so that the words that were asked for before cost nothing."""
        wanted, found = self._characters - max(0, since), []
        for piece in reversed(self._pieces):
            if wanted <= 0:
                break
            found.append(piece[-wanted:] if wanted < len(piece) else piece)
            wanted -= len(piece)
        return "".join(reversed(found))
