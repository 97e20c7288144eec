"""Servers of OpenAI's protocol that send what a test tells them to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Handle = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def provider(handle: Handle) -> Iterator[str]:
    """The address of a server that answers a POST by ``handle(handler)``.

    The body that it was sent is at ``handler.sent``.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
            handle(self)

        def log_message(self, *args) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def reply(status: int, body: object, **headers: str) -> Handle:
    """Answers with JSON, or with a text as it is."""
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()

    def handle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("content-length", str(len(data)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    return handle


def stream_events(*chunks: object, then: float = 0.0) -> Handle:
    """Sends events, and ends the connection after some seconds."""
    texts = [chunk if isinstance(chunk, str) else json.dumps(chunk) for chunk in chunks]
    return send_pieces((f"data: {text}\n\n".encode() for text in texts), then)


def send_pieces(pieces: Iterable[bytes], then: float = 0.0) -> Handle:
    """Sends bytes as they are, as a stream of events, a write for each piece."""
    pieces = list(pieces)

    def handle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.end_headers()
        for piece in pieces:
            handler.wfile.write(piece)
            handler.wfile.flush()
        time.sleep(then)

    return handle


def delta(text: object, reason: object = None) -> dict:
    """A piece of an answer to a conversation."""
    return {"choices": [{"delta": {"content": text}, "finish_reason": reason, "index": 0}]}
