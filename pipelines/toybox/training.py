"""What all Toybox trainings share: a run's folder with its state and its log."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import torch


def autocast(device: str) -> torch.autocast:
    """bf16 where it is fast: CPUs with AVX-512 and every current CUDA device."""
    return torch.autocast(device.split(":")[0], torch.bfloat16)


class Run:
    """One training: how far it is, where its state lies, what it has logged.

    The state is written to a new file and renamed, so that a kill at any moment leaves the last
    complete one.

    Attributes:
        samples: training samples seen so far.
        seconds: training time so far, over all sessions.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.device = folder, device
        self.path, self.log_path = folder / "state.pt", folder / "log.jsonl"
        self._state = (
            torch.load(self.path, map_location="cpu", weights_only=True)
            if self.path.exists()
            else {}
        )
        self.samples: int = self._state.get("samples", 0)
        self.seconds: float = self._state.get("seconds", 0.0)
        self._started = time.time()

    def load(self, **parts) -> None:
        """Restores each named module or optimizer from the state, where the state has it."""
        for name, part in parts.items():
            if name in self._state:
                part.load_state_dict(self._state[name])

    def get(self, name: str, default=None):
        """A plain value of the state."""
        return self._state.get(name, default)

    def save(self, values: dict | None = None, **parts) -> None:
        """Writes the state: counters, ``values``, and each part's ``state_dict``."""
        self._tick()
        state = {"samples": self.samples, "seconds": self.seconds, **(values or {})}
        state |= {name: part.state_dict() for name, part in parts.items()}
        torch.save(state, new := self.path.with_suffix(".new"))
        os.replace(new, self.path)

    def log(self, **values) -> dict:
        """Appends a line to ``log.jsonl`` and returns it."""
        self._tick()
        line = {"samples": self.samples, "seconds": round(self.seconds, 1), **values}
        with open(self.log_path, "a") as file:
            file.write(json.dumps(line) + "\n")
        return line

    def _tick(self) -> None:
        now = time.time()
        self.seconds, self._started = self.seconds + now - self._started, now
