"""The process that draws long Markdown and colours code.

Its other side is :mod:`studio.features.chat.markdown.process`.

It reads one request a line from its standard input and answers with one line, until that input
ends. What takes longer than the limit of processor time ends the process: no regular expression
of Python's can be broken off otherwise.
"""

from __future__ import annotations

import functools
import json
import sys
from typing import IO, Any

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

from pipelines.core.sandbox import limit_computing, limit_memory
from studio.features.chat.markdown.blocks import draw_blocks

MEMORY_BYTES = 2**30  # beyond it the process ends


def main() -> None:
    """Answers requests ``[kind, arguments, seconds]``, the first line saying that it is ready."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # no other word gets between the answers
    limit_memory(MEMORY_BYTES)
    _write(answers, "ready")
    for line in requests:
        kind, arguments, seconds = json.loads(line)
        work = _KINDS[kind](*arguments)
        with limit_computing(seconds):
            answer = work()
        _write(answers, answer)


def _colour(lexer_name: str, code: str) -> Any:
    # A lexer's expressions are compiled at its first use, which is no fault of the code's.
    lexer = get_lexer_by_name(lexer_name, stripnl=False, ensurenl=False)
    return functools.partial(highlight, code, lexer, _FORMATTER)


def _draw(text: str, growing: bool) -> Any:
    return functools.partial(draw_blocks, text, growing)


_FORMATTER = HtmlFormatter(nowrap=True, classprefix="tok-")
_KINDS = {"colour": _colour, "draw": _draw}


def _write(answers: IO[bytes], answer: Any) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    main()
