"""The autoencoder looks at the stop flag too: a large picture takes it minutes on a processor."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from pipelines.core.errors import Stopped

_thread = threading.local()


@contextmanager
def watch_stop(stop: threading.Event) -> Iterator[None]:
    """Within, :func:`stop_within` knows the flag of what this thread is at."""
    before = getattr(_thread, "stop", None)
    _thread.stop = stop
    try:
        yield
    finally:
        _thread.stop = before


@contextmanager
def stop_within(module: nn.Module) -> Iterator[None]:
    """Within, ``module`` raises Stopped before a layer of it runs, once this thread's flag is set.

    Another thread that uses the same module has a flag of its own, or none.
    """
    own = threading.get_ident()
    stop = getattr(_thread, "stop", None)

    def look(layer: nn.Module, given: Any) -> None:
        if threading.get_ident() == own and stop.is_set():
            raise Stopped

    hooks = []
    if stop is not None:
        layers = [each for each in module.modules() if isinstance(each, nn.Conv2d | nn.Conv3d)]
        hooks = [each.register_forward_pre_hook(look) for each in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
