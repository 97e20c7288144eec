"""What tests let processes of their own do: a module that such a process imports at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO

from pipelines.clustering import wire
from pipelines.clustering.wire import Matrix


def process(X: Matrix) -> int:
    """The process that this is done in."""
    return os.getpid()


def take_over(X: Matrix, how: str) -> int:
    """As if a file had taken this process over: what it answers is not what was asked for."""
    worker = sys.modules["__main__"]
    say = worker._answer

    def write(path: Path, kind: object, value: object) -> None:
        if how == "a pickle":
            path.write_bytes(b"cos\nabort\n(tR.")
        elif how == "a link":
            path.symlink_to("/etc/passwd")
        elif how == "a pipe":
            os.mkfifo(path)
        else:
            path.write_bytes(b'[["done", "7"]]\n')

    def answer(answers: TextIO, **line: object) -> None:
        if how == "a line without an end":
            answers.write("x" * 2_000_000)
        elif how == "progress of texts":
            line = {"step": "1", "total": [], "note": 3}
        say(answers, **line)

    wire.write, worker._answer = write, answer
    return 7
