"""Bytes and times, written for people, and bytes read from what people write.

Decimal units, as disks are sold.
"""

from __future__ import annotations

import re

_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def format_bytes(count: float, above: float | None = None) -> str:
    """``1_720_000_000`` as ``"1.7 GB"``: two digits that count, three before the point at most.

    Args:
        count: of bytes.
        above: a limit that is exceeded; as many digits more as tell the two apart.
    """
    fitting = ((unit, factor) for unit, factor in _UNITS.items() if abs(count) < 999.5 * factor)
    unit, factor = next(fitting, ("TB", _UNITS["TB"]))
    size = count / factor
    digits = 1 if factor > 1 and abs(size) < 9.95 else 0
    while above is not None and digits < 12 and round(size, digits) <= above / factor:
        digits += 1
    return f"{size:.{digits}f} {unit}"


def duration(seconds: float) -> str:
    """``95.2`` as ``"1 min 35 s"``: units that both languages read."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def in_bytes(text: str) -> int:
    """``"1.7 GB"`` → ``1_700_000_000``.

    Raises:
        ValueError: it is not a number with one of B, kB, MB, GB, TB.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B)\s*", text, re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text!r} is not a size; write for instance 12 GB")
    factors = {unit.upper(): factor for unit, factor in _UNITS.items()}
    return round(float(match[1]) * factors[match[2].upper()])
