"""The protocol's sessions: an owner's own, by the official package."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pipelines.core.errors import Busy
from studio.features.mcp.errors import refuse
from studio.i18n import language_of_request

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio

MAX_SESSIONS = 30  # of an owner
MAX_OPEN = 60  # calls and streams of an owner, at once
IDLE_SECONDS = 600.0
LEFT = "mcp_client_left"  # in a request's state: set once nobody hears its answer

INSTRUCTIONS = (
    "Atelier paints pictures from words, changes and enlarges them. Pictures are named by ids; "
    "list_models says which models there are. Painting may take minutes: ask for progress."
)


class Sessions:
    """The sessions of a studio; an owner's are found by that owner alone.

    Args:
        studio: whose tools they offer.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._of: dict[str, _Door] = {}

    @functools.cached_property
    def server(self) -> Server:
        """What answers messages; its package is large, and is loaded when it is first needed."""
        from mcp.server.lowlevel import Server

        from studio.features.mcp.tools import Tools

        tools = Tools(self._studio)
        return Server(
            "atelier",
            title="Atelier",
            instructions=INSTRUCTIONS,
            on_list_tools=tools.list_tools,
            on_call_tool=tools.call_tool,
        )

    def of(self, owner: Owner) -> Response:
        """What answers the owner's request; called in a thread."""
        _ = self.server  # loaded here, where nobody else waits for it
        return _Handed(self, owner.id)

    def find_door(self, owner_id: str) -> _Door:
        """The owner's door, opened at first use; called within the loop of events."""
        loop = asyncio.get_running_loop()
        door = self._of.get(owner_id)
        if door is None or door.loop is not loop:
            door = self._of[owner_id] = _Door(self.server, loop)
        return door

    def close(self) -> None:
        """Ends all sessions; called in any thread."""
        for door in self._of.values():
            door.close()


class _Door:
    """One owner's sessions, and the task that they live in."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        self.loop = loop
        self.manager = StreamableHTTPSessionManager(
            server, session_idle_timeout=IDLE_SECONDS, max_sessions=MAX_SESSIONS
        )
        self._closed, self.opened = asyncio.Event(), asyncio.Event()
        self.open_requests = 0
        self._task = loop.create_task(self._live())

    async def _live(self) -> None:
        async with self.manager.run():
            self.opened.set()
            await self._closed.wait()

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._closed.set)


class _Handed(Response):
    """An answer that the protocol's package gives."""

    def __init__(self, sessions: Sessions, owner_id: str) -> None:
        super().__init__()
        self._sessions, self._owner_id = sessions, owner_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        door = self._sessions.find_door(self._owner_id)
        if door.open_requests >= MAX_OPEN:
            error = Busy(
                "You have {count} calls and streams open; more are not served. Close some.",
                count=door.open_requests,
            )
            language = language_of_request(HTTPConnection(scope))
            await refuse(error, language)(scope, receive, send)
            return
        left = scope["state"][LEFT] = asyncio.Event()
        door.open_requests += 1
        try:
            await door.opened.wait()
            await door.manager.handle_request(scope, receive, send)
        finally:
            door.open_requests -= 1
            left.set()
