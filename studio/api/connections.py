"""Limits on connections, so that nobody keeps others out by holding many of them open.

A connection is cheap for who opens it and a file for us: some thousand idle ones were enough to end
the service. Here they are few, the oldest that does nothing makes room for a newcomer, and none may
take for ever to say what it wants, to send it, or to take the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import resource
import socket
import time
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# Each page holds two or three, each program's stream one. An idle one takes about 30 kB.
MAX_CONNECTIONS = 1000
MAX_ADDRESS_CONNECTIONS = 200  # a household or an office shares an address; loopback has no limit
MIN_CONNECTIONS = 50
OTHER_FILES = 200  # that the studio itself has open: models, pictures, the database, pipes
HEAD_SECONDS = 20.0  # to say what is wanted
BODY_SECONDS = 60.0  # between two parts of what is sent, and to take some of the answer
STALLED_SECONDS = 2.0  # without progress, after which a request makes room where all are at work
LOG_SECONDS = 60.0

FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
    b"retry-after: 5\r\nconnection: close\r\n\r\n"
    b'{"error": {"message": "Too many connections are open at this moment. '
    b'Try again in a few seconds.", "type": "busy"}}'
)


def connection_limit() -> int:
    """How many connections this process can hold, once its limit of open files is raised.

    The limit goes up as far as is of use and the system allows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + 10 * OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    files = wanted if soft == resource.RLIM_INFINITY else soft
    return max(MIN_CONNECTIONS, min(MAX_CONNECTIONS, files - OTHER_FILES))


class Door:
    """Counts the connections of a server and chooses which makes room for a new one.

    Args:
        limit: how many there are at most.
        address_limit: how many from one address that is not this machine's own.
    """

    def __init__(self, limit: int, address_limit: int = MAX_ADDRESS_CONNECTIONS) -> None:
        self.limit, self.address_limit = limit, address_limit
        # In order of arrival; of those that wait for a request the first has waited longest.
        self._idle: dict[Connection, None] = {}
        # Of those that wait for their sender or reader: since when. The first has waited longest.
        self._busy: dict[Connection, float | None] = {}
        self._by_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._idle) + len(self._busy)

    def admit(self, new: Connection) -> bool:
        """Counts a connection; whether there is room, for which an idle one may have to go."""
        crowded = (
            not _is_loopback(new.address) and self._by_address[new.address] >= self.address_limit
        )
        if crowded or len(self) >= self.limit:
            address = new.address if crowded else None
            oldest = next((each for each in self._idle if address in (None, each.address)), None)
            oldest = oldest or self._stall(address)
            if oldest is None:
                return False
            oldest.drop()
            self.forget(oldest)
        self._idle[new] = None
        self._by_address[new.address] += 1
        return True

    def _stall(self, address: str | None) -> Connection | None:
        """The connection whose other side has kept us waiting longest, beyond a moment."""
        latest = time.monotonic() - STALLED_SECONDS
        for each, since in self._busy.items():
            if since is not None and since <= latest and address in (None, each.address):
                return each
        return None

    def note(self, connection: Connection, is_idle: bool, is_held: bool = False) -> None:
        """Notes whether a connection waits for a request or is being answered.

        Args:
            is_held: of one that is being answered: the rest of the request is awaited, or that
                some of the answer is taken.
        """
        if connection not in self._idle and connection not in self._busy:
            return  # it was never let in, or has gone
        self._idle.pop(connection, None)
        self._busy.pop(connection, None)
        if is_idle:
            self._idle[connection] = None
        else:
            self._busy[connection] = time.monotonic() if is_held else None

    def forget(self, connection: Connection) -> None:
        if connection in self._idle or connection in self._busy:
            self._idle.pop(connection, None)
            self._busy.pop(connection, None)
            self._by_address[connection.address] -= 1
            if not self._by_address[connection.address]:
                del self._by_address[connection.address]


class Connection(H11Protocol):
    """One connection of uvicorn's, held to the limits of its :class:`Door`."""

    door: Door  # of the subclass that :func:`guarded_connection` makes

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        _send_at_once(transport)
        self._timer: asyncio.TimerHandle | None = None
        self._untaken = math.inf  # bytes of the answer, when the clock was last looked at
        if self.door.admit(self):
            self._expect(HEAD_SECONDS)
        else:
            transport.write(FULL)
            transport.close()

    @property
    def address(self) -> str:
        return self.client[0] if self.client else "127.0.0.1"

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._look()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self.door.forget(self)
        super().connection_lost(exc)

    def drop(self) -> None:
        """Closes at once what waits for its other side."""
        if self.conn.our_state is h11.IDLE:
            self.conn.send(h11.ConnectionClosed())
        self._end()

    def _end(self) -> None:
        if self.transport.get_write_buffer_size():  # close() would wait until all of it is taken
            self.transport.abort()
        else:
            self.transport.close()

    def _look(self) -> None:
        """Starts or stops the clock, by what is awaited from the other side."""
        if self.transport.is_closing():
            return
        is_idle = self.cycle is None or self.cycle.response_complete
        is_asking = not is_idle and self.cycle.more_body and not self.flow.read_paused
        self.door.note(self, is_idle, is_asking or self.flow.write_paused)
        self._untaken = math.inf
        if is_idle:
            if self._timer is None or self._timer_seconds != HEAD_SECONDS:
                self._expect(HEAD_SECONDS)  # not again with each byte of a slow head
        elif self.cycle.more_body or self.flow.write_paused:
            self._expect(BODY_SECONDS)
        else:
            self._stop_timer()

    def _expect(self, seconds: float) -> None:
        self._stop_timer()
        self._timer_seconds = seconds
        self._timer = self.loop.call_later(seconds, self._give_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self.flow.read_paused:  # it is we who do not listen at the moment
            self._expect(self._timer_seconds)
            return
        untaken = self.transport.get_write_buffer_size()
        if untaken and untaken < self._untaken:  # some of it was taken, be it slowly
            self._untaken = untaken
            self._expect(self._timer_seconds)
            return
        self._end()


def _send_at_once(transport: asyncio.Transport) -> None:
    """Has the system send an answer's last part without waiting for what comes before it.

    Else each short answer takes 40 ms (Nagle's algorithm, and the other side's delayed
    acknowledgement). asyncio does so itself only for sockets that were made with a protocol number.
    """
    if (connection := transport.get_extra_info("socket")) is not None:
        with contextlib.suppress(OSError):  # it has gone already
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def guarded_connection(door: Door) -> type[Connection]:
    """The class of connections of a server whose door this is, for ``uvicorn.Config(http=…)``."""
    return type("GuardedConnection", (Connection,), {"door": door})


class OncePerMinute(logging.Filter):
    """Lets what other people's requests bring about into the log once a minute, with its number.

    A stranger decides how often they come, and would fill the disk.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[Any, float] = {}
        self._more: Counter[Any] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, h11.LocalProtocolError) and "MUST_CLOSE" in str(error):
            return False  # an answer to what has broken HTTP meanwhile, of which uvicorn warns
        if record.levelno != logging.WARNING and error is None:
            return True
        key, now = (record.msg, _place(error)), time.monotonic()
        if now - self._last.get(key, -LOG_SECONDS) < LOG_SECONDS:
            self._more[key] += 1
            return False
        self._last[key] = now
        if more := self._more.pop(key, 0):
            record.msg = f"{record.msg} (and {more} more like it)"
        return True


def _place(error: BaseException | None) -> object:
    """Of what kind an error is, and where it was raised; equal for the same fault."""
    if error is None:
        return None
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = trace and (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
    return type(error), where


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"
