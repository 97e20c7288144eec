"""When a server wants to be asked again, by its header ``Retry-After`` (RFC 9110, 10.2.3)."""

from __future__ import annotations

import math
import time
from email.utils import mktime_tz, parsedate_tz

MOST_SECONDS = 30 * 86400  # of a quota by the month; what says more says nothing


def seconds_to_wait(header: str, now: float | None = None) -> int | None:
    """Seconds from now on, 1 at least; None where the header names neither seconds nor a date.

    Args:
        header: seconds, of which some servers send parts, or a date.
        now: seconds since 1970; None: by the clock.
    """
    text = header.strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            date = parsedate_tz(text)
            seconds = mktime_tz(date) - (time.time() if now is None else now) if date else math.nan
        except (ValueError, OverflowError):  # a date that there is not
            return None
    return max(1, math.ceil(seconds)) if -86400 <= seconds <= MOST_SECONDS else None
