"""How long something still takes, told only from what has been measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import median

RECENT = 9  # finished jobs of a kind that say how long one usually takes

ENOUGH = 1.0  # seconds of steps that tell a pace


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast counted steps follow one another; the first is left out, for it waits for others.

    Attributes:
        first, first_at: the first step that was seen, and when.
        step, at: the newest one.
        total: how many there are. Where steps take differently long, all count the work in them.
    """

    first: float
    first_at: float
    step: float
    at: float
    total: float

    def seconds_left(self, now: float) -> float | None:
        """Until the last step; None while too little is seen. Times are ``time.monotonic``."""
        measured = self.at - self.first_at
        if self.step <= self.first or measured < ENOUGH:
            return None
        each = measured / (self.step - self.first)
        # Within a step time goes on, but a step that takes longer is no progress.
        return each * (self.total - self.step) - min(now - self.at, each * (self.step < self.total))


def updated_pace(pace: Pace | None, step: float, total: float, now: float) -> Pace | None:
    """``pace`` after a step has been seen; begins anew where another count has begun."""
    if not step:
        return None
    if pace is None or total != pace.total or step < pace.step:
        return Pace(step, now, step, now, total)
    return pace if step == pace.step else replace(pace, step=step, at=now)


def usual_seconds(finished: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Kind of job → median duration of its newest :data:`RECENT` ones.

    Args:
        finished: (kind, seconds) of jobs that are done, newest first.
    """
    seconds: dict[str, list[float]] = {}
    for kind, duration in finished:
        seconds.setdefault(kind, []).append(duration)
    return {kind: median(durations[:RECENT]) for kind, durations in seconds.items()}


def seconds_to_turn(left: float | None, ahead: Iterable[float | None]) -> float | None:
    """Seconds until a queued job is started.

    Args:
        left: seconds that the running job still takes; 0 when none runs.
        ahead: seconds that each of the jobs before this one takes.

    Returns:
        The sum, or None where any part is unknown.
    """
    parts = [left, *ahead]
    return None if None in parts else sum(parts)
