"""A reverse proxy (nginx, Caddy, Traefik …) between the browsers and the studio.

It may serve the studio below a path of its own, and answer in the studio's place: with a page that
says that an upload is too large, or that the studio cannot be reached.
"""

from __future__ import annotations

import json
import re

from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines.core.messages import Message
from pipelines.core.paths import ASSETS
from studio.core.rewriting import rewrite_body
from studio.i18n import LANGUAGES, translate

MANIFEST = b'href="/manifest.json"'  # Gradio's link, to the root of the host
# Without a link browsers ask the root of the host for an icon.
MANIFEST_AND_ICON = b'href="manifest.json" /><link rel="icon" href="favicon.ico"'
AFTER_CONFIG = b"<script data-gradio-mode>"  # the first script behind the page's configuration
# The script in the page fills in the words in capitals.
SENTENCES = {
    "refused": Message(
        "A proxy between your browser and the studio refused this upload as too large (HTTP 413). "
        "Send a smaller file, or have the host raise the proxy's limit (client_max_body_size in "
        "nginx)."
    ),
    "away": Message(
        "A proxy between your browser and the studio answered in its place (HTTP {status}): the "
        "studio is not running, or took too long.",
        status="STATUS",
    ),
    "path": Message(
        "This page is served below {path}. Start the studio with --root-path {path}, else files "
        "and downloads of this page lead nowhere.",
        path="PATH",
    ),
}
_PATH = re.compile(r"(/[\w.~-]+)*", re.ASCII)


def read_root_path(text: str) -> str:
    """The path below which a proxy serves the studio: ``/atelier``, or ``""`` for the root.

    Args:
        text: with or without slashes at its ends.

    Raises:
        ValueError: it is no path.
    """
    names = text.strip().strip("/")
    path = f"/{names}" if names else ""
    if not _PATH.fullmatch(path) or {".", ".."} & set(names.split("/")):
        raise ValueError(text)
    return path


class BelowPath:
    """ASGI middleware: takes the root path off for proxies that leave it in the address.

    Args:
        root_path: as :func:`read_root_path` gives it; not empty.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self.app, self.root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and f"{scope['path']}/".startswith(f"{self.root_path}/"):
            raw = scope.get("raw_path") or scope["path"].encode()
            length = len(self.root_path)  # ASCII: the same length in both
            scope = {
                **scope,
                "path": scope["path"][length:] or "/",
                "raw_path": raw[length:] or b"/",
            }
        await self.app(scope, receive, send)


class OwnAddress:
    """ASGI middleware of Gradio's app: the page finds the studio where the browser found the page.

    Gradio writes the address by which the proxy called the studio into the page, which is another
    one where the proxy has a port or a path of its own. It lies inside what compresses the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._script = page_script()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/":
            send = rewrite_body(send, self._rewrite)
        await self.app(scope, receive, send)

    def _rewrite(self, page: bytes) -> bytes:
        page = page.replace(MANIFEST, MANIFEST_AND_ICON, 1)
        return page.replace(AFTER_CONFIG, self._script + AFTER_CONFIG, 1)


def page_script() -> bytes:
    """The script of ``assets/proxies.js`` with its sentences in all languages."""
    said = {
        language: {name: translate(text, language) for name, text in SENTENCES.items()}
        for language in LANGUAGES
    }
    source = (ASSETS / "proxies.js").read_text(encoding="utf-8")
    return f"<script>\n{source.replace('SENTENCES', json.dumps(said))}</script>\n".encode()
