"""Chat templates rendered in a process each, which is ended when one takes too much.

A template comes with a model's file from anywhere. Jinja's sandbox keeps it from the program, but
not from counting for ever or filling the memory. So it is rendered where a limit ends it, and what
comes back is looked at: should a template ever get out of Jinja's sandbox, it is in a process that
has no files, and can say no more than other words.
"""

from __future__ import annotations

import atexit
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import StrictBool, StrictStr, TypeAdapter

from pipelines.chat.rendering.worker import MAX_PROMPT, MEMORY_BYTES
from pipelines.chat.requests import ChatMessage
from pipelines.chat.templates import LOOKS_SPECIAL, Part
from pipelines.core.child_process import LineProcess, UnreadableAnswer
from pipelines.core.errors import BadRequest, Unavailable
from pipelines.core.messages import Message
from pipelines.core.sandbox import Files
from pipelines.core.sizes import format_bytes

_log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

LIMIT_SECONDS = 5.0  # of computing; the longest conversation takes a tenth of it
WAIT_SECONDS = 60.0  # for an answer, on a machine that computes for others meanwhile
MOST = 4  # processes, those that were used last; 25 MB each
MAX_SPECIALS = 500  # that look like some; the tokenizer is asked for each
_LONGEST = 6 * MAX_PROMPT  # bytes of an answer: of a character at most twelve, mostly one
_CAUSE = 2_000  # characters of what is logged


def render(
    template: str,
    messages: Sequence[ChatMessage],
    specials: Collection[str],
    *,
    continue_last: bool = False,
    tokens: Mapping[str, Any] | None = None,
) -> list[Part]:
    """:func:`pipelines.chat.templates.render`, within limits.

    Raises:
        BadRequest: as there.
        Unavailable: the template takes more than is allowed.
    """
    request = {
        "messages": [(message.role, message.content) for message in messages],
        "specials": [*specials],
        "continue_last": continue_last,
        "tokens": dict(tokens or {}),
    }
    parts = [Part(*each) for each in _PROCESSES.ask(template, "render", request, _PARTS)]
    if any(part.special and part.text not in specials for part in parts):
        _log.warning("a chat template's process names special tokens that there are not")
        raise _too_much()
    return parts


def special_tokens_in(template: str, tokens: Mapping[str, Any] | None = None) -> set[str]:
    """:func:`pipelines.chat.templates.special_tokens_in`, within limits.

    Of a template that takes more, those in its source.
    """
    try:
        request = {"tokens": dict(tokens or {})}
        found = _PROCESSES.ask(template, "specials", request, _TEXTS)
    except Unavailable:
        found = LOOKS_SPECIAL.findall(template)
    return {*sorted(found)[:MAX_SPECIALS]}


def prepare() -> None:
    """Starts a process for the next template, which takes as long as a small model's loading."""
    _PROCESSES.prepare()


_PARTS: TypeAdapter[list[tuple[str, bool]]] = TypeAdapter(list[tuple[StrictStr, StrictBool]])
_TEXTS: TypeAdapter[list[str]] = TypeAdapter(list[StrictStr])


class _Renderer:
    """The process of one template; asked by one at a time."""

    def __init__(self, template: str, spare: LineProcess | None) -> None:
        self._template, self._process = template, spare
        self._begun, self._retired = False, False
        self._lock = threading.Lock()

    def ask(self, request: bytes) -> bytes:
        """The line that answers a request; ends the process where none comes.

        Raises:
            Unavailable: none comes.
        """
        try:
            with self._lock:
                process = self._start_if_ended()
                process.write(request)  # where it has ended, no answer comes
                if not (line := process.line(WAIT_SECONDS)) or not line.endswith(b"\n"):
                    self._end()
                    raise _too_much()
                return line
        finally:
            self._end_if_retired()

    def retire(self) -> None:
        """Ends the process, now or when it has answered."""
        self._retired = True
        self._end_if_retired()

    def end(self) -> None:
        """Ends the process, whatever it does."""
        with self._lock:
            self._end()

    def _end_if_retired(self) -> None:
        if self._retired and self._lock.acquire(blocking=False):
            self._end()
            self._lock.release()

    def _start_if_ended(self) -> LineProcess:
        if self._process is None or not self._process.alive:
            self._end()
            self._process = _start()
        if not self._begun:
            self._process.write(json.dumps(self._template).encode() + b"\n")
            self._begun = True
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
        self._process, self._begun = None, False


class _Processes:
    """The processes and the way to them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the next two
        self._renderers: OrderedDict[str, _Renderer] = OrderedDict()  # the last used at the end
        self._spare: LineProcess | None = None

    def prepare(self) -> None:
        with self._lock:
            if self._spare is None or not self._spare.alive:
                self._spare = _start()

    def ask(
        self, template: str, kind: str, arguments: Mapping[str, Any], form: TypeAdapter[Answer]
    ) -> Answer:
        """What the template's process answers to a request.

        Raises:
            BadRequest: the template's refusal.
            Unavailable: it was given up.
        """
        request = json.dumps([kind, arguments, LIMIT_SECONDS], default=str).encode() + b"\n"
        renderer = self._renderer_of(template)
        try:
            return _read(renderer.ask(request), form)
        except UnreadableAnswer as error:
            _log.warning("a chat template's process says what it should not: %s", error)
            renderer.end()
            raise _too_much() from None

    def _renderer_of(self, template: str) -> _Renderer:
        retired = []
        with self._lock:
            renderer = self._renderers.pop(template, None)
            if renderer is None:
                renderer, self._spare = _Renderer(template, self._spare), None
            self._renderers[template] = renderer
            while len(self._renderers) > MOST:
                retired.append(self._renderers.popitem(last=False)[1])
        for each in retired:
            each.retire()
        return renderer

    def close(self) -> None:
        """Ends the processes."""
        for renderer in self._renderers.values():
            renderer.retire()
        if self._spare is not None:
            self._spare.end()


_PROCESSES = _Processes()
atexit.register(_PROCESSES.close)


def _start() -> LineProcess:
    return LineProcess("pipelines.chat.rendering.worker", files=Files(), longest=_LONGEST, ahead=1)


def _read(line: bytes, form: TypeAdapter[Answer]) -> Answer:
    """What a line says.

    Raises:
        BadRequest: that the template refuses the conversation.
        UnreadableAnswer: nothing that was asked for.
    """
    try:
        answer = json.loads(line)
        for cause in answer["causes"]:
            _log.warning("%s", str(cause)[:_CAUSE])
        if "refused" not in answer:
            return form.validate_python(answer["value"])
        refused = Message.from_untrusted_json(answer["refused"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UnreadableAnswer(str(error)[:_CAUSE]) from None
    raise BadRequest(refused.template, **refused.values)


def _too_much() -> Unavailable:
    return Unavailable(
        "The model's chat template was given up: it takes more than {seconds} seconds or {memory} "
        "for this conversation. Choose another model, or give another template as chat_template in "
        "the model's file.",
        seconds=round(LIMIT_SECONDS),
        memory=format_bytes(MEMORY_BYTES),
    )
