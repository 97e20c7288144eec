"""How long a test waits for what must come, be the machine ever so slow."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

# Seconds. Only a failing test waits for so long: a wait ends when its state is reached. It is meant
# for a processor ten times slower than usual; no test has a shorter limit of its own.
PATIENCE = 600.0
# Seconds within which something ends that would go on for far longer if a stop were not seen.
PROMPTLY = PATIENCE / 10
LONGEST_PAUSE = 0.1  # seconds between two looks at what takes long

Value = TypeVar("Value")


def wait_until(holds: Callable[[], Value], every: float = 0.01) -> Value:
    """Waits until ``holds()`` is true; what it returned.

    Args:
        every: seconds after which it asks again; more, where that takes long.
    """
    end = time.monotonic() + PATIENCE
    while not (value := holds()):
        assert time.monotonic() < end, f"still not so after {PATIENCE:.0f} s"
        time.sleep(every)
        every = max(every, min(1.2 * every, LONGEST_PAUSE))
    return value
