"""The HTTP API for programs that speak OpenAI's protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studio.core.feature import Feature, ForeignApi, Upload
from studio.features.openai_api.errors import problem
from studio.features.openai_api.responses import ResponseMemory
from studio.features.openai_api.routes import OPENAI, router

if TYPE_CHECKING:
    from starlette.responses import Response

    from pipelines.core.errors import UserError

MAX_BYTES = 4_000_000  # a whole book as a prompt


def refuse(error: UserError, language: str) -> Response:
    """An error in the protocol's envelope."""
    return problem(error).response(language)


FEATURE = Feature(
    name="openai_api",
    services={"openai_responses": ResponseMemory},
    foreign_apis=(
        ForeignApi(
            door="openai",
            prefix=f"{OPENAI}/",
            routes=router,
            refuse=refuse,
            stranger="Send an API key of this studio as a bearer token. The host makes one by "
            "`python -m studio.keys make NAME`.",
            max_bytes=MAX_BYTES,
            uploads={"images/(edits|variations)": Upload.FILE},
        ),
    ),
)
