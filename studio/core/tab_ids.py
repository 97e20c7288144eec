"""The names of the page's tabs, as they stand in its address (``?tab=gallery``)."""

from __future__ import annotations

from starlette.requests import HTTPConnection

NAME = "tab"  # of the parameter
PAINT, CHAT, INSIDE, STEER, TEACH = "paint", "chat", "inside", "steer", "teach"
SHELF, COMPARE, SHORTEN, GALLERY = "shelf", "compare", "shorten", "gallery"
CLUSTERING, SETTINGS = "clustering", "settings"
TABS = frozenset(
    {PAINT, CHAT, INSIDE, STEER, TEACH, SHELF, COMPARE, SHORTEN, GALLERY, CLUSTERING, SETTINGS}
)


def tab_query(connection: HTTPConnection) -> str:
    """``?tab=…`` with the tab that an address names; "" where it names none of the page's.

    Whoever sends somebody an address may write anything into it: nothing else of it is passed on.
    """
    named = connection.query_params.get(NAME)
    return f"?{NAME}={named}" if named in TABS else ""
