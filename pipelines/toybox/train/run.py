"""What all Toybox trainings share: a run's folder with its state and its log."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
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
        self._started = self._begun = time.time()
        self._steps, self._average = 0, 0.0  # of this session

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

    def step(self, loss: torch.Tensor, samples: int, every: int, **values) -> Iterator[dict]:
        """Counts a step that has learnt from ``samples``; logs each ``every`` steps.

        Yields:
            the line: the running average of the losses, samples a second of this session, values.
        """
        self.samples += samples
        self._steps += 1
        self._average += (1 if self._steps == 1 else 0.02) * (loss.item() - self._average)
        if self._steps % every == 0:
            speed = self._steps * samples / (time.time() - self._begun)
            yield self.log(loss=round(self._average, 5), per_second=round(speed, 1), **values)

    def _tick(self) -> None:
        now = time.time()
        self.seconds, self._started = self.seconds + now - self._started, now


def learning_rates(minutes: float, lr: float, anneal: float, warm_up: int = 200) -> Iterator[float]:
    """The learning rate of each step until ``minutes`` are over.

    It rises over ``warm_up`` steps and falls to a twentieth in the last share ``anneal`` of the
    time.
    """
    start, seconds, step = time.time(), 60 * minutes, 0
    while (left := 1 - (time.time() - start) / seconds) > 0:
        step += 1
        falling = max(0.05, left / anneal) if anneal else 1.0
        yield lr * min(1.0, step / warm_up) * min(1.0, falling)


class Optimizers:
    """Muon for a network's hidden matrices and convolutions, AdamW for all its other parameters.

    Muon (https://kellerjordan.github.io/posts/muon/) takes steps whose directions are all equally
    long. A convolution (O, I, h, w) is to it a matrix (O, h·w·I). Its steps are scaled to AdamW's
    usual length, so one learning rate serves both.

    Args:
        model: on its device already, its convolutions in memory as ``channels_last``.
        first_and_last: beginnings of the names of layers next to input and output, for AdamW.
    """

    def __init__(self, model: torch.nn.Module, first_and_last: Sequence[str]) -> None:
        self._parameters = list(model.parameters())
        self._matrices: list[tuple[torch.nn.Parameter, torch.nn.Parameter]] = []
        others = []
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2 or name.startswith(tuple(first_and_last)):
                others.append(parameter)
            else:  # the matrix shares the parameter's memory
                self._matrices.append((parameter, torch.nn.Parameter(_matrix(parameter.data))))
        self._muon = torch.optim.Muon(
            [matrix for _, matrix in self._matrices],
            weight_decay=0.01,
            adjust_lr_fn="match_rms_adamw",
        )
        self._adamw = torch.optim.AdamW(others, betas=(0.9, 0.99), weight_decay=0.01)

    @property
    def parts(self) -> dict[str, torch.optim.Optimizer]:
        """For :meth:`Run.load` and :meth:`Run.save`."""
        return {"muon": self._muon, "adamw": self._adamw}

    def step(self, lr: float, largest_norm: float = 1.0) -> None:
        """Clips the gradients, takes one step and clears them."""
        torch.nn.utils.clip_grad_norm_(self._parameters, largest_norm)
        for parameter, matrix in self._matrices:
            matrix.grad = _matrix(parameter.grad)
        for optimizer in (self._muon, self._adamw):
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        for parameter in self._parameters:
            parameter.grad = None


def _matrix(weight: torch.Tensor) -> torch.Tensor:
    """(O, I, h, w) as (O, h·w·I), a view where the memory format is ``channels_last``."""
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.ndim == 4 else weight
