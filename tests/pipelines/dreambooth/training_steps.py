"""Trainers in the test's own process, step by step, and what has moved."""

from __future__ import annotations

import torch

from pipelines.dreambooth.base import Base


def frozen_parameters(base: Base) -> dict[str, torch.Tensor]:
    parts = {"unet": base.unet, "text": base.pipe.text_encoder}
    return {
        f"{part}.{name}": parameter.detach().clone()
        for part, module in parts.items()
        if module is not None
        for name, parameter in module.named_parameters()
        if not parameter.requires_grad
    }


def worst(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def run(trainer, steps: int | None = None) -> None:
    """Prepares and takes ``steps`` of the steps, all of them when None."""
    trainer.prepare()
    for done in trainer.steps():
        if done == steps:
            break
