"""What the routes of the HTTP API share."""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
import threading
from collections.abc import (
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.exceptions import HTTPException

from pipelines.core.errors import BadRequest, Stopped
from pipelines.core.files import is_full
from studio.core.home import disk_full

T = TypeVar("T")

EXAMPLE = '{"prompt": "a red mug"}'
NOT_KEPT = {"Cache-Control": "no-store"}
# A picture's id never stands for other pixels. "private": it is its owner's alone.
KEPT = {"Cache-Control": "private, max-age=86400, immutable"}
CLOSED = 499  # as web servers note that the client has gone
WATCH_SECONDS = 0.3
MAX_LIST_BYTES = 1_000_000
MAX_NAMES = 5_000  # of one object in a request
MAX_VALUES = 50_000  # of a request, besides the numbers in its lists
PIECE = 100_000  # characters that are sent at a time
MAX_PIECES = 10  # a longer answer is sent while it is made


async def json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object.

    NaN and Infinity pass here, so that the field that holds one can be named.

    Raises:
        BadRequest: it is none, and says where the JSON breaks off; or it holds too many values.
    """
    body = await request.body()
    try:
        data = json.loads(body)
    except json.JSONDecodeError as error:
        raise BadRequest(
            "The body is not JSON: line {line} cannot be read from column {column} on.",
            line=error.lineno,
            column=error.colno,
        ) from None
    except (ValueError, RecursionError):  # no text in UTF-8, a number too long, nested too deeply
        raise BadRequest(
            "The body is not JSON: it is no text in UTF-8, nested too deeply, or holds a number "
            "that is too long."
        ) from None
    check_values(data)
    if not isinstance(data, dict):
        raise BadRequest("The body must be a JSON object, such as {example}.", example=EXAMPLE)
    return data


def check_values(data: Any) -> None:
    """Refuses a body of so many values that looking at each would keep everybody waiting.

    Args:
        data: as JSON is read: lists and dicts with names.

    Raises:
        BadRequest: an object has too many names, or there are too many objects, texts and lists.
    """
    count, pending = 0, [data]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if len(value) > MAX_NAMES:
                raise BadRequest(
                    "An object in the body has {count} names; at most {limit} are taken.",
                    count=len(value),
                    limit=MAX_NAMES,
                )
            count += len(value)
            pending += value.values()
        elif isinstance(value, list):
            others = [each for each in value if type(each) not in (int, float)]  # tokens are many
            count += len(others)
            pending += others
        if count > MAX_VALUES:
            raise BadRequest(
                "The body holds more than {limit} values. Send it in several parts.",
                limit=MAX_VALUES,
            )


def json_reply(value: Any, status_code: int = 200) -> Response:
    """An answer in JSON; called in a thread, it keeps nobody waiting however long its texts are.

    Args:
        value: of dicts with names, lists, texts and numbers.
    """
    pieces = _pieces(json.JSONEncoder(ensure_ascii=False).iterencode(value))
    head = list(itertools.islice(pieces, MAX_PIECES))
    if len(head) < MAX_PIECES:
        return Response(b"".join(head), status_code, media_type="application/json")
    return StreamingResponse(
        itertools.chain(head, pieces), status_code, media_type="application/json"
    )


def attachment(name: str) -> dict[str, str]:
    """The headers of a file that a browser stores by this name, and nobody else keeps."""
    return {**NOT_KEPT, "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"}


def text_reply(texts: Iterable[str], media_type: str, headers: Mapping[str, str]) -> Response:
    """A text that is made while it is sent, in a thread."""
    return StreamingResponse(_pieces(texts), media_type=media_type, headers=dict(headers))


def _pieces(texts: Iterable[str]) -> Iterator[bytes]:
    """The same text in pieces that are worth a change of threads."""
    waiting, size = [], 0
    for text in texts:
        waiting.append(text)
        size += len(text)
        if size >= PIECE:
            yield "".join(waiting).encode(errors="replace")
            waiting, size = [], 0
    yield "".join(waiting).encode(errors="replace")


async def while_heard(
    request: Request,
    call: Callable[..., T],
    *arguments: Any,
    limiter: CapacityLimiter | None = None,
) -> T:
    """``call(*arguments, stop)`` in a thread; ``stop`` is set when the client has gone.

    Args:
        limiter: how many such calls there are at once; None: as many as threads.
    """
    stop = threading.Event()
    watch = asyncio.create_task(_watch(request, stop))
    try:
        return await run_sync(lambda: call(*arguments, stop), limiter=limiter)
    except Stopped:
        raise HTTPException(CLOSED) from None
    finally:
        watch.cancel()


async def _watch(request: Request, stop: threading.Event) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(WATCH_SECONDS)
    stop.set()


def list_that_fits(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first of ``items`` that take at most a megabyte as JSON, and one at least."""
    fitting, size = [], 0
    for item in items:
        size += len(json.dumps(item))
        if fitting and size > MAX_LIST_BYTES:
            break
        fitting.append(item)
    return fitting


@asynccontextmanager
async def receive_body(request: Request, home: Path) -> AsyncIterator[IO[bytes]]:
    """The body in a file that is gone afterwards, at its beginning; it is never held in memory.

    Raises:
        DiskFull: it does not fit on the disk.
    """
    folder = home / "cache"
    await run_sync(lambda: folder.mkdir(exist_ok=True))
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        try:
            async for chunk in request.stream():
                await run_sync(file.write, chunk)
            file.seek(0)
        except OSError as error:
            if is_full(error):
                raise disk_full(max(file.tell(), _said_length(request)), home) from error
            raise
        yield file


def _said_length(request: Request) -> int:
    said = request.headers.get("content-length", "")
    return int(said) if said.isdecimal() else 0
