"""An animation for the page out of an algorithm's steps: few enough frames, each as what changes.

The limits of an animation stand here.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from pipelines.core.errors import BadRequest, Stopped

MAX_POINTS = 2_000
MAX_FRAMES = 300
FINENESS = 10_000  # the data's widest side is resolved into at least so many parts

Dense = Literal["start", "end", "everywhere"]


class Step(Protocol):
    """A step of any of the algorithms; what is sent is relative to one sent before."""

    def to_json(self, before: Any = None, decimals: int = 6) -> dict[str, Any]: ...


def check_points(points: int) -> None:
    """Whether so many points can be shown step by step.

    Raises:
        BadRequest: more points than an animation takes.
    """
    if points > MAX_POINTS:
        raise BadRequest(
            "{points} points are too many to be shown step by step; at most {limit} are taken. "
            "Lower their number, or take a sample.",
            points=points, limit=MAX_POINTS,
        )  # fmt: skip


def make_frames(
    X: np.ndarray,
    steps: Iterable[Step],
    dense: Dense = "everywhere",
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """All frames of an animation, for JSON.

    Args:
        X: (n, d), the points, of which only the number and the extent are used here.
        steps: what ``steps(X, …)`` of an algorithm yields; run to its end.
        dense: of more than :data:`MAX_FRAMES` steps, where none are left out before it cannot be
            helped: at the ``start`` (K-Means and GMM change most there) or the ``end`` (the last
            merges make the large clusters), or ``everywhere`` alike (DBSCAN).
        stop: ends the work when set.

    Returns:
        ``{"steps": number of steps, "frames": [step.to_json(of the frame before), …]}``; the
        first and the last step are always frames. What left-out steps changed is in the frame
        after them.

    Raises:
        BadRequest: too many points; then no step is taken.
        Stopped: ``stop`` was set.
    """
    check_points(len(X))
    taken: list[Step] = []
    for step in steps:
        if stop is not None and stop.is_set():
            raise Stopped
        taken.append(step)
    chosen = [taken[number] for number in frame_numbers(len(taken), dense)]
    decimals = decimals_for(X)
    frames = []
    for before, step in zip([None, *chosen], chosen, strict=False):
        if stop is not None and stop.is_set():
            raise Stopped
        frames.append(step.to_json(before, decimals))
    return {"steps": len(taken), "frames": frames}


def frame_numbers(steps: int, dense: Dense, limit: int = MAX_FRAMES) -> Sequence[int]:
    """Which of so many steps are frames: ascending, the first and the last among them.

    Dense at one end: half of the frames are single steps there, the rest is spread evenly.
    """
    if steps <= limit:
        return range(steps)
    if dense == "everywhere":
        return np.linspace(0, steps - 1, limit).round().astype(int).tolist()
    single = limit // 2
    spread = np.linspace(single, steps - 1, limit - single).round().astype(int).tolist()
    from_start = [*range(single), *spread]
    if dense == "start":
        return from_start
    return [steps - 1 - number for number in reversed(from_start)]


def decimals_for(X: np.ndarray) -> int:
    """Decimal places that resolve the widest side of the data into :data:`FINENESS` parts."""
    extent = float(np.ptp(X, axis=0).max()) or float(np.abs(X).max()) or 1.0
    return math.ceil(math.log10(FINENESS) - math.log10(extent))
