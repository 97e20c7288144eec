"""What the studio keeps of each page that is open: little, of few pages, and not for long.

Gradio keeps the settings of every component for every page that was ever loaded, 5 MB each, up to
ten thousand of them. They serve its deep links and its reloading while one develops, neither of
which is here.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import ChainMap
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from gradio.blocks import BlocksConfig
from gradio.state_holder import SessionState, StateHolder
from gradio.utils import LRUCache

if TYPE_CHECKING:
    from gradio.blocks import Blocks
    from gradio.routes import App

MAX_SESSIONS = 1000  # pages that are open or were a while ago
# An open page asks for something every few seconds. A laptop that was closed for less than this, or
# a line that was broken, comes back to the page as it was.
IDLE_SECONDS = 3600.0
MAX_MAILBOXES = 2000
UNREAD_SECONDS = 300.0  # an open stream asks every ten seconds

# Of events that a page has begun. Watching a job is one that takes no thread, and may take hours.
EVENTS_AT_ONCE = 1000
LOOK_SECONDS = 0.01  # how often the queue looks for events
PROGRESS_SECONDS = 0.1  # and for what Gradio itself says of their progress
KEPT_EVENTS = 100  # of those that are over; Gradio keeps 10,000 for a page of figures


class Session(SessionState):
    """The values that one page has set: its states, and the components that events have changed."""

    def __init__(self, blocks: Blocks) -> None:
        shared = blocks.default_config
        self.blocks_config = BlocksConfig(shared.root_block)
        # What a page changes lies above what all pages share.
        self.blocks_config.blocks = ChainMap({}, shared.blocks)  # type: ignore[assignment]
        self.blocks_config.fns = shared.fns
        self.blocks_config.fn_id = shared.fn_id
        self.blocks_config.renderables = shared.renderables
        self.config_values: dict[int, Any] = {}
        self.state_data: dict[int, Any] = {}
        self._state_ttl: dict[int, tuple[float | None, datetime]] = {}
        self.is_closed = False
        self.STATE_TTL_WHEN_CLOSED = IDLE_SECONDS

    def __setitem__(self, key: int, value: Any) -> None:
        super().__setitem__(key, value)
        self.config_values.clear()

    def _update_config(self, key: int) -> None: ...

    def _update_value_in_config(self, key: int, value: Any) -> None: ...


class Mailbox(asyncio.Queue):
    """What the events of one page have answered until its stream takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = time.monotonic()  # when the stream of its page has last asked

    async def get(self) -> Any:
        self.asked = time.monotonic()
        return await super().get()

    def forget_unread(self, now: float) -> None:
        """Throws away what nobody has asked for in a while: the page has gone."""
        if now - self.asked > UNREAD_SECONDS:
            while not self.empty():
                self.get_nowait()


class Mailboxes(LRUCache):
    """The mailboxes of all pages; the one used longest ago goes first.

    Gradio lets go of the one that was made first, so that a crowd of new pages cuts off the pages
    that others have had open for long.
    """

    def __init__(self) -> None:
        super().__init__(MAX_MAILBOXES)

    def __getitem__(self, session_id: str) -> Mailbox:
        mailbox = super().__getitem__(session_id)
        self.move_to_end(session_id)
        return mailbox

    def __setitem__(self, session_id: str, _: asyncio.Queue) -> None:
        super().__setitem__(session_id, Mailbox())

    def forget_unread(self) -> None:
        """Throws away what pages that have gone will not read."""
        now = time.monotonic()
        for mailbox in self.values():
            mailbox.forget_unread(now)


class Sessions(StateHolder):
    """The sessions of all pages; those whose page has been closed go first.

    Attributes:
        mailboxes: of the same pages.
    """

    mailboxes: Mailboxes

    @classmethod
    def take_over(cls, app: App) -> None:
        """Let an app of Gradio's keep its sessions here, and hold its queue to our limits."""
        sessions, blocks = cls(), app.get_blocks()
        sessions.set_blocks(blocks)
        app.state_holder = sessions
        sessions.mailboxes = blocks._queue.pending_messages_per_session = Mailboxes()
        blocks._queue.max_thread_count = EVENTS_AT_ONCE
        # It looked for events a thousand times a second, which took 3 % of a processor.
        blocks._queue.sleep_when_free = LOOK_SECONDS
        blocks._queue.progress_update_sleep_when_free = PROGRESS_SECONDS
        blocks._queue.ANALYTICS_MAX_EVENTS = KEPT_EVENTS
        blocks._queue.ANAYLTICS_CACHE_FREQUENCY = math.inf  # for a page that is not here

    def set_blocks(self, blocks: Blocks) -> None:
        super().set_blocks(blocks)
        self.capacity = MAX_SESSIONS

    def __getitem__(self, session_id: str) -> SessionState:
        with self.lock:
            session = self.session_data.get(session_id)
            if session is None:
                self._make_room()
                session = self.session_data[session_id] = Session(self.blocks)
            self.session_data.move_to_end(session_id)
            self.time_last_used[session_id] = datetime.now()
        return session

    def delete_all_expired_state(self) -> None:
        """Lets go of pages that are not used any more; Gradio calls it every second."""
        self.mailboxes.forget_unread()
        with self.lock:
            oldest = datetime.now() - timedelta(seconds=IDLE_SECONDS)
            while self.session_data:  # the one used longest ago stands first
                id = next(iter(self.session_data))
                if self.time_last_used[id] > oldest:
                    return
                self._drop(id)

    def _make_room(self) -> None:
        if len(self.session_data) < self.capacity:
            return
        closed = (id for id, session in self.session_data.items() if session.is_closed)
        self._drop(next(closed, None) or next(iter(self.session_data)))

    def _drop(self, id: str) -> None:
        self.session_data.pop(id, None)
        self.time_last_used.pop(id, None)
