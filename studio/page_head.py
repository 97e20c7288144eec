"""The page in Chinese for every browser that gets its sentences in Chinese.

Gradio's page looks its labels up by ``navigator.language``. Of Chinese it knows the names zh-CN and
zh-TW only, whatever tables :class:`gradio.I18n` has: under zh, zh-HK or zh-Hans-CN it would be
English (``setupi18n`` in ``gradio/templates/frontend/assets/core-*.js``).
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from studio.i18n import language_of
from studio.rewriting import rewritten

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
            send = rewritten(send, lambda body: body.replace(HEAD, HEAD + SCRIPT, 1))
        await self.app(scope, receive, send)
