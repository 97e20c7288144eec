"""One request's answer on its way out: whole, or as server-sent events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pipelines.chat.events import Reading, Words
from pipelines.core.events import Result
from studio.api import sse
from studio.api.job_waiting import Gone
from studio.features.openai_api.errors import problem
from studio.features.openai_api.running import Open, Run
from studio.features.openai_api.wire import Format
from studio.i18n import language_of_request

_SSE = {"content-type": f"{sse.MEDIA_TYPE}; charset=utf-8", **sse.HEADERS}
_JSON = {"content-type": "application/json", "cache-control": "no-store"}


class Answering(Response):
    """An ASGI answer that computes while it is sent, and stops when the client hangs up.

    Nothing is sent before an engine has begun to read its prompt, or the seconds of a heartbeat
    have passed: what is wrong until then has an HTTP status of its own. What goes wrong later ends
    the stream with an event that holds the error's envelope. As long as there are no words, a
    comment comes as often, with the tokens that have been read.

    Args:
        form: how it is written; has the requests.
        open: the engine; see :class:`Run`.
        spent: told the tokens that each choice has taken, in any thread.
    """

    background = None

    def __init__(self, form: Format, open: Open, spent: Callable[[int], None]) -> None:
        self._format, self._open, self._spent = form, open, spent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = self._format.asked
        run = Run(self._open, asked.requests, not asked.form.stream, receive, self._spent)
        language, begun = language_of_request(Request(scope)), False
        try:
            async with run:
                if not asked.form.stream:
                    await _send_all(send, _JSON, await self._whole(run))
                    return
                items = await run.take(sse.HEARTBEAT_SECONDS)
                await _start(send, _SSE)
                begun = True
                await self._pieces(run, items, send)
        except Gone:
            return
        except Exception as error:
            found = problem(error, self._format.prompt)
            if begun:
                await _body(send, sse.event(found.body(language)), more=False)
            else:
                await found.response(language)(scope, receive, send)

    async def _whole(self, run: Run) -> str:
        count = len(self._format.asked.requests)
        answers: dict[int, Any] = {}
        while len(answers) < count:
            answers |= dict(await run.take())
        return self._format.whole([answers[index] for index in range(count)])

    async def _pieces(self, run: Run, items: list[tuple[int, Any]], send: Send) -> None:
        form = self._format
        count = len(form.asked.requests)
        facts: dict[int, dict[str, Any]] = {}
        reading: dict[int, Reading] = {}
        opened, sent = False, time.monotonic()
        if not items:  # nothing has come for so long
            sent -= sse.HEARTBEAT_SECONDS
        while True:
            text = ""  # of all that has come since the last look: one write
            if items and not opened:
                opened = True
                text = "".join(map(form.first_chunk, range(count)))
            for index, event in items:
                if isinstance(event, Result):
                    facts[index] = event.data
                    text += form.end_choice(index, event.data)
                elif isinstance(event, Words):
                    text += form.words(index, event)
                elif isinstance(event, Reading):
                    reading[index] = event
            if len(facts) == count:
                text += form.end_stream(facts[index] for index in range(count))
                await _body(send, text, more=False)
                return
            if not text and time.monotonic() - sent >= sse.HEARTBEAT_SECONDS:
                text = _comment(reading.values())
            if text:
                sent = time.monotonic()
                await _body(send, text)
            items = await run.take(max(0.0, sent + sse.HEARTBEAT_SECONDS - time.monotonic()))


def _comment(reading: Iterable[Reading]) -> str:
    """A line that clients pass over: how far the prompt has been read, where it is known."""
    done = sum(each.done for each in reading)
    total = sum(each.total for each in reading)
    return sse.comment(f"{done} of {total} tokens read" if total else "waiting")


async def _start(send: Send, headers: dict[str, str]) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )


async def _body(send: Send, text: str, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": more})


async def _send_all(send: Send, headers: dict[str, str], text: str) -> None:
    await _start(send, headers | {"content-length": str(len(text))})  # it is ASCII
    await _body(send, text, more=False)
