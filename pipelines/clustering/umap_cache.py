"""UMAP for those who cannot wait for long: nothing can stop it, so it is kept once it is done."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from pipelines.clustering.projecting import Projection
from pipelines.core.errors import Stopped

KEPT = 16  # of at most half a megabyte
LOOK_SECONDS = 0.1


class UmapCache:
    """The last layouts by UMAP that were asked for, one made at a time.

    A caller who leaves before the end leaves a thread behind that goes on to it: the next one who
    asks for the same gets what it has made, or waits for the rest of it. Others start none
    meanwhile, so that those who ask and leave do not fill the machine.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Projection | Exception] = OrderedDict()
        self._making: Hashable | None = None
        self._changed = threading.Condition()

    def get(
        self, key: Hashable, make: Callable[[], Projection], stop: threading.Event
    ) -> Projection:
        """What ``make`` returns, or raises; the same as before for the same key.

        Raises:
            Stopped: ``stop`` was set; looked at every 0.1 s.
        """
        with self._changed:
            while True:
                if (found := self._kept.get(key)) is not None:
                    if isinstance(found, Exception):
                        del self._kept[key]  # the next one tries again
                        raise found
                    self._kept.move_to_end(key)
                    return found
                if stop.is_set():
                    raise Stopped
                if self._making is None:
                    self._making = key
                    threading.Thread(
                        target=self._make, args=(key, make), name="layout", daemon=True
                    ).start()
                self._changed.wait(LOOK_SECONDS)

    def _make(self, key: Hashable, make: Callable[[], Projection]) -> None:
        try:
            found: Projection | Exception = make()
        except Exception as error:
            found = error
        with self._changed:
            self._making = None
            self._kept[key] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            self._changed.notify_all()
