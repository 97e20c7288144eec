"""The plots that were drawn last: another look at the same points costs nothing."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from studio.core.named_locks import Locks
from studio.features.clustering.plot.points import Plotted

MAX_PLOTS = 16  # of at most half a megabyte


class PlotCache:
    """The last plots that were asked for; those of the same key are computed once."""

    def __init__(self) -> None:
        self._plots: OrderedDict[Hashable, Plotted] = OrderedDict()
        self._making = Locks()
        self._lock = threading.Lock()

    def find(self, key: Hashable) -> Plotted | None:
        """The plot of this key where it is here."""
        with self._lock:
            if key in self._plots:
                self._plots.move_to_end(key)
            return self._plots.get(key)

    def get(self, key: Hashable, make: Callable[[], Plotted]) -> Plotted:
        """The plot of this key, which ``make`` draws where it is not here."""
        with self._making.hold(key):
            if (found := self.find(key)) is not None:
                return found
            made = make()
            with self._lock:
                self._plots[key] = made
                while len(self._plots) > MAX_PLOTS:
                    self._plots.popitem(last=False)
            return made
