"""Which pages are the studio's own, and pages of other origins that the host lets in (CORS).

A browser asks before it sends a page's request elsewhere (a preflight), and hands the answer to the
page only where the answer names the page's origin (https://fetch.spec.whatwg.org/#http-cors-protocol).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import Response

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
PREFLIGHT_SECONDS = 600  # for which a browser need not ask again
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HEADER_NAMES = re.compile(r"[\w-]+(\s*,\s*[\w-]+)*", re.ASCII)
_FORWARDED_HOST = re.compile(r'(?:^|;)\s*host="?([^";\s]+)', re.IGNORECASE)  # RFC 7239
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


def is_foreign(origin: str, connection: HTTPConnection) -> bool:
    """Whether a page of ``origin`` is not one of the studio's own.

    The browser says so itself where it sends ``Sec-Fetch-Site``, which no page can set: over https
    and at local names. Elsewhere the page's address is compared with the names by which the studio
    was called. A foreign page cannot set the forwarding headers without a preflight, which is
    refused.
    """
    headers = connection.headers
    site = headers.get("sec-fetch-site")
    if site == "same-origin":
        return False
    parts = _split(origin)
    if parts.scheme not in _DEFAULT_PORTS or parts.hostname is None:
        return True
    page = parts.hostname, _port_of(parts, parts.scheme)
    for host in _hosts(headers):
        called = _split(f"//{host}")
        if page == (called.hostname, _port_of(called, parts.scheme)):
            return False
    # "proxy_set_header Host $host" loses the port. A browser that calls the studio itself names it.
    called = _split(f"//{headers.get('host', '')}")
    own_port = (connection.scope.get("server") or (None, None))[1]
    lost_port = called.port is None and own_port not in _DEFAULT_PORTS.values()
    return not (site is None and lost_port and page[0] == called.hostname)


def _hosts(headers: Headers) -> Iterator[str]:
    """The names by which the browser may have called the studio, as it and proxies say it."""
    for name in ("host", "x-forwarded-host"):
        # Of a chain of proxies the first heard the browser.
        host = headers.get(name, "").partition(",")[0].strip()
        yield host
        if port := headers.get("x-forwarded-port", "").partition(",")[0].strip():
            yield f"{host}:{port}"
    if found := _FORWARDED_HOST.search(headers.get("forwarded", "").partition(",")[0]):
        yield found[1]


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises where it is no number
    except ValueError:  # such as an unclosed bracket
        return urlsplit("")
    return parts


def _port_of(parts: SplitResult, scheme: str) -> int:
    return _DEFAULT_PORTS[scheme] if parts.port is None else parts.port


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
