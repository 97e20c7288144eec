"""Ending a connection from another thread, so that a stop is seen while nothing comes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import httpx

STOP_SECONDS = 0.05  # how often it is looked whether to stop


@contextlib.contextmanager
def close_when(stop: threading.Event, response: httpx.Response) -> Iterator[None]:
    """Ends the connection of a streamed ``response`` when ``stop`` is set.

    Reading from it then ends or raises an ``httpx`` error; the server sees that nobody listens.
    """
    connection = response.extensions["network_stream"].get_extra_info("socket")
    over = threading.Event()

    def watch() -> None:
        while not over.wait(STOP_SECONDS):
            if stop.is_set():
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                return

    watcher = threading.Thread(target=watch, name="hang up", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
