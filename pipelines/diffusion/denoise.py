"""The denoising loop of the UNet families: predict, guide, step.

Everything here is float32 but the UNet itself: half precision loses the small differences that the
solvers add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import LMSDiscreteScheduler, PNDMScheduler

from pipelines.diffusion.prompts import PromptEmbeds

Predict = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""``predict(model_input, timestep)``: latents (B, C, h, w) at the variance the UNet was trained on
→ its prediction (ε, v or x0, as the scheduler's ``prediction_type`` says), the same shape."""

_LMS_ORDER = 4  # that of LMSDiscreteScheduler, unless it is told another

Steer = Callable[[torch.Tensor, torch.Tensor, dict[str, Any], bool], dict[str, Any]]
"""``steer(sample, timestep, arguments, guided)`` → further arguments of the UNet for this
evaluation; ``guided``: the first half of the rows are unconditional ones."""


@dataclass(frozen=True, slots=True)
class Step:
    """The state after one evaluation of the UNet.

    Attributes:
        index: evaluations done, 1 … ``total``; second-order samplers need two a step.
        latents: (B, C, h, w), what the next evaluation begins with.
        denoised: (B, C, h, w), the picture as the UNet sees it through the noise now.
    """

    index: int
    total: int
    latents: torch.Tensor
    denoised: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Beginning:
    """A picture to begin from.

    Attributes:
        latents: (1 or B, C, h, w), the picture in the denoiser's scale, float32.
        start: steps at the beginning that are left out; 0 begins with noise alone.
        change: (1, 1, h, w) in [0, 1], where something new comes: 0 keeps the picture, 1 paints
            anew. None is 1 everywhere.
        gradual: values between repaint only the last steps, the fewer the lower they are
            (Differential Diffusion, https://arxiv.org/abs/2306.00950, section 4); otherwise they
            mix the picture's and the new latents.
        below: likewise latents, those to begin with where they are not the picture's. Their trace
            is in the first noise at full strength too, as models were trained: without it what is
            new comes out greyer than bright or dark surroundings.
        noise_multiplier: of the first noise.
        extra_noise: how much more of it is added, in the picture's scale: 1 is noise of unit
            variance on the clean latents, whatever the scheduler's scale is.
    """

    latents: torch.Tensor
    start: int
    change: torch.Tensor | None = None
    gradual: bool = False
    below: torch.Tensor | None = None
    noise_multiplier: float = 1.0
    extra_noise: float = 0.0

    @property
    def changes_anything(self) -> bool:
        """Whether a run is another than one of the same noise without a picture."""
        is_other_noise = self.noise_multiplier != 1 or self.extra_noise > 0
        return self.start > 0 or self.change is not None or is_other_noise


