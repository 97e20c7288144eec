"""The page in Chinese for every browser that gets its sentences in Chinese.

Gradio's page looks its labels up by ``navigator.language``. Of Chinese it knows the names zh-CN and
zh-TW only, whatever tables :class:`gradio.I18n` has: under zh, zh-HK or zh-Hans-CN it would be
English (``setupi18n`` in ``gradio/templates/frontend/assets/core-*.js``).
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.i18n import language_of

HEAD = b"<head>"
SCRIPT = b"""
<script>
if (!["zh-CN", "zh-TW"].includes(navigator.language))
  Object.defineProperty(navigator, "language", {value: "zh-CN"});
</script>"""


class ChinesePage:
    """ASGI middleware of Gradio's app: names the locale in the page of who reads Chinese.

    It lies inside what compresses the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and scope["path"] == "/"
        if is_page and language_of(Headers(scope=scope).get("accept-language")) == "zh":
            send = _with_script(send)
        await self.app(scope, receive, send)


def _with_script(send: Send) -> Send:
    start: list[Message] = []  # held back until the length is known

    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.append(message)
            return
        if start:
            first = start.pop()
            body = message.get("body", b"")
            longer = body.replace(HEAD, HEAD + SCRIPT, 1)
            headers = MutableHeaders(scope=first)
            if longer != body and "content-length" in headers:
                headers["content-length"] = str(
                    int(headers["content-length"]) + len(longer) - len(body)
                )
            message = {**message, "body": longer}
            await send(first)
        await send(message)

    return sender
