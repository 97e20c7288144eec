"""Ending a connection from another thread, so that a stop is seen while nothing comes."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

STOP_SECONDS = 0.05  # how often it is looked whether to stop


@contextlib.contextmanager
def open_stream(
    client: httpx.Client, stop: threading.Event, path: str, body: Any
) -> Iterator[tuple[httpx.Response, Callable[[float], None]]]:
    """A POST whose answer is read as it comes; its connection is ended when ``stop`` is set.

    That holds from the moment at which it is connected: many servers send not even a status before
    they have read the prompt, or as long as others are before it. Reading then ends or raises an
    ``httpx`` error; the server sees that nobody listens.

    Yields:
        The response, and ``close_after(seconds)``, which ends the connection likewise.
    """
    sockets: list[socket.socket] = []  # appended to by this thread, read by the other
    over, until = threading.Event(), [float("inf")]

    def trace(event: str, info: dict[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "connect_unix_socket.complete",
                           "start_tls.complete")):  # fmt: skip
            sockets.append(info["return_value"].get_extra_info("socket"))

    def watch() -> None:
        while not over.wait(STOP_SECONDS):
            if stop.is_set() or time.monotonic() >= until[0]:
                for each in sockets:
                    with contextlib.suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)

    def close_after(seconds: float) -> None:
        until[0] = min(until[0], time.monotonic() + seconds)

    watcher = threading.Thread(target=watch, name="hang up", daemon=True)
    watcher.start()
    try:
        with client.stream("POST", path, json=body, extensions={"trace": trace}) as response:
            yield response, close_after
    finally:
        over.set()
