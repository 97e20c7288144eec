"""How much memory a piece of work takes at its peak, where the system tells."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path


def lower_peak() -> int | None:
    """Sets the peak of this process' memory to what it takes now; returns that in bytes, or None
    where the system cannot do it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # C libraries other than glibc
            ctypes.CDLL(None).malloc_trim(0)  # what earlier work has left would hide the new peak
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return status_bytes("VmHWM")


def peak_since(before: int | None) -> int | None:
    """Bytes at the peak beyond ``before``, which :func:`lower_peak` has returned."""
    return None if before is None else max(0, (status_bytes("VmHWM") or 0) - before)


def status_bytes(what: str) -> int | None:
    """A line of ``/proc/self/status`` in bytes, such as ``VmRSS``; None where there is none."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(what + ":"):
            return int(line.split()[1]) * 1024
    return None
