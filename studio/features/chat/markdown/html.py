"""Answers as HTML: Markdown with code and formulas, and nothing of it can act on the page.

What is long, and all colouring of code, is done in a process of its own
(:mod:`studio.features.chat.markdown.process`): the regular expressions of a highlighter hold
Python's interpreter while they search, for minutes with chosen text, and nobody else would be
served.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from html import escape

from pipelines.core.errors import Busy
from studio.features.chat.markdown.blocks import Block, Code, draw_blocks, put_codes
from studio.features.chat.markdown.languages import lexer_name
from studio.features.chat.markdown.process import (
    GivenUpError,
    colour_elsewhere,
    draw_elsewhere,
)

MAX_RENDERED = 60_000  # characters; what is longer is shown as it was written
MAX_COLOURED = 20_000  # characters of code
# Characters of a line of code: many lexers look from each sign on for something up to the line's
# end. What people write has shorter lines, and what a program has packed is not read by colours.
MAX_COLOURED_LINE = 1_000
MAX_HERE = 4_000  # characters that are drawn in this process: under 0.1 s for any text
MAX_GIVEN_UP = 2  # blocks of one text whose colouring took too long: the rest stands uncoloured
_GROWTH = 32  # an open block is drawn anew when it has grown by this part of itself
# What changes no form within a line: neither signs nor a line's end, which may begin something.
_WORDS = re.compile(r"(?:[^\W_]|[ ,;?'\"])+")
_LINE_END = re.compile(r"\r\n|\r|\n")


def render(text: str, owner: str) -> str:
    """A whole answer as HTML, block after block.

    Args:
        owner: whose answer it is, by an id.
    """
    if len(text) > MAX_RENDERED or (blocks := _blocks(text, owner)) is None:
        return preformat(text)
    return "".join(_colour(blocks, owner))


def preformat(text: str) -> str:
    """Text with its spaces and line ends, nothing read into it."""
    return f'<div class="as-written">{escape(text)}</div>'


@dataclass(frozen=True, slots=True)
class Grown:
    """What has come to an answer since the last look.

    Attributes:
        blocks: HTML of those that are complete now; they never change again.
        tail: HTML of the block that is still open, anew, or None: it stays and gets ``words``.
        words: text to put behind what is shown.
    """

    blocks: tuple[str, ...] = ()
    tail: str | None = None
    words: str = ""


@dataclass(slots=True)
class IncrementalHtml:
    """An answer that is being written, drawn with work in proportion to its length.

    Only the block that is still open is ever read again, and that when something may have changed
    its form and it has grown by a part of itself; in between its new words are told as they are.
    """

    owner: str  # whose answer it is, by an id
    _open: str = ""  # the open block
    _gap: str = ""  # spaces and line ends behind what is shown, which no drawing shows
    _new: int = 0  # characters of the open block that were told as they are
    _length: int = 0
    _plain: bool = False  # it is too long to be read again, or takes too long

    def feed(self, words: str) -> Grown | None:
        """What to change for the answer's next words; None for nothing."""
        self._open += words
        self._length += len(words)
        told = self._gap + words
        shown = told.rstrip()
        self._gap = told[len(shown) :]
        if not shown:
            return None
        self._new += len(shown)
        drawn = len(self._open) - self._new
        only_words = _WORDS.fullmatch(shown) is not None and drawn > len(shown)
        if self._plain or only_words or self._new < drawn // _GROWTH:
            return Grown(words=shown)
        self._new, self._plain = 0, self._length > MAX_RENDERED
        found = None if self._plain else _blocks(self._open.rstrip(), self.owner, growing=True)
        if found is None:  # from now on words are only added
            self._plain = True
        if not found:
            return Grown(tail=preformat(self._open.rstrip()))
        *complete, tail = found
        start = _offset(self._open, tail.line)
        closed = (_blocks(self._open[:start], self.owner) or []) if complete else []
        self._open = self._open[start:]
        return Grown(tuple(_colour(closed, self.owner)), _escape_plain(tail))


def _offset(text: str, line: int) -> int:
    """Where the line of this number begins."""
    ends = _LINE_END.finditer(text)
    return next((end.end() for number, end in enumerate(ends, 1) if number == line), 0)


# --- within limits --------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def _whole_blocks(text: str, owner: str) -> list[Block] | None:
    if len(text) <= MAX_HERE:
        return draw_blocks(text)
    try:
        return draw_elsewhere(owner, text)
    except GivenUpError:
        return None


def _blocks(text: str, owner: str, growing: bool = False) -> list[Block] | None:
    """The blocks of a text; None where drawing them takes too long."""
    try:
        if not growing:
            return _whole_blocks(text, owner)
        if len(text) <= MAX_HERE:
            return draw_blocks(text, growing)
        return draw_elsewhere(owner, text, growing)
    except GivenUpError:
        return None
    except Busy:  # a second of this process at the most, and it serves others in between
        return draw_blocks(text, growing)


def _colour(blocks: list[Block], owner: str) -> list[str]:
    """The HTML of blocks with their code; code that takes too long stands uncoloured."""
    given_up, drawn = 0, []
    for block in blocks:
        codes = []
        for code in block.codes:
            html = None
            if given_up < MAX_GIVEN_UP and _may_be_coloured(code):
                try:
                    html = _colours(code, owner)
                    given_up += html is None
                except Busy:
                    given_up = MAX_GIVEN_UP
            codes.append(escape(code.text) if html is None else html)
        drawn.append(put_codes(block.html, codes))
    return drawn


def _may_be_coloured(code: Code) -> bool:
    return (
        lexer_name(code.language) is not None
        and len(code.text) <= MAX_COLOURED
        and all(len(line) <= MAX_COLOURED_LINE for line in code.text.split("\n"))
    )


def _escape_plain(block: Block) -> str:
    return put_codes(block.html, [escape(code.text) for code in block.codes])


@functools.lru_cache(maxsize=256)
def _colours(code: Code, owner: str) -> str | None:
    """Code with its colours; None where it takes too long, which is not tried again."""
    try:
        return colour_elsewhere(owner, lexer_name(code.language) or "", code.text)
    except GivenUpError:
        return None
