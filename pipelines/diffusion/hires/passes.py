"""One pass through the denoising loop of the UNet families: the first one, or the second."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import torch
from PIL import Image

from pipelines.core.messages import Message
from pipelines.diffusion.denoise import (
    Beginning,
    GuidedUNet,
    Steer,
    denoise,
    steps_of,
    timesteps_from,
)
from pipelines.diffusion.from_picture.inpainting_models import inpaints, shown_beside
from pipelines.diffusion.from_picture.repainting import PreviewFrame, Repainting
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.diffusion.from_picture.steps import DENSEST, count_steps
from pipelines.diffusion.hires.requests import Hires
from pipelines.diffusion.latents.decoders import fast_decoder
from pipelines.diffusion.latents.noise import starting_noise
from pipelines.diffusion.latents.overflow import overflow
from pipelines.diffusion.latents.preview import LONGEST, preview_for
from pipelines.diffusion.loading import DiffusionModel
from pipelines.diffusion.lora.tags import replace_words
from pipelines.diffusion.openvino.large import MappedUNet
from pipelines.diffusion.openvino.unet import OpenVINOUNet
from pipelines.diffusion.prompts import PromptEmbeds, encoding_steps
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.samplers import make_scheduler, samplers_in, step_arguments
from pipelines.diffusion.wording.dynamic_prompts import Words
from pipelines.diffusion.wording.editing import texts_of

Steering = Callable[[int, tuple[int, int]], Steer]
"""``steering(evaluations in all, (width, height))``: what steers the UNet in one pass."""


class Pass:
    """One way through the denoising loop for a batch.

    Args:
        settings: of this pass.
        seeds: of the pictures; each pass draws from new generators of them, so that no picture
            depends on how many steps there were before.
        begun: how strongly it changes what it begins with; None: it begins with noise.
        before: steps of the pass before this one; None: it is the first.

    Attributes:
        evaluations: of the UNet; 0 where nothing is to be changed.
        start: steps that are left out at the beginning.
    """

    def __init__(
        self,
        model: DiffusionModel,
        settings: TextToImageRequest,
        seeds: list[int],
        begun: FromPicture | Hires | None,
        before: int | None = None,
    ) -> None:
        self.model, self.settings, self._seeds, self._before = model, settings, seeds, before
        samplers = samplers_in(model.home)
        self._sampler = samplers.get(settings.sampler)
        schedule = samplers.schedule(settings.schedule)
        steps = run = settings.steps
        if begun is not None:
            steps, run = count_steps(begun, steps, self._sampler.max_steps or DENSEST)
        self._scheduler = make_scheduler(
            model.pipe.scheduler.config, self._sampler, schedule, seeds
        )
        self._scheduler.set_timesteps(steps)
        self._steps, self.start = steps, steps - run
        self.evaluations = len(timesteps_from(self._scheduler, self.start)) if run else 0
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    @property
    def latent_size(self) -> tuple[int, int]:
        """Height and width."""
        factor = self.model.factor
        return self.settings.height // factor, self.settings.width // factor

    def noise(self) -> torch.Tensor:
        """(B, C, h, w), what the pictures' seeds draw first."""
        model = self.model
        shape = (model.pipe.unet.config.out_channels, *self.latent_size)
        variation = self.settings.variation
        noise = starting_noise(shape, self._seeds, self._generators, variation, model.factor)
        return noise.to(model.device)

    def _embeds(self, words: Sequence[Words] | None) -> Generator[None, None, list[PromptEmbeds]]:
        """The prompts as the UNet is told them at each evaluation; yields while they are encoded.

        Their steps are counted over the whole schedule; those of a second pass, which A1111 counts
        apart, over what is run of it.
        """
        model, settings = self.model, self.settings
        at, steps = steps_of(self._scheduler, self.start), self._steps
        if self._before is not None:
            at, steps = [step - self.start for step in at], steps - self.start
        at, steps = at or [0], max(steps, 1)  # where nothing is to be changed
        prompts = words or [Words(settings.prompt, settings.negative_prompt)]
        said = [say_words(model, each, steps, self._before) for each in prompts]
        pairs = [[(prompt[step], negative[step]) for prompt, negative in said] for step in at]
        return (yield from encoding_steps(model.pipe, pairs, settings.clip_skip, model.device))

    def run(
        self,
        noise: torch.Tensor,
        beginning: Beginning | None,
        place: tuple[int, int],
        steering: Steering | None,
        words: Sequence[Words] | None,
        repainting: Repainting | None = None,
    ) -> Generator[tuple[int, int, Image.Image | Message | None], None, torch.Tensor]:
        """Yields as a :data:`Batch` does; returns the latents.

        Args:
            place: evaluations done before, and in all.
            repainting: what models made for inpainting are shown beside, and the previews in.
        """
        model, settings = self.model, self.settings
        size = (settings.width, settings.height)
        done, total = place
        encoding = self._embeds(words)
        try:
            while True:
                next(encoding)
                yield done, total, None
        except StopIteration as end:
            embeds = end.value
        predict = GuidedUNet(
            model.unet,
            model.pipe.unet.config,
            embeds,
            guidance=settings.guidance,
            rescale=settings.guidance_rescale,
            batch_size=len(self._seeds),
            size=(settings.height, settings.width),
            dtype=model.dtype,
            device=model.device,
            steer=None if steering is None else steering(self.evaluations, size),
            interval=(settings.guidance_start, settings.guidance_end),
            evaluations=self.evaluations,
        )
        if inpaints(model.pipe.unet.config):
            asked = settings.from_picture
            weight = 1.0 if asked is None else asked.mask_weight
            predict.beside = shown_beside(model, repainting, size, weight)
        fast = isinstance(model.unet, OpenVINOUNet | MappedUNet)
        is_new = fast and not model.unet.is_ready(noise.shape[1:])
        if is_new or model.prepares_decoding(fast_decoder(model) or model.pipe.vae):
            note = Message("Preparing {model} for this size", model=model.entry.title)
            yield done, total, note
        arguments = step_arguments(self._scheduler, self._sampler, self._generators, settings.eta)
        preview, frame, latents = preview_for(model), PreviewFrame(repainting, LONGEST), noise
        for step in denoise(predict, self._scheduler, noise, arguments, beginning):
            latents = step.latents
            yield done + step.index, total, preview(step.denoised, frame)
        if not torch.isfinite(latents).all():
            raise overflow(settings, predict.guided)
        return latents


def say_words(
    model: DiffusionModel, words: Words, steps: int, before: int | None = None
) -> list[tuple[str, ...]]:
    """What prompt and negative prompt say at each step, as the text encoders read it."""
    return [texts_of(replace_words(text, model.learned), steps, before) for text in words]
