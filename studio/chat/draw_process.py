"""Drawing in a process of its own, given up after half a second of computing.

One such process serves the studio; it is started when it is first needed, and again after it has
been ended by a text that takes too long.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import queue
import subprocess
import sys
import threading
from typing import IO, Any

from pipelines.core.paths import ROOT
from studio.chat.markdown_blocks import Block, Code

LIMIT_SECONDS = 0.5  # of computing, for one text or one block of code
WAIT_SECONDS = 20.0  # for an answer, on a machine that computes for others meanwhile
TURN_SECONDS = 2.0  # for others' texts to be drawn first
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
    return [
        Block(line, html, tuple(Code(*code) for code in codes))
        for line, html, codes in _WORKER.ask("draw", text, growing)
    ]


def colour_elsewhere(lexer_name: str, code: str) -> str:
    """Code as HTML, with a ``span`` of a class around what has a colour.

    Raises:
        GivenUpError, BusyError: as for :func:`draw_elsewhere`.
    """
    return _WORKER.ask("colour", lexer_name, code)


class _Worker:
    """The process and the way to it."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def ask(self, kind: str, *arguments: Any) -> Any:
        """Sends a request and returns its answer."""
        if not self._turn.acquire(timeout=TURN_SECONDS):
            raise BusyError
        try:
            if self._process is None or self._process.poll() is not None:
                self._start()
            request = json.dumps([kind, arguments, LIMIT_SECONDS]).encode() + b"\n"
            with contextlib.suppress(OSError):  # it has ended: no answer comes
                self._process.stdin.write(request)
                self._process.stdin.flush()
            return json.loads(self._answer(WAIT_SECONDS))
        finally:
            self._turn.release()

    def close(self) -> None:
        """Ends the process."""
        if (process := self._process) is not None:
            self._process = None
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    stream.close()

    def _start(self) -> None:
        self.close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "studio.chat.draw_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            start_new_session=True,  # Ctrl+C is for the studio, at whose end its input ends
        )
        self._answers = queue.SimpleQueue()
        threading.Thread(
            target=_read, args=(self._process.stdout, self._answers), daemon=True
        ).start()
        self._answer(_START_SECONDS)

    def _answer(self, seconds: float) -> bytes:
        """The next line of the process; ends the process where none comes."""
        line = b""
        with contextlib.suppress(queue.Empty):
            line = self._answers.get(timeout=seconds)
        if not line:
            self.close()
            raise GivenUpError
        return line


def _read(stream: IO[bytes], answers: queue.SimpleQueue[bytes]) -> None:
    """Hands on each line of a process, and an empty one at its end."""
    with contextlib.suppress(OSError, ValueError):  # closed while it was read
        for line in stream:
            answers.put(line)
    answers.put(b"")


_WORKER = _Worker()
atexit.register(_WORKER.close)
