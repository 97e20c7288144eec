"""The process that renders one chat template; its other side is :mod:`.process`.

The first line that it reads is the template, each further one a request; it answers each with one
line, until its input ends. What computes or takes more than is allowed ends it.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import IO, Any

from pipelines.chat import templates
from pipelines.chat.requests import ChatMessage
from pipelines.core.errors import BadRequest
from pipelines.core.sandbox import limit_computing, limit_memory

MEMORY_BYTES = 2 * 2**30
MAX_PROMPT = 16_000_000  # characters: more than the longest context holds


class _Causes(logging.Handler):
    """Holds what was logged for the answer to go with: this process has no log of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))


def main() -> None:
    """Answers requests ``[kind, arguments, seconds]``."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # no other word gets between the answers
    causes = _Causes()
    logging.getLogger(templates.__name__).addHandler(causes)
    limit_memory(MEMORY_BYTES)
    template = json.loads(requests.readline() or '""')
    for line in requests:
        kind, arguments, seconds = json.loads(line)
        with limit_computing(seconds):
            try:
                answer = {"value": _KINDS[kind](template, **arguments)}
            except BadRequest as error:
                answer = {"refused": error.message.to_json()}
        _write(answers, answer | {"causes": causes.said})
        causes.said = []


def _render(
    template: str,
    messages: list[tuple[str, str]],
    specials: list[str],
    continue_last: bool,
    tokens: dict[str, Any],
) -> list[tuple[str, bool]]:
    said = [ChatMessage.model_construct(role=role, content=content) for role, content in messages]
    parts = templates.render(template, said, specials, continue_last=continue_last, tokens=tokens)
    if (count := sum(len(part.text) for part in parts)) > MAX_PROMPT:
        raise BadRequest(
            "The model's chat template makes {count} characters of this conversation; at most "
            "{limit} are read. Give another template as chat_template in the model's file.",
            count=count,
            limit=MAX_PROMPT,
        )
    return [(part.text, part.special) for part in parts]


def _find_specials(template: str, tokens: dict[str, Any]) -> list[str]:
    return sorted(templates.special_tokens_in(template, tokens))


_KINDS = {"render": _render, "specials": _find_specials}


def _write(answers: IO[bytes], answer: Any) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    main()
