"""A clock that a test sets for one module; all others keep theirs."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import pytest


def set_clock(monkeypatch: pytest.MonkeyPatch, module: ModuleType, **functions: Callable) -> None:
    """The module's ``time`` has these functions, such as ``monotonic``, in the place of its own.

    Setting them in :mod:`time` itself would reach everybody: an event loop of a studio that serves
    other tests takes its timers from that clock, and sleeps for hours.
    """
    own = SimpleNamespace(**{**vars(time), **functions})
    monkeypatch.setattr(module, "time", own)