@torch.no_grad()
def denoise(
    predict: Predict,
    scheduler: Any,
    noise: torch.Tensor,
    step_arguments: dict[str, Any],
    beginning: Beginning | None = None,
) -> Iterator[Step]:
    """Take the noise away, one evaluation per item.

    What of a picture stays is kept by its part of x̂0: the prediction is changed so that x̂0 is the
    picture's there. So every solver, whatever it does with predictions, ends at the picture.

    Args:
        predict: see :data:`Predict`.
        scheduler: a diffusers scheduler whose timesteps are set.
        noise: (B, C, h, w) of unit variance, float32.
        step_arguments: from :func:`pipelines.diffusion.samplers.step_arguments`.
        beginning: a picture to begin from; None: from noise alone.
    """
    start = beginning.start if beginning else 0
    timesteps = timesteps_from(scheduler, start)
    if hasattr(scheduler, "set_begin_index"):
        # Left to themselves they look the first timestep up, and begin one late where dense
        # schedules round two of them to the same.
        scheduler.set_begin_index(start * scheduler.order)
    below = None if beginning is None else beginning.below
    if below is None and start:
        below = beginning.latents
    first = timesteps[:1].expand(len(noise))
    if beginning is not None:
        noise = noise * beginning.noise_multiplier
    if below is not None:
        latents = scheduler.add_noise(below.expand_as(noise), noise, first)
    else:
        latents = noise * scheduler.init_noise_sigma
    if beginning is not None and beginning.extra_noise:
        # What a clean picture counts for in these latents, the extra noise does too.
        scaled = scheduler.add_noise(noise, torch.zeros_like(noise), first)
        latents = latents + beginning.extra_noise * scaled
    total, order = len(timesteps), step_arguments.get("order", _LMS_ORDER)
    for index, timestep in enumerate(timesteps, start=1):
        model_input = scheduler.scale_model_input(latents, timestep)
        prediction = predict(model_input, timestep)
        if beginning is not None and beginning.change is not None:
            change = change_at(beginning, timestep, timesteps)
            kind, shares = prediction_type(scheduler), signal_and_noise(scheduler, timestep)
            prediction = keep_picture(
                beginning.latents, change, kind, shares, prediction, model_input
            )
        if isinstance(scheduler, LMSDiscreteScheduler):
            # By itself it counts the steps that were left out among those it has derivatives of.
            step_arguments = {**step_arguments, "order": min(index, order)}
        latents = scheduler.step(
            prediction, timestep, latents, **step_arguments, return_dict=False
        )[0]
        if index == total and beginning is not None and beginning.change is not None:
            change = beginning.change.sign() if beginning.gradual else beginning.change
            latents = torch.lerp(beginning.latents.expand_as(latents), latents, change)
        shares = signal_and_noise(scheduler, timestep)
        shown = predict_x0(prediction_type(scheduler), shares, prediction, model_input)
        yield Step(index, total, latents, shown)


def timesteps_from(scheduler: Any, start: int) -> torch.Tensor:
    """The timesteps of all evaluations when the first ``start`` steps are left out.

    Second-order samplers have two evaluations a step; PNDM has its second one twice.
    """
    if start and isinstance(scheduler, PNDMScheduler):
        steps = torch.cat([scheduler.timesteps[:1], scheduler.timesteps[2:]])[start:]
        return torch.cat([steps[:2], steps[1:2], steps[2:]])
    return scheduler.timesteps[start * scheduler.order :]


