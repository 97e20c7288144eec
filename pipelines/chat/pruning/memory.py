"""The most memory that comes on top of what there is, while something runs."""

from __future__ import annotations

import threading
from types import TracebackType

_SECONDS = 0.01  # between two looks, where nobody keeps count


class PeakMemory:
    """``with PeakMemory(device) as memory: …``; then ``memory.bytes``.

    On CUDA the allocator's own count. Elsewhere the process's resident memory, looked at every
    hundredth of a second; what the process had reserved before and uses again is not seen.
    """

    def __init__(self, device: str) -> None:
        self.device, self.bytes = device, 0

    def __enter__(self) -> PeakMemory:
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
            return self
        import psutil

        self._process = psutil.Process()
        self._before = self._process.memory_info().rss
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="peak memory", daemon=True)
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.device.startswith("cuda"):
            import torch

            self.bytes = torch.cuda.max_memory_allocated(self.device) - self._before
            return
        self._over.set()
        self._watcher.join()
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(_SECONDS):
            self._look()

    def _look(self) -> None:
        self.bytes = max(self.bytes, self._process.memory_info().rss - self._before)
