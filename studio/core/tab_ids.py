"""The names of the page's tabs, as they stand in its address (``?tab=gallery``)."""

from __future__ import annotations

PAINT, CHAT, INSIDE, STEER, TEACH = "paint", "chat", "inside", "steer", "teach"
SHELF, COMPARE, SHORTEN, GALLERY = "shelf", "compare", "shorten", "gallery"
CLUSTERING, SETTINGS = "clustering", "settings"
TABS = frozenset(
    {PAINT, CHAT, INSIDE, STEER, TEACH, SHELF, COMPARE, SHORTEN, GALLERY, CLUSTERING, SETTINGS}
)
