"""Drawing in a process of its own, given up after half a second of computing.

Each owner has a process of their own, so that none that has read one's texts reads another's. It is
started when it is first needed, in 0.05 seconds of computing, and again after it has been ended by
a text that takes too long; it takes 16 MB, and the :data:`MOST` that were used last are kept. They
draw one at a time.

What one says is looked at before it stands in anybody's page. Should one of the texts that it reads
ever make it say what it likes, that is neither HTML that acts on a page nor other words than were
written.
"""

from __future__ import annotations

import atexit
import json
import logging
import re
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from html import unescape
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter

from pipelines.core.child_process import LineProcess, UnreadableAnswer
from pipelines.core.sandbox import Files
from studio.core.jobs.slots import FairSlots
from studio.features.chat.markdown.blocks import Block

_log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

LIMIT_SECONDS = 0.5  # of computing, for one text or one block of code
WAIT_SECONDS = 20.0  # for an answer, on a machine that computes for others meanwhile
TURN_SECONDS = 2.0  # for others' texts to be drawn first
MAX_ANSWER = 16_000_000  # bytes: markup is many times as long as what was written
MOST = 4  # processes
_START_SECONDS = 60.0


class GivenUpError(Exception):
    """This text takes too long."""


def draw_elsewhere(owner: str, text: str, growing: bool = False) -> list[Block]:
    """:func:`studio.features.chat.markdown.blocks.draw_blocks`, within the limit.

    Args:
        owner: whose text it is, by an id.

    Raises:
        GivenUpError: it takes longer.
        Busy: it is not this text's turn yet.
    """
    return _DRAWING.ask(owner, read_blocks, "draw", text, growing)


def colour_elsewhere(owner: str, lexer_name: str, code: str) -> str:
    """Code as HTML, with a ``span`` of a class around what has a colour.

    Raises:
        GivenUpError, Busy: as for :func:`draw_elsewhere`.
    """
    return _DRAWING.ask(owner, partial(read_coloured, code=code), "colour", lexer_name, code)


class _Drawing:
    """The processes and the way to them."""

    def __init__(self) -> None:
        self._slots = FairSlots(1, asked=None, busy="Other texts are being drawn.")
        self._processes: OrderedDict[str, LineProcess] = OrderedDict()  # the last used at the end

    def ask(
        self, owner: str, read: Callable[[bytes], Answer], kind: str, *arguments: Any
    ) -> Answer:
        """Sends a request to the owner's process and returns its answer.

        Args:
            read: an answer's line; where it raises UnreadableAnswer, the process is ended and the
                text given up.
        """
        with self._slots.take(owner, TURN_SECONDS):
            try:
                process = self._process_of(owner)
                request = json.dumps([kind, arguments, LIMIT_SECONDS]).encode() + b"\n"
                process.write(request)  # where it has ended, no answer comes
                return read(self._answer(owner, WAIT_SECONDS))
            except UnreadableAnswer as error:
                _log.warning("the process that draws texts says what it should not: %s", error)
                self._end(owner)
                raise GivenUpError from None

    def close(self) -> None:
        """Ends the processes."""
        for owner in list(self._processes):
            self._end(owner)

    def _end(self, owner: str) -> None:
        if (process := self._processes.pop(owner, None)) is not None:
            process.end()

    def _process_of(self, owner: str) -> LineProcess:
        process = self._processes.get(owner)
        if process is None or not process.alive:
            self._end(owner)
            process = LineProcess(
                "studio.features.chat.markdown.worker", files=Files(), longest=MAX_ANSWER, ahead=2
            )
            self._processes[owner] = process
            self._answer(owner, _START_SECONDS)
        self._processes.move_to_end(owner)
        while len(self._processes) > MOST:
            self._end(next(iter(self._processes)))
        return process

    def _answer(self, owner: str, seconds: float) -> bytes:
        """The next line of the owner's process; ends the process where none comes."""
        if not (line := self._processes[owner].line(seconds)):
            self._end(owner)
            raise GivenUpError
        return line


_DRAWING = _Drawing()
atexit.register(_DRAWING.close)


# Each tag that :mod:`studio.features.chat.markdown.blocks` writes, attributes and all.
_TAG = re.compile(
    r"</?(?:p|h[1-6]|ul|ol|li|blockquote|em|strong|s|table|thead|tbody|tr|th|td|code|pre|span|div|a"
    r"|button)>"
    r"|<(?:br|hr) />"
    r'|<ol start="[0-9]{1,9}">'
    r'|<t[hd] style="text-align:(?:left|right|center)">'
    r'|<(?:div|span) class="(?:math|math display)">'
    r'|<div class="(?:wide|code|code-head)">'
    r'|<button type="button" class="copy-code">'
    r'|<pre tabindex="0">'
    r"|<code-[0-9]{1,6}>"
    r'|<a (?:class="picture-link" )?href="(?:(?:https?://|mailto:)[^"<>]*+)?" target="_blank" '
    r'rel="noopener noreferrer nofollow">',
    re.IGNORECASE,
)
_COLOUR = re.compile(r'<span class="(?:tok-[a-zA-Z0-9-]{1,20} ?){1,4}">|</span>')
_PLACE = re.compile("<code-([0-9]+)>")
_BLOCKS: TypeAdapter[tuple[list[Block]]] = TypeAdapter(
    tuple[list[Block]], config=ConfigDict(strict=True, extra="forbid")
)
_TEXT: TypeAdapter[str] = TypeAdapter(str, config=ConfigDict(strict=True))


def read_blocks(answer: bytes) -> list[Block]:
    """The blocks of a text in a line of JSON.

    Raises:
        UnreadableAnswer: it holds anything else, or HTML that is none of ours.
    """
    try:
        (blocks,) = _BLOCKS.validate_json(b"[" + answer + b"]")
    except ValueError as error:
        raise UnreadableAnswer(str(error)[:500]) from None
    for block in blocks:
        _check_html(block.html, len(block.codes))
    return blocks


def read_coloured(answer: bytes, code: str) -> str:
    """The HTML of a piece of code in a line of JSON.

    Raises:
        UnreadableAnswer: it is anything else than this code with colours.
    """
    try:
        html = _TEXT.validate_json(answer)
    except ValueError as error:
        raise UnreadableAnswer(str(error)[:500]) from None
    text, plain = _COLOUR.sub("", html), code.removeprefix("\ufeff")
    # Pygments leaves a byte order mark out, and ends the last line.
    if "<" in text or unescape(text) not in (plain, f"{plain}\n"):
        raise UnreadableAnswer("it is not the code that was to be coloured")
    return html


def _check_html(html: str, codes: int) -> None:
    if "<" in _TAG.sub("", html):
        raise UnreadableAnswer("it has a tag that is none of ours")
    if any(int(place) >= codes for place in _PLACE.findall(html)):
        raise UnreadableAnswer("it has a place of code that there is not")
