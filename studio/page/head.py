"""What stands first in the head of Gradio's page: who reads it, its colours and its scripts.

Gradio's page looks its labels up by ``navigator.language``. Of Chinese it knows the names zh-CN and
zh-TW only, whatever tables :class:`gradio.I18n` has: under zh, zh-HK or zh-Hans-CN it would be
English (``setupi18n`` in ``gradio/templates/frontend/assets/core-*.js``).

Scripts in ``gr.Blocks.head`` run when Gradio has drawn the page; those of ``assets/page/`` run
before that, and :file:`address.js` among them chooses the tab that Gradio draws first.
"""

from __future__ import annotations

import json
import re
from functools import cache

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines.core.paths import ASSETS
from studio.core.accounts.accounts import owner_of
from studio.core.gallery.gallery import owner_folder
from studio.core.palette import css_variables
from studio.core.rewriting import rewrite_body
from studio.i18n import language_of, translate

OPENING = re.compile(rb'<html\s+lang="en"|<head>')
CHINESE = """
if (!["zh-CN", "zh-TW"].includes(navigator.language))
  Object.defineProperty(navigator, "language", {value: "zh-CN"});
"""
UNREACHABLE = "The studio did not answer, so this tab cannot be shown."
SCRIPTS = ("parts", "address", "drafts", "announcing")


class PageHead:
    """ASGI middleware of Gradio's app: writes into the page's head.

    It lies inside what compresses the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/":
            language = language_of(Headers(scope=scope).get("accept-language"))
            style = f"<style>{css_variables()}</style>"
            head = f"{style}{script(owner_of(Request(scope)).id, language)}".encode()
            send = rewrite_body(send, lambda body: _with_head(body, language, head))
        await self.app(scope, receive, send)


def script(owner: str, language: str) -> str:
    """The scripts of the page that an owner sees.

    ``atelier.person`` tells people apart who use one browser: what it keeps for each has that name.
    """
    words = {"finished": "Finished.", "unreachable": UNREACHABLE, "again": "Try again"}
    given = {"person": owner_folder(owner)} | {k: translate(w, language) for k, w in words.items()}
    chinese = CHINESE if language == "zh" else ""
    return f"<script>{chinese}window.atelier = {json.dumps(given)};\n{_page_scripts()}</script>"


@cache
def _page_scripts() -> str:
    paths = (ASSETS / "page" / f"{name}.js" for name in SCRIPTS)
    return "".join(path.read_text(encoding="utf-8") for path in paths)


def _with_head(body: bytes, language: str, head: bytes) -> bytes:
    def insert(found: re.Match[bytes]) -> bytes:
        if found[0] == b"<head>":
            return found[0] + head
        return found[0].replace(b'"en"', f'"{language}"'.encode())

    return OPENING.sub(insert, body, count=2)
