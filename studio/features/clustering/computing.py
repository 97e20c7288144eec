"""Where the page's own computing is done: of few numbers here, of many in a process of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from pipelines.clustering.algorithms.base import Estimate
from pipelines.clustering.running import call

HERE_NUMBERS, HERE_COLUMNS = 300_000, 64
"""Of points that are scaled and turned here: some milliseconds and a few megabytes, always."""
_COPIES = 5  # of the points, that scaling and turning make
_UMAP_BYTES = 800_000_000


def compute(
    owner: str,
    function: Callable[..., Any],
    X: np.ndarray,
    arguments: dict[str, Any],
    stop: threading.Event | None = None,
    umap: bool = False,
) -> Any:
    """``function(X=X, **arguments)``, where its time and memory harm nobody.

    Args:
        owner: whose points they are, by an id.
        function: of a module, as :func:`pipelines.clustering.running.call` takes it; its cost is
            that of the points and their covariance.
        umap: whether it lays out by UMAP, for which no number of points is few.

    Raises:
        OutOfMemory: it takes more than it may.
        Stopped: ``stop`` was set, where that can be looked at.
    """
    if not umap and X.size <= HERE_NUMBERS and X.shape[1] <= HERE_COLUMNS:
        return function(X=X, **arguments)
    bytes_ = _COPIES * X.nbytes + (_UMAP_BYTES if umap else 0)
    prepare = ("umap",) if umap else ()
    return call(function, arguments, stop, Estimate(0, bytes_), X, prepare, owner=owner)
