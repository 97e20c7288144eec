"""What of Gradio is open to visitors: the few routes that its page asks for, and no errands.

Gradio serves many more routes than the page needs (files by path or by address, a proxy, deep
links, run history, monitoring, code editing, calls of single functions) and fetches addresses that
a client names. Each of these has been a way in somewhere, so that what is not listed here is not
there, whatever the next version brings.
"""

from __future__ import annotations

import re
from typing import NoReturn

from pipelines.core.errors import Refused

PREFIX = "/gradio_api"
MAX_PATH = 255  # characters: as many as a file's name may have at most places
UPLOAD = f"{PREFIX}/upload"

# Template → methods, as Gradio writes its routes. What the page was seen to ask for in Chromium,
# and what its script asks for when the line to the studio was lost.
SERVED: dict[str, frozenset[str]] = {
    "/": frozenset({"GET", "HEAD"}),
    "/theme.css": frozenset({"GET"}),
    "/favicon.ico": frozenset({"GET"}),
    "/manifest.json": frozenset({"GET"}),
    "/assets/{path:path}": frozenset({"GET"}),
    "/static/{path:path}": frozenset({"GET"}),
    f"{PREFIX}/app_id": frozenset({"GET"}),
    f"{PREFIX}/heartbeat/{{session_hash}}": frozenset({"GET"}),
    f"{PREFIX}/queue/join": frozenset({"POST"}),
    f"{PREFIX}/queue/data": frozenset({"GET"}),
    f"{PREFIX}/cancel": frozenset({"POST"}),
    f"{PREFIX}/reset": frozenset({"POST"}),
    UPLOAD: frozenset({"POST"}),
    f"{PREFIX}/upload_progress": frozenset({"GET"}),
}


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[\w:]+\})", template)
    return re.compile(
        "".join(
            re.escape(part) if not part.startswith("{") else ".+" if ":path" in part else r"\w+"
            for part in parts
        )
    )


_PATTERNS = [(_pattern(template), methods) for template, methods in SERVED.items()]


def is_served(method: str, path: str) -> bool:
    """Whether a request for one of Gradio's routes is let through to it."""
    return method in methods_of(path)


def methods_of(path: str) -> set[str]:
    """The methods by which a path of Gradio's is served; none where it is not."""
    if len(path) > MAX_PATH or not path.isascii():  # longer ones are not even looked for
        return set()
    return set().union(*(methods for pattern, methods in _PATTERNS if pattern.fullmatch(path)))


def forbid_fetching() -> None:
    """Gradio fetches nothing any more from an address that a client has named.

    Whoever may use the page could have the studio fetch what only its own network can reach, or
    fill its disk. All of Gradio's ways to an address go through one of these functions.
    """
    from gradio import processing_utils, routes

    processing_utils.async_ssrf_protected_get = _refuse_to_fetch
    processing_utils.async_ssrf_protected_download = _refuse_to_fetch
    processing_utils.unsafe_download = _refuse_at_once
    routes.secure_url_stream_response = _refuse_to_fetch


async def _refuse_to_fetch(*_: object, **__: object) -> NoReturn:
    _refuse_at_once()


def _refuse_at_once(*_: object, **__: object) -> NoReturn:
    raise Refused("Files are taken from your browser, not from an address elsewhere.")
