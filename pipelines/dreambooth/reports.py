"""What a training tells of its steps: progress lines, TensorBoard, and that a loss is no number."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from pipelines.core.devices import peak_memory
from pipelines.core.errors import UserError
from pipelines.dreambooth.loss import Loss

if TYPE_CHECKING:
    from pipelines.dreambooth.folder import TrainingFolder

_SECONDS = 0.25  # steps are written together: asking a GPU for a number makes it wait


class Reports:
    """Writes finished steps to the progress and to TensorBoard, several at a time.

    Args:
        folder: of the training.
        optimizer: whose own step size is told.
        rate: the learning rate that the factors of :meth:`add` are of.
        asked_rate: the learning rate that was asked for.
        step: how many steps are done already.
        device: whose memory is told.
        is_main: whether this is the process that writes.
    """

    def __init__(
        self,
        folder: TrainingFolder,
        optimizer: Optimizer,
        rate: float,
        asked_rate: float,
        step: int,
        device: str,
        is_main: bool,
    ) -> None:
        self.folder, self.optimizer, self.device = folder, optimizer, device
        self.rate, self.asked_rate, self.is_main = rate, asked_rate, is_main
        self.waiting: list[tuple[int, list[Loss], Tensor | None, float, float]] = []
        self.last = time.monotonic()
        self.writer = _summary_writer(folder.tensorboard, step) if is_main else None

    def add(self, step: int, losses: list[Loss], norm: Tensor | None, factor: float) -> None:
        self.waiting.append((step, losses, norm, factor, time.time()))
        if time.monotonic() - self.last > _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Raises UserError when a loss was no number."""
        self.last = time.monotonic()
        waiting, self.waiting = self.waiting, []
        for step, losses, norm, factor, when in waiting:
            values = {
                "loss": _mean([loss.total for loss in losses]),
                "instance_loss": _mean([loss.instance for loss in losses]),
                "prior_loss": _mean([loss.prior for loss in losses if loss.prior is not None]),
                "norm": None if norm is None else float(norm),
                "rate": self.rate * factor * self._found_rate(),
            }
            if not math.isfinite(values["loss"]):
                raise UserError(
                    "The loss is no number any more at step {step}: the learning rate {rate} is "
                    "too high for these settings. Lower it and duplicate the training.",
                    step=step,
                    rate=self.asked_rate,
                )
            if not self.is_main:
                continue
            shown = {k: round(v, 8) for k, v in values.items() if v is not None and _finite(v)}
            memory = peak_memory(self.device)
            self.folder.report("step", step=step, at=round(when, 3), memory=memory, **shown)
            for name, value in shown.items():
                self.writer.add_scalar(name, value, step)
        if self.writer is not None:
            self.writer.flush()

    def close(self) -> None:
        """Writes what is left."""
        try:
            self.flush()
        finally:
            if self.writer is not None:
                self.writer.close()

    def _found_rate(self) -> float:
        """Prodigy's own step size; 1 for others."""
        return float(self.optimizer.param_groups[0].get("d", 1.0))


def _summary_writer(folder: Path, step: int) -> Any:
    """TensorBoard's log, from which what lies behind ``step`` is hidden."""
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)


def _mean(tensors: list[Tensor]) -> float | None:
    return torch.stack(tensors).mean().item() if tensors else None


def _finite(value: float) -> bool:
    return math.isfinite(value)
