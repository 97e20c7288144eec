"""Drawing in a process of its own, given up after half a second of computing.

One such process serves the studio; it is started when it is first needed, and again after it has
been ended by a text that takes too long. It is shared by all who write here: it reads texts by
Python alone, an open answer is drawn anew several times a second, and to start one takes longer.
What it says is looked at (:mod:`studio.chat.drawn_answers`).
"""

from __future__ import annotations

import atexit
import json
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from pipelines.core.processes import LineProcess, UnreadableAnswer
from studio.chat.drawn_answers import read_blocks, read_coloured
from studio.chat.markdown_blocks import Block

_log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

LIMIT_SECONDS = 0.5  # of computing, for one text or one block of code
WAIT_SECONDS = 20.0  # for an answer, on a machine that computes for others meanwhile
TURN_SECONDS = 2.0  # for others' texts to be drawn first
MAX_ANSWER = 16_000_000  # bytes: markup is many times as long as what was written
_START_SECONDS = 60.0


class GivenUpError(Exception):
    """This text takes too long."""


class BusyError(Exception):
    """The process draws others' texts; this one may well be drawn at another time."""


def draw_elsewhere(text: str, growing: bool = False) -> list[Block]:
    """:func:`studio.chat.markdown_blocks.draw_blocks`, within the limit.

    Raises:
        GivenUpError: it takes longer.
        BusyError: it is not this text's turn yet.
    """
    return _WORKER.ask(read_blocks, "draw", text, growing)


def colour_elsewhere(lexer_name: str, code: str) -> str:
    """Code as HTML, with a ``span`` of a class around what has a colour.

    Raises:
        GivenUpError, BusyError: as for :func:`draw_elsewhere`.
    """
    return _WORKER.ask(partial(read_coloured, code=code), "colour", lexer_name, code)


class _Worker:
    """The process and the way to it."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._process: LineProcess | None = None

    def ask(self, read: Callable[[bytes], Answer], kind: str, *arguments: Any) -> Answer:
        """Sends a request and returns its answer.

        Args:
            read: an answer's line; where it raises UnreadableAnswer, the process is ended and the
                text given up.
        """
        if not self._turn.acquire(timeout=TURN_SECONDS):
            raise BusyError
        try:
            if self._process is None or not self._process.alive:
                self._start()
            request = json.dumps([kind, arguments, LIMIT_SECONDS]).encode() + b"\n"
            self._process.write(request)  # where it has ended, no answer comes
            return read(self._answer(WAIT_SECONDS))
        except UnreadableAnswer as error:
            _log.warning("the process that draws texts says what it should not: %s", error)
            self.close()
            raise GivenUpError from None
        finally:
            self._turn.release()

    def close(self) -> None:
        """Ends the process."""
        if (process := self._process) is not None:
            self._process = None
            process.end()

    def _start(self) -> None:
        self.close()
        self._process = LineProcess("studio.chat.draw_worker", longest=MAX_ANSWER, ahead=2)
        self._answer(_START_SECONDS)

    def _answer(self, seconds: float) -> bytes:
        """The next line of the process; ends the process where none comes."""
        if not (line := self._process.line(seconds)):
            self.close()
            raise GivenUpError
        return line


_WORKER = _Worker()
atexit.register(_WORKER.close)
