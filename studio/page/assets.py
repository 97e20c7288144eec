"""Gradio's scripts and styles are read and compressed once, and browsers keep what does not change.

Gradio reads and compresses a file for each visitor anew, and sends it again to who has it already:
eighty files a page, two milliseconds of work each, and ten for a large one.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass

import anyio.to_thread
import brotli
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from studio.page.cache import collect_answer

# Each exists under one path only, so that nobody can fill the memory with others.
FILES = re.compile(r"/(?:assets/[\w-][\w.-]*|static/js/[\w-][\w.-]*|theme\.css|favicon\.ico)")
PARTS = re.compile(rb"accept-encoding|range|if-.+")  # the file is asked for whole and as it is
NAMED_BY_CONTENT = re.compile(r"/assets/.+-[\w-]{8}\d?\.\w+")  # as Vite names them
WEEK = 7 * 24 * 3600
BROTLI_QUALITY, GZIP_LEVEL = 5, 6
COMPRESSED = re.compile(r"text/|application/javascript|image/svg")


@dataclass(frozen=True)
class Asset:
    """A file as browsers that take ``encoding`` are sent it."""

    body: bytes
    headers: dict[str, str]


class AssetCache:
    """ASGI middleware around all routes: keeps what they answer for :data:`FILES`.

    Args:
        app: answers what is not kept yet, and everything else.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._assets: dict[tuple[str, str], Asset] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not (
            scope["type"] == "http" and scope["method"] == "GET" and FILES.fullmatch(scope["path"])
        ):
            await self.app(scope, receive, send)
            return
        asked = Headers(scope=scope)
        key = (scope["path"], _choose_encoding(asked.get("accept-encoding", "")))
        asset = self._assets.get(key)
        if asset is None:
            headers = [each for each in scope["headers"] if not PARTS.fullmatch(each[0])]
            answer = await collect_answer(self.app, {**scope, "headers": headers}, receive, send)
            if answer is None:
                return
            asset = await anyio.to_thread.run_sync(_asset, *key, *answer)
            self._assets[key] = asset
        if asset.headers["etag"] in asked.get("if-none-match", ""):
            sent = Response(status_code=304, headers=asset.headers)
        else:
            sent = Response(asset.body, headers=asset.headers)
        await sent(scope, receive, send)


def _choose_encoding(accepted: str) -> str:
    return next((each for each in ("br", "gzip") if each in accepted), "")


def _asset(path: str, encoding: str, answered: Headers, body: bytes) -> Asset:
    headers = {
        "content-type": answered["content-type"],
        "etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        "vary": "accept-encoding",
    }
    if "cache-control" in answered:
        headers["cache-control"] = answered["cache-control"]
    elif NAMED_BY_CONTENT.fullmatch(path):
        headers["cache-control"] = f"private, max-age={WEEK}, immutable"
    else:
        headers["cache-control"] = "no-cache"
    if encoding and COMPRESSED.match(headers["content-type"]):
        headers["content-encoding"] = encoding
        if encoding == "br":
            body = brotli.compress(body, brotli.MODE_TEXT, BROTLI_QUALITY)
        else:
            body = gzip.compress(body, GZIP_LEVEL, mtime=0)
    return Asset(body, headers)
