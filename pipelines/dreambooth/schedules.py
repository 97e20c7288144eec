"""Learning rate schedules as pure functions of the step: a resumed training needs no state."""

from __future__ import annotations

import math

from pipelines.dreambooth.requests import Schedule

RESTARTS = 3  # cycles of cosine_with_restarts


def rate_factor(step: int, steps: int, warmup_steps: int, schedule: Schedule) -> float:
    """What the learning rate is multiplied by at ``step`` (0 … ``steps`` − 1), 0 … 1.

    In the warm-up it is (step + 1) / warmup_steps; behind it, with p from 0 to nearly 1:
    constant 1, linear 1 − p, cosine ½·(1 + cos πp), polynomial (1 − p)².

    >>> [round(rate_factor(s, 6, 2, "cosine"), 3) for s in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    p = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    match schedule:
        case "linear":
            return 1 - p
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * p))
        case "cosine_with_restarts":
            return 0.5 * (1 + math.cos(math.pi * ((p * RESTARTS) % 1.0)))
        case "polynomial":
            return (1 - p) ** 2
        case _:
            return 1.0
