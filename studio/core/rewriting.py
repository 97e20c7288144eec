"""Pages of Gradio's that are changed on their way out."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send


def rewrite_body(send: Send, change: Callable[[bytes], bytes]) -> Send:
    """``send`` that changes the body of an answer that comes in one piece.

    Args:
        change: the body → the changed body; the length in the headers follows.
    """
    start: list[Message] = []  # held back until the length is known

    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.append(message)
            return
        if start:
            first = start.pop()
            body = message.get("body", b"")
            changed = change(body)
            headers = MutableHeaders(scope=first)
            if changed != body and "content-length" in headers:
                length = int(headers["content-length"]) + len(changed) - len(body)
                headers["content-length"] = str(length)
            message = {**message, "body": changed}
            await send(first)
        await send(message)

    return sender
