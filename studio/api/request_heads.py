"""Heads of requests that no browser and no proxy sends, refused before anything reads by them.

What reads forms and writes the page's address believes these headers: a form is decoded by whatever
codec it names, and the page of a strange address fails.
"""

from __future__ import annotations

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers

from pipelines.core.errors import BadRequest

MAX_BOUNDARY = 70  # bytes (RFC 2046, section 5.1.1)
MAX_CONTENT_TYPE = 500  # characters; the event loop reads it
CHARSETS = {"utf-8", "utf8"}
SHOWN = 60


def check_head(headers: Headers) -> None:
    """Raises BadRequest for a form or an address of a proxy that cannot be read."""
    if "multipart" in headers.get("content-type", "").lower():
        _check_form(headers["content-type"])
    if forwarded := headers.get("x-forwarded-host"):
        _check_address(f"http://{forwarded.partition(',')[0].strip()}")
    if server := headers.get("x-gradio-server"):  # Gradio believes this one as well
        _check_address(server.partition(",")[0].strip())


def _check_form(content_type: str) -> None:
    if len(content_type) > MAX_CONTENT_TYPE:
        raise BadRequest(
            "The header Content-Type has {count} characters; it may have {limit}.",
            count=len(content_type),
            limit=MAX_CONTENT_TYPE,
        )
    _, options = parse_options_header(content_type)
    charset = options.get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in CHARSETS:
        raise BadRequest(
            "This form says that it is written in {charset}; forms are read as UTF-8 here. Leave "
            "the charset out.",
            charset=charset[:SHOWN] or "?",
        )
    if len(options.get(b"boundary", b"")) > MAX_BOUNDARY:
        raise BadRequest(
            "The boundary of this form has {count} bytes; it may have {limit}.",
            count=len(options[b"boundary"]),
            limit=MAX_BOUNDARY,
        )


def _check_address(address: str) -> None:
    import httpx  # not at every start

    try:
        httpx.URL(address)
    except httpx.InvalidURL:
        raise BadRequest(
            "The proxy before the studio says that it was called {address}, which is no address. "
            "It must pass the browser's address on; in nginx: proxy_set_header Host $http_host;",
            address=ascii(address[:SHOWN])[1:-1],
        ) from None
