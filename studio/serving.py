"""Serves the app: its socket, its signals and its end."""

from __future__ import annotations

import contextlib
import errno
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import uvicorn

from pipelines.core.errors import Unavailable
from studio.api.connections import Door, OncePerMinute, connection_limit, guarded_connection
from studio.api.sse import OpenStreams

if TYPE_CHECKING:
    from fastapi import FastAPI

FIRST_PORT, LAST_PORT = 7860, 7959
SHUTDOWN_SECONDS = 3


def listen(host: str, port: int | None) -> socket.socket:
    """A listening socket at ``port``, or at the first free one from 7860 when None.

    Raises:
        Unavailable: says which port or address cannot be had and why.
    """
    ports = range(FIRST_PORT, LAST_PORT + 1) if port is None else [port]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in ports:
        try:
            return socket.create_server((host, candidate), family=family, backlog=2048)
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno != errno.EADDRINUSE:  # no other port would help
                raise Unavailable(
                    "The studio cannot listen at {host}, port {port}: {reason}.",
                    host=host,
                    port=candidate,
                    reason=reason,
                ) from error
    if port is None:
        raise Unavailable(
            "All ports from {first} to {last} are taken. Choose another one with --port.",
            first=FIRST_PORT,
            last=LAST_PORT,
        )
    raise Unavailable(
        "Port {port} is taken. Leave --port out to take the next free one, or choose another.",
        port=port,
    )


class Server(uvicorn.Server):
    """Serves ``app`` until SIGINT, SIGTERM or :meth:`stop`.

    Args:
        on_started: called once requests are answered.
        on_stopped: called once all is closed.
        log_level: of uvicorn's own log; ``"debug"`` and ``"info"`` show each request.
    """

    def __init__(
        self,
        app: FastAPI,
        on_started: Callable[[], None],
        log_level: str = "warning",
        on_stopped: Callable[[], None] = lambda: None,
    ) -> None:
        config = uvicorn.Config(
            app,
            log_level=log_level,
            proxy_headers=False,  # the share tunnel's visitors would choose their own address
            server_header=False,
            http=guarded_connection(Door(connection_limit())),
            ws="none",
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
        super().__init__(config)
        logging.getLogger("uvicorn.error").addFilter(OncePerMinute())
        # What is wrong with a form is said to who has sent it; anybody may send many.
        logging.getLogger("python_multipart").setLevel(logging.ERROR)
        self._on_started, self._on_stopped = on_started, on_stopped
        self._streams = getattr(app.state, "streams", OpenStreams())

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._streams.end_all()
        await super().shutdown(sockets)
        self._on_stopped()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """A terminal that is closed ends the studio in order, unless ``nohup`` asks for it to stay.

        uvicorn does so for SIGINT and SIGTERM alone.
        """
        hangup = getattr(signal, "SIGHUP", None)  # not on Windows
        in_main_thread = threading.current_thread() is threading.main_thread()
        with super().capture_signals():
            if hangup is None or not in_main_thread or signal.getsignal(hangup) == signal.SIG_IGN:
                yield
                return
            before = signal.signal(hangup, lambda *_: self.stop())
            try:
                yield
            finally:
                signal.signal(hangup, before)

    def stop(self) -> None:
        self.should_exit = True