def steps_of(scheduler: Any, start: int) -> list[int]:
    """The step of the schedule, from 0, that each evaluation of :func:`timesteps_from` is of."""
    evaluations = range(len(timesteps_from(scheduler, start)))
    if isinstance(scheduler, PNDMScheduler):  # the second one twice
        return [start + each - (each >= 2) for each in evaluations]
    return [start + each // scheduler.order for each in evaluations]


def latents_below(
    picture: torch.Tensor, change: torch.Tensor, noise: torch.Tensor, content: str, start: int
) -> torch.Tensor | None:
    """What a run with a mask begins with, (B, C, h, w); None: noise alone, as all may change.

    Args:
        picture: its latents.
        change: (1, 1, h, w), where something new comes.
        noise: of the run.
        content: what lies below the mask at first; see
            :class:`pipelines.diffusion.from_picture.requests.FromPicture`.
        start: steps that are left out.
    """
    if not start and change.min() == 1:
        return None
    match content:
        case "noise" if start:  # else there is the noise already
            other = noise
        case "noise" | "nothing":
            other = torch.zeros_like(noise)
        case _:
            return picture
    return torch.lerp(picture.expand_as(other), other, change)


def change_at(
    beginning: Beginning, timestep: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """Where something new comes at one evaluation, (1, 1, h, w)."""
    change = beginning.change
    if not beginning.gradual:
        return change
    first, last = timesteps[0], timesteps[-1]
    threshold = (timestep - last) / (first - last) if len(timesteps) > 1 else 0.0
    return ((change >= threshold) & (change > 0)).to(change)


def keep_picture(
    latents: torch.Tensor,
    change: torch.Tensor,
    kind: str,
    shares: tuple[float, float],
    prediction: torch.Tensor,
    model_input: torch.Tensor,
) -> torch.Tensor:
    """The prediction whose x̂0 is ``latents`` where nothing is to change.

    Args:
        latents: of the picture.
        change: as :func:`change_at` returns it.
        kind: the scheduler's, by :func:`prediction_type`.
        shares: of signal and noise in ``model_input``.
    """
    denoised = predict_x0(kind, shares, prediction, model_input)
    difference = (1 - change) * (latents - denoised)  # what x̂0 is to gain
    signal, noise = shares
    match kind:
        case "v_prediction" | "flow_prediction":
            return prediction - difference / noise
        case "sample":
            return prediction + difference
        case _:
            return prediction - difference * signal / noise


def noise_for(shape: Sequence[int], generators: Sequence[torch.Generator]) -> torch.Tensor:
    """(B, C, h, w) of unit variance, each picture's from its own CPU generator.

    Drawn in float32 on the CPU, whatever the device, so that a seed means the same everywhere.
    """
    return torch.stack([torch.randn(*shape, generator=generator) for generator in generators])


def prediction_type(scheduler: Any) -> str:
    """What the model predicts, by the names of diffusers' configs."""
    return scheduler.config.get("prediction_type", "flow_prediction")


def predict_x0(
    kind: str, shares: tuple[float, float], prediction: torch.Tensor, model_input: torch.Tensor
) -> torch.Tensor:
    """x̂0 from a prediction. Schedulers differ in what they return of it, so it is computed here.

    Args:
        kind: as :func:`prediction_type` returns it.
        shares: of signal and noise in ``model_input``: √ā and √(1−ā), or 1−σ and σ on the straight
            paths of flow matching.
        model_input: signal·x0 + noise·ε for every scheduler: that is what scaling is for.
    """
    signal, noise = shares
    match kind:
        case "v_prediction":
            return signal * model_input - noise * prediction
        case "flow_prediction":
            return model_input - noise * prediction
        case "sample":
            return prediction
        case _:
            return (model_input - noise * prediction) / signal


def signal_and_noise(scheduler: Any, timestep: torch.Tensor) -> tuple[float, float]:
    """√ā and √(1−ā) at a timestep, which may lie between two of the training's."""
    alphas = scheduler.alphas_cumprod.cpu().numpy()
    alpha = float(np.interp(float(timestep), np.arange(len(alphas)), alphas))
    return max(alpha, 2**-24) ** 0.5, (1 - alpha) ** 0.5


class GuidedUNet:
    """Classifier-free guidance, ε = ε_u + s·(ε_c − ε_u), by one call of the UNet for both.

    Args:
        unet: called as ``unet(sample, timestep, encoder_hidden_states=…, return_dict=False)`` with
            the further arguments of UNet2DConditionModel where the model wants them, so an
            accelerated stand-in will do.
        config: the UNet's config.
        embeds: prompt and negative prompt, at each evaluation where they change; of one shape.
        guidance: s; up to 1 the negative prompt is not used, and each step costs half.
        rescale: φ, pulls the standard deviation back towards ε_c's
            (https://arxiv.org/abs/2305.08891, section 3.4).
        size: height and width of the picture in pixels, which SDXL is told.
        dtype: of the UNet.
        device: of the UNet.
        steer: called with the UNet's input, the timestep and the UNet's other arguments at every
            evaluation; returns further arguments for it, e.g. a ControlNet's
            ``down_block_additional_residuals``.
        interval: shares of the evaluations after which guidance begins and ends; outside of it they
            cost half (https://arxiv.org/abs/2404.07724, there by noise levels).
        evaluations: how many there will be, for ``interval``.

    Attributes:
        beside: further channels of the UNet's input, (1, C, h, w), the same for all pictures and at
            every evaluation; None for UNets that take the latents alone.
    """

    def __init__(
        self,
        unet: Callable[..., Any],
        config: Any,
        embeds: PromptEmbeds | Sequence[PromptEmbeds],
        guidance: float,
        rescale: float,
        batch_size: int,
        size: tuple[int, int],
        dtype: torch.dtype,
        device: str,
        steer: Steer | None = None,
        interval: tuple[float, float] = (0.0, 1.0),
        evaluations: int = 1,
    ) -> None:
        self.unet, self.dtype, self.device = unet, dtype, device
        self.guidance, self.rescale = guidance, rescale
        self.steer = steer
        self.beside: torch.Tensor | None = None
        self._interval, self._evaluations, self._done = interval, evaluations, 0
        self.guided = guidance > 1 and takes_guidance(config)
        self._config, self._batch_size, self._size = config, batch_size, size
        self._embeds = [embeds] if isinstance(embeds, PromptEmbeds) else embeds
        self._read(self._embeds[0])

    def _read(self, embeds: PromptEmbeds) -> None:
        """Makes the UNet's arguments of what the prompts say now."""
        self._newest = embeds
        device, dtype, batch_size = self.device, self.dtype, self._batch_size
        sides = [(embeds.negative, embeds.negative_pooled)] if self.guided else []
        sides.append((embeds.prompt, embeds.pooled))
        rows = batch_size * len(sides)
        self.arguments: dict[str, Any] = {
            "encoder_hidden_states": _rows([text for text, _ in sides], batch_size).to(
                device, dtype
            )
        }
        if embeds.pooled is not None:
            height, width = self._size
            original, crop, target = (height, width), (0, 0), (height, width)
            time_ids = torch.tensor([[*original, *crop, *target]], device=device, dtype=dtype)
            self.arguments["added_cond_kwargs"] = {
                "text_embeds": _rows([pooled for _, pooled in sides], batch_size).to(device, dtype),
                "time_ids": time_ids.expand(rows, -1),
            }
        if not takes_guidance(self._config):
            self.arguments["timestep_cond"] = (
                guidance_embedding(self.guidance - 1, self._config.time_cond_proj_dim)
                .expand(rows, -1)
                .to(device, dtype)
            )
        self._conditional = _second_half(self.arguments) if self.guided else self.arguments

    def __call__(self, model_input: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        embeds = self._embeds[min(self._done, len(self._embeds) - 1)]
        if embeds is not self._newest:
            self._read(embeds)
        start, end = self._interval
        share, self._done = self._done / self._evaluations, self._done + 1
        is_guided = self.guided and start <= share and (share < end or end == 1)
        arguments = self.arguments if is_guided else self._conditional
        sample = torch.cat([model_input] * 2) if is_guided else model_input
        sample = sample.to(self.device, self.dtype)
        further = self.steer(sample, timestep, arguments, is_guided) if self.steer else {}
        if self.beside is not None:
            beside = self.beside.expand(len(sample), *self.beside.shape[1:])
            sample = torch.cat([sample, beside.to(sample)], dim=1)
        prediction = self.unet(sample, timestep, **arguments, **further, return_dict=False)[0]
        prediction = prediction.float()
        if not is_guided:
            return prediction
        unconditional, conditional = prediction.chunk(2)
        guided = unconditional + self.guidance * (conditional - unconditional)
        if self.rescale == 0:
            return guided
        pixels = tuple(range(1, guided.ndim))
        ratio = conditional.std(pixels, keepdim=True) / guided.std(pixels, keepdim=True)
        return guided * (self.rescale * ratio + 1 - self.rescale)


def _second_half(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same arguments for the conditional rows alone."""
    return {
        name: _second_half(value) if isinstance(value, dict) else value[len(value) // 2 :]
        for name, value in arguments.items()
    }


def takes_guidance(config: Any) -> bool:
    """Whether a UNet is guided by two evaluations; distilled ones are told the scale instead."""
    return getattr(config, "time_cond_proj_dim", None) is None


def guidance_embedding(guidance: float, width: int) -> torch.Tensor:
    """(1, width): the guidance scale as models distilled with it (LCM) are told it.

    Sinusoids of w·1000 (https://arxiv.org/abs/2310.04378, appendix), as diffusers' pipelines make.
    """
    half = width // 2
    frequencies = torch.exp(torch.arange(half) * -(np.log(10_000.0) / (half - 1)))
    angles = 1000.0 * guidance * frequencies[None]
    embedding = torch.cat([angles.sin(), angles.cos()], dim=1)
    return torch.nn.functional.pad(embedding, (0, width % 2)).float()


def _rows(sides: list[torch.Tensor], batch_size: int) -> torch.Tensor:
    """Each side (1 or B, …) with a row for every picture: all negatives first, then all prompts."""
    return torch.cat([side.expand(batch_size, *side.shape[1:]) for side in sides])
