"""A late start, and what is kept of a picture, where the denoising loop is diffusers' own.

All of these pipelines ask their scheduler for the timesteps, begin with what ``prepare_latents``
returns, and hand every prediction to the scheduler. So they need to know nothing of the picture:
the scheduler leaves out its first steps, the first latents become the picture with that step's
noise, and each prediction is changed so that x̂0 is the picture's where it stays.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import torch

from pipelines.diffusion.denoise import (
    Beginning,
    change_at,
    keep_picture,
    latents_below,
    predict_x0,
    prediction_type,
    signal_and_noise,
    timesteps_from,
)
from pipelines.diffusion.from_picture.requests import MaskedContent


class LateScheduler:
    """Stands between one run's pipeline and its scheduler.

    Args:
        pipe: a copy of a pipeline, with a scheduler of its own; methods of both are replaced.
        beginning: the picture, (1, C, h, w), and the mask, (1, 1, h, w).
        content: what lies below the mask at first.

    Attributes:
        denoised: the picture as the model saw it through the noise at the last evaluation, in the
            pipeline's arrangement; None before the first.
    """

    def __init__(
        self, pipe: Any, beginning: Beginning, content: MaskedContent = "original"
    ) -> None:
        self._pipe, self._scheduler = pipe, pipe.scheduler
        self._asked, self._content = beginning, content
        self._flow = prediction_type(self._scheduler) == "flow_prediction"
        self._first: torch.Tensor | None = None  # the latents that the pipeline begins with
        self._beginning: Beginning | None = None
        self._timesteps: torch.Tensor | None = None
        self._index = 0
        self.denoised: torch.Tensor | None = None
        for owner, name, wrapper in (
            (pipe, "prepare_latents", self._prepare_latents),
            (self._scheduler, "set_timesteps", self._set_timesteps),
            (self._scheduler, "step", self._step),
        ):
            original = getattr(owner, name)
            # Pipelines look at the signatures of the scheduler's methods: they stay the same.
            replaced = functools.wraps(original)(functools.partial(wrapper, original))
            setattr(owner, name, replaced)

    def _prepare_latents(self, original: Any, *arguments: Any, **options: Any) -> Any:
        made = original(*arguments, **options)
        self._first = made[0] if isinstance(made, tuple) else made
        self._begin()
        return made

    def _set_timesteps(self, original: Any, *arguments: Any, **options: Any) -> None:
        original(*arguments, **options)
        scheduler, left_out = self._scheduler, self._asked.start * self._scheduler.order
        scheduler.timesteps = self._timesteps = timesteps_from(scheduler, self._asked.start)
        if hasattr(scheduler, "sigmas"):
            scheduler.sigmas = scheduler.sigmas[left_out:]
        self._begin()

    def _begin(self) -> None:
        """Puts the picture into the first latents, once both they and the timesteps are known."""
        first = self._first
        if first is None or self._timesteps is None:
            return
        noise = first.float()
        change = self._asked.change
        picture = arrange(self._pipe, normalise(self._pipe, self._asked.latents)).to(noise)
        below = picture if self._asked.start else None
        if change is not None:
            change = change.to(self._asked.latents).expand_as(self._asked.latents)
            change = arrange(self._pipe, patchify(self._pipe, change)).to(noise)
            below = latents_below(picture, change, noise, self._content, self._asked.start)
        self._beginning = replace(self._asked, latents=picture, change=change)
        signal, share = self._shares(self._timesteps[0])
        multiplier, extra = self._asked.noise_multiplier, self._asked.extra_noise
        if below is not None:
            share = multiplier * (share + signal * extra)
            first.copy_(signal * below + share * noise)
        elif multiplier != 1 or extra:
            first.mul_(multiplier * (1 + signal * extra))

    def _step(
        self,
        original: Any,
        prediction: torch.Tensor,
        timestep: torch.Tensor,
        sample: torch.Tensor,
        *arguments: Any,
        **options: Any,
    ) -> Any:
        beginning, kind = self._beginning, prediction_type(self._scheduler)
        shares = self._shares(timestep)
        if beginning.change is not None:
            change = change_at(beginning, timestep, self._timesteps)
            kept = keep_picture(
                beginning.latents, change, kind, shares, prediction.float(), sample.float()
            )
            prediction = kept.to(prediction.dtype)
        self.denoised = predict_x0(kind, shares, prediction.float(), sample.float())
        latents, *rest = original(prediction, timestep, sample, *arguments, **options)
        self._index += 1
        if beginning.change is not None and self._index == len(self._timesteps):
            change = beginning.change.sign() if beginning.gradual else beginning.change
            latents = torch.lerp(beginning.latents, latents.float(), change).to(latents.dtype)
        return (latents, *rest)

    def _shares(self, timestep: torch.Tensor) -> tuple[float, float]:
        """Of signal and noise in what the model sees at the present evaluation."""
        if self._flow:
            sigma = float(self._scheduler.sigmas[self._index])
            return 1 - sigma, sigma
        return signal_and_noise(self._scheduler, timestep)


def normalise(pipe: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents as :func:`patchify`; Flux 2's by the statistics that its autoencoder has kept."""
    patches = patchify(pipe, latents)
    if patches is latents:
        return latents
    mean, deviation = patch_statistics(pipe, patches)
    return (patches - mean) / deviation


def patchify(pipe: Any, latents: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) → the same, or (B, 4C, h/2, w/2) where the pipeline makes patches first."""
    return pipe._patchify_latents(latents) if hasattr(pipe, "_patchify_latents") else latents


def arrange(pipe: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents as the pipeline's loop has them: Flux and its kin make a row of patches of them.

    Args:
        latents: (B, C, h, w), patchified.

    Returns:
        The same, or (B, h/2 · w/2, 4C).
    """
    if not hasattr(pipe, "_pack_latents"):
        return latents
    if hasattr(pipe, "_patchify_latents"):
        return pipe._pack_latents(latents)
    return pipe._pack_latents(latents, *latents.shape)


def spread(pipe: Any, latents: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The inverse of :func:`arrange`: Flux 2's are still patches, (B, 4C, h/2, w/2).

    Args:
        latents: as the pipeline's loop has them.
        size: width and height of the picture.
    """
    if latents.ndim == 3:
        width, height = size
        if hasattr(pipe, "_unpatchify_latents"):
            rows = height // (2 * pipe.vae_scale_factor)
            return latents.unflatten(1, (rows, -1)).movedim(-1, 1)
        latents = pipe._unpack_latents(latents, height, width, pipe.vae_scale_factor)
    return latents.squeeze(2) if latents.ndim == 5 else latents  # a video of one frame


def patch_statistics(pipe: Any, patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of each channel of Flux 2's patches, (1, 4C, 1, 1)."""
    statistics = pipe.vae.bn
    mean = statistics.running_mean.view(1, -1, 1, 1).to(patches)
    variance = statistics.running_var.view(1, -1, 1, 1).to(patches)
    return mean, (variance + pipe.vae.config.batch_norm_eps).sqrt()
