"""The optimisers that a training can choose from, and how its learning rate goes.

A rate is a pure function of the step, so that a resumed training needs no state of it.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from pipelines.dreambooth.preflight import check_8bit
from pipelines.dreambooth.requests import Schedule, TrainingRequest

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


RESTARTS = 3  # cycles of cosine_with_restarts


def rate_factor(step: int, steps: int, warmup_steps: int, schedule: Schedule) -> float:
    """What the learning rate is multiplied by at ``step`` (0 … ``steps`` − 1), 0 … 1.

    In the warm-up it is (step + 1) / warmup_steps; behind it, with p from 0 to nearly 1:
    constant 1, linear 1 − p, cosine ½·(1 + cos πp), polynomial (1 − p)².

    >>> [round(rate_factor(s, 6, 2, "cosine"), 3) for s in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    p = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    match schedule:
        case "linear":
            return 1 - p
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * p))
        case "cosine_with_restarts":
            return 0.5 * (1 + math.cos(math.pi * ((p * RESTARTS) % 1.0)))
        case "polynomial":
            return (1 - p) ** 2
        case _:
            return 1.0
