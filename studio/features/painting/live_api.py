"""The HTTP API's part for live painting: a picture in the answer, and nothing kept."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from pipelines.core.errors import Busy, Stopped
from pipelines.core.messages import Message
from studio.api.dependencies import CurrentLanguage, CurrentOwner, CurrentStudio, JsonObject
from studio.api.http import NOT_KEPT, while_heard
from studio.i18n import translate

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio

router = APIRouter(tags=["live"])
MAX_NOTES = 2_000  # characters of a header; nginx takes 4,096 of all, others little more


@router.post("/live/{kind}")
async def live_picture(
    kind: str,
    request: Request,
    studio: CurrentStudio,
    owner: CurrentOwner,
    language: CurrentLanguage,
    fields: JsonObject,
) -> Response:
    """Paints one picture of a request to paint at once, as PNG; no job, and nothing is kept.

    ``X-Seed`` and ``X-Seconds`` say its seed and how long it took, ``X-Left-Out`` which fields
    were asked for and are not painted live, ``X-Notes`` what of the others had no effect: a JSON
    list of sentences. While jobs or others come first, or where a newer wish of one's own has
    come, the answer is 429.
    """
    return await while_heard(request, _paint, studio, owner, language, kind, fields)


def _paint(
    studio: Studio,
    owner: Owner,
    language: str,
    kind: str,
    fields: Mapping[str, Any],
    stop: threading.Event,
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
    if made.notes:
        facts["X-Notes"] = _as_header(made.notes, language)
    return Response(buffer.getvalue(), media_type="image/png", headers={**NOT_KEPT, **facts})


def _as_header(notes: Sequence[Message], language: str) -> str:
    """Sentences as a header can hold them: JSON in ASCII, as many as proxies let through.

    Where there are more, the last one says how many.
    """
    said = [translate(note, language) for note in notes]
    for shown in range(len(said), -1, -1):
        rest = len(said) - shown
        more = Message("{count} more: a job of the same settings tells them.", count=rest)
        line = json.dumps(said[:shown] + [translate(more, language)] * bool(rest))
        if len(line) <= MAX_NOTES:
            break
    return line
