"""Pages of other origins that the host lets in: cross-origin resource sharing (CORS).

A browser asks before it sends a page's request elsewhere (a preflight), and hands the answer to the
page only where the answer names the page's origin (https://fetch.spec.whatwg.org/#http-cors-protocol).
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import Response

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
PREFLIGHT_SECONDS = 600  # for which a browser need not ask again
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HEADER_NAMES = re.compile(r"[\w-]+(\s*,\s*[\w-]+)*", re.ASCII)
_LONGEST_NAMES = 2000  # characters of the header names that a page asks for


def read_origin(text: str) -> str:
    """An origin as browsers write it in the header ``Origin``.

    Args:
        text: scheme, host and port, such as ``http://localhost:3000``; a slash at the end, capital
            letters, a default port and letters beyond ASCII in the host are put right.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(text.strip())
    host, port = parts.hostname, parts.port  # port raises ValueError where it is no number
    others = (parts.username, parts.password, parts.query, parts.fragment)
    if not parts.scheme or not host or "*" in host or parts.path not in ("", "/") or any(others):
        raise ValueError(text)
    if not host.isascii():
        import httpx  # not at every start

        try:
            host = httpx.URL(host=host).raw_host.decode()
        except httpx.InvalidURL as error:
            raise ValueError(text) from error
    if ":" in host:
        host = f"[{host}]"
    shown_port = "" if port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{port}"
    return f"{parts.scheme}://{host}{shown_port}"


def is_preflight(connection: HTTPConnection) -> bool:
    """Whether a browser asks what a page of another origin may send."""
    return (
        connection.scope["method"] == "OPTIONS"
        and "access-control-request-method" in connection.headers
    )


def preflight(connection: HTTPConnection) -> Response:
    """What a page that is let in may send: all methods, and whatever headers it asks for.

    OpenAI's client sends a dozen of its own (``x-stainless-…``).
    """
    asked = connection.headers.get("access-control-request-headers", "").strip()
    headers = {
        "access-control-allow-methods": METHODS,
        "access-control-max-age": str(PREFLIGHT_SECONDS),
    }
    if len(asked) <= _LONGEST_NAMES and _HEADER_NAMES.fullmatch(asked):
        headers["access-control-allow-headers"] = asked
    if "access-control-request-private-network" in connection.headers:
        headers["access-control-allow-private-network"] = "true"
    return Response(status_code=204, headers=headers)


def headers_for(origin: str | None) -> dict[str, str]:
    """Headers of every answer to a page of ``origin``, refusals included; None: to any other.

    No credentials: a page elsewhere sends a key or a password of its own, and never acts as whoever
    is logged in in the same browser.
    """
    if origin is None:
        return {"vary": "Origin"}  # else a browser would show a visiting page what it has kept
    return {
        "access-control-allow-origin": origin,
        "access-control-expose-headers": "*",
        "vary": "Origin",
    }
