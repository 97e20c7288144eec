"""The door for agents that speak MCP, by streamable HTTP."""

from __future__ import annotations

from studio.core.feature import Feature, ForeignApi
from studio.features.mcp.errors import refuse
from studio.features.mcp.routes import PATH, router
from studio.features.mcp.sessions import Sessions

MAX_BYTES = 4_000_000  # a picture within a call


FEATURE = Feature(
    name="mcp",
    services={"mcp_sessions": Sessions},
    foreign_apis=(
        ForeignApi(
            door="mcp",
            prefix=PATH,
            routes=router,
            refuse=refuse,
            stranger="Send an API key of this studio as a bearer token. The host makes one by "
            "`python -m studio.keys make NAME`.",
            max_bytes=MAX_BYTES,
        ),
    ),
)
