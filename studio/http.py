"""What the routes of the HTTP API share."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request

from pipelines.errors import BadRequest

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
