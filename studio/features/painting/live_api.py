"""The HTTP API's part for live painting: a picture in the answer, and nothing kept."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from pipelines.core.errors import Busy, Stopped
from studio.api.dependencies import CurrentOwner, CurrentStudio, JsonObject
from studio.api.http import NOT_KEPT, while_heard

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio

router = APIRouter(tags=["live"])


@router.post("/live/{kind}")
async def live_picture(
    kind: str, request: Request, studio: CurrentStudio, owner: CurrentOwner, fields: JsonObject
) -> Response:
    """Paints one picture of a request to paint at once, as PNG; no job, and nothing is kept.

    ``X-Seed`` and ``X-Seconds`` say its seed and how long it took, ``X-Left-Out`` which fields
    were asked for and are not painted live. While jobs or others come first,
    or where a newer wish of one's own has come, the answer is 429.
    """
    return await while_heard(request, _paint, studio, owner, kind, fields)


def _paint(
    studio: Studio, owner: Owner, kind: str, fields: Mapping[str, Any], stop: threading.Event
) -> Response:
    try:
        made = studio.live.paint(owner, kind, fields, stop)
    except Stopped:
        raise Busy("A newer wish of yours has taken the place of this one.") from None
    buffer = io.BytesIO()
    made.image.save(buffer, "PNG", compress_level=1)
    facts = {"X-Seed": str(made.request["seed"]), "X-Seconds": f"{made.seconds:.3f}"}
    if made.left_out:
        facts["X-Left-Out"] = ", ".join(made.left_out)
    return Response(buffer.getvalue(), media_type="image/png", headers={**NOT_KEPT, **facts})
