"""The loss of DreamBooth: the subject's photos, and w times the class's own pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Loss:
    """Scalars of one batch.

    Attributes:
        total: instance + w · prior; what is differentiated.
        instance: of the subject's photos.
        prior: of the class pictures; None without them.
    """

    total: Tensor
    instance: Tensor
    prior: Tensor | None


class Noising:
    """x_t = √ā_t·x0 + √(1−ā_t)·ε, and what the network should say of it.

    Args:
        alphas_cumprod: (T,) ā of the model's schedule.
        prediction_type: ``"epsilon"``, ``"v_prediction"`` or ``"sample"``, as the scheduler says.
    """

    def __init__(self, alphas_cumprod: Tensor, prediction_type: str) -> None:
        if prediction_type not in ("epsilon", "v_prediction", "sample"):
            raise ValueError(f"prediction type {prediction_type!r} is not known")
        self.alphas = alphas_cumprod.float()
        self.prediction_type = prediction_type

    @property
    def steps(self) -> int:
        return len(self.alphas)

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t (B, C, h, w) at ``t`` (B,) int64."""
        signal, sigma = self._factors(t)
        return signal * x0 + sigma * noise

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """ε, v = √ā·ε − √(1−ā)·x0, or x0 (B, C, h, w)."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return x0
        signal, sigma = self._factors(t)
        return signal * noise - sigma * x0

    def snr(self, t: Tensor) -> Tensor:
        """ā/(1−ā) (B,): signal over noise."""
        alphas = self.alphas.to(t.device)[t]
        return alphas / (1 - alphas)

    def weights(self, t: Tensor, gamma: float) -> Tensor:
        """Min-SNR-γ (https://arxiv.org/abs/2303.09556): what each sample's loss counts, (B,).

        min(SNR, γ)/SNR for ε, /(SNR + 1) for v, and min(SNR, γ) for x0; all 1 with γ = 0. Where
        the SNR is 0 (zero terminal SNR) the weight for ε is its limit, 1.
        """
        if gamma == 0:
            return torch.ones(t.shape, device=t.device)
        snr = self.snr(t)
        capped = snr.clamp(max=gamma)
        if self.prediction_type == "v_prediction":
            return capped / (snr + 1)
        if self.prediction_type == "sample":
            return capped
        return torch.where(snr > 0, capped / snr, torch.ones_like(snr))

    def _factors(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alphas = self.alphas.to(t.device)[t][:, None, None, None]
        return alphas.sqrt(), (1 - alphas).sqrt()


def dreambooth_loss(
    prediction: Tensor, target: Tensor, weights: Tensor, instances: int, prior_weight: float
) -> Loss:
    """‖target − prediction‖² of the photos plus w times that of the class pictures.

    Args:
        prediction, target: (B, C, h, w), float32; the photos first, class pictures behind them.
        weights: (B,), of each sample.
        instances: how many of the B are photos.
        prior_weight: w.
    """
    each = (prediction - target).square().mean(dim=(1, 2, 3)) * weights  # (B,)
    instance = each[:instances].mean()
    if instances == len(each):
        return Loss(instance, instance, None)
    prior = each[instances:].mean()
    return Loss(instance + prior_weight * prior, instance, prior)


def spread_timesteps(count: int, steps: int, generator: torch.Generator) -> Tensor:
    """(count,) int64 in 0 … steps − 1: each uniform, together spread evenly over the range.

    One draw in each of ``count`` equal stretches, in random order: the loss of a batch then varies
    less than with independent draws, and its mean is the same.
    """
    order = torch.randperm(count, generator=generator)
    places = (order + torch.rand(count, generator=generator)) / count * steps
    return places.long().clamp(max=steps - 1)


def offset_noise(shape: torch.Size, offset: float, generator: torch.Generator) -> Tensor:
    """Noise (B, C, h, w), to which ``offset`` times a constant for each channel is added.

    Ordinary noise hardly changes a picture's mean brightness, so a model never learns to
    (https://www.crosslabs.org/blog/diffusion-with-offset-noise).
    """
    noise = torch.randn(shape, generator=generator)
    if offset:
        noise = noise + offset * torch.randn(*shape[:2], 1, 1, generator=generator)
    return noise
