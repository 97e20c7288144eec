"""How many requests on clustering one studio computes at once; other routes keep their threads."""

from __future__ import annotations

from anyio import CapacityLimiter

AT_ONCE = 4
ANIMATIONS_ASKED = 16  # that are made or wait for a turn


class RequestLimits:
    """The limits of one studio.

    Attributes:
        data: files that are read, and data sets that are made.
        plots: plots by a projection that takes a moment, and single points.
        umap: plots by UMAP: a minute each, and nothing can stop one.
        results: results that are looked at or written to files.
        animations: animations that are made or wait for a turn.
    """

    def __init__(self) -> None:
        self.data = CapacityLimiter(AT_ONCE)
        self.plots = CapacityLimiter(AT_ONCE)
        self.umap = CapacityLimiter(1)
        self.results = CapacityLimiter(AT_ONCE)
        self.animations = CapacityLimiter(ANIMATIONS_ASKED)
