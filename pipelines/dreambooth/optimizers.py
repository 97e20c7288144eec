"""The optimisers that a training can choose from."""

from __future__ import annotations

from typing import Any

import torch

from pipelines.dreambooth.preflight import check_8bit
from pipelines.dreambooth.requests import TrainingRequest

BETAS = (0.9, 0.999)


def make_optimizer(
    request: TrainingRequest, groups: list[dict[str, Any]], device: str
) -> torch.optim.Optimizer:
    """The optimiser that was asked for.

    Args:
        groups: ``{"params": …, "lr": …}`` each; Prodigy finds one step size for all of them.
        device: where it works.

    Raises:
        Unavailable: 8-bit AdamW without CUDA or without bitsandbytes.
    """
    if request.optimizer == "prodigy":
        from prodigyopt import Prodigy

        groups = [{**group, "lr": request.learning_rate} for group in groups]
        return Prodigy(
            groups,
            lr=request.learning_rate,
            betas=BETAS,
            weight_decay=request.weight_decay,
            use_bias_correction=True,
            safeguard_warmup=True,
        )
    if request.optimizer == "adamw_8bit":
        check_8bit(device)
        import bitsandbytes

        return bitsandbytes.optim.AdamW8bit(groups, betas=BETAS, weight_decay=request.weight_decay)
    return torch.optim.AdamW(
        groups, betas=BETAS, weight_decay=request.weight_decay, fused=device.startswith("cuda")
    )


class Average:
    """A running average of trained weights (EMA), in float32 where they are.

    The decay rises to its final value, so that the first steps do not weigh for ever.
    """

    def __init__(self, parameters: list[torch.nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.tensors = [p.detach().float().clone() for p in parameters]

    @torch.no_grad()
    def update(self, parameters: list[torch.nn.Parameter], step: int) -> None:
        """Moves towards ``parameters`` after ``step`` (1 …)."""
        decay = min(self.decay, step / (step + 9))
        torch._foreach_lerp_(self.tensors, [p.detach().float() for p in parameters], 1 - decay)

    @torch.no_grad()
    def swap(self, parameters: list[torch.nn.Parameter]) -> None:
        """Exchanges the average and the weights; a second call undoes it."""
        for mine, parameter in zip(self.tensors, parameters, strict=True):
            held = parameter.detach().float().clone()
            parameter.copy_(mine)
            mine.copy_(held)
