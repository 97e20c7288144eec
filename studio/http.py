"""What the routes of the HTTP API share."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

from anyio.to_thread import run_sync
from fastapi import Request

from pipelines.errors import BadRequest
from studio.home import NO_SPACE, disk_full

EXAMPLE = '{"prompt": "a red mug"}'
NOT_KEPT = {"Cache-Control": "no-store"}
# A picture's id never stands for other pixels. "private": it is its owner's alone.
KEPT = {"Cache-Control": "private, max-age=86400, immutable"}


async def json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object.

    NaN and Infinity pass here, so that the field that holds one can be named.

    Raises:
        BadRequest: it is none; says where the JSON breaks off.
    """
    body = await request.body()
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is not JSON: {reason}.", reason=str(error)) from None
    if not isinstance(data, dict):
        raise BadRequest("The body must be a JSON object, such as {example}.", example=EXAMPLE)
    return data


@asynccontextmanager
async def received(request: Request, home: Path) -> AsyncIterator[IO[bytes]]:
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
            if error.errno in NO_SPACE:
                raise disk_full(file.tell(), home) from error
            raise
        yield file
