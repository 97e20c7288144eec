"""The student: the base's UNet with a LoRA, sampled as latent consistency models are."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, LCMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file

from pipelines.toybox.train.run import Run, autocast
from pipelines.toybox.train.unet import SCHEDULE

STEPS = 4
GUIDANCE = 3.0  # the starter's own, which the student learns to do without
RANK = 32
TARGETS = (  # all layers but the first, the last and the time embedding
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "proj_in",
    "proj_out",
    "ff.net.0.proj",
    "ff.net.2",
    "conv1",
    "conv2",
    "conv",
    "conv_shortcut",
    "time_emb_proj",
)
WEIGHTS = "pytorch_lora_weights.safetensors"


def make_student(base: UNet2DConditionModel, rank: int = RANK) -> UNet2DConditionModel:
    """A copy of ``base`` whose LoRA alone learns; as yet it changes nothing."""
    student = copy.deepcopy(base).requires_grad_(False)
    student.add_adapter(
        LoraConfig(
            r=rank, lora_alpha=rank, target_modules=list(TARGETS), init_lora_weights="gaussian"
        )
    )
    return student


def learning_parameters(module: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Those that ask for gradients."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


class Adapter:
    """A student's LoRA alone, for :meth:`Run.load` and :meth:`Run.save`."""

    def __init__(self, student: UNet2DConditionModel) -> None:
        self._student = student

    def state_dict(self) -> dict[str, torch.Tensor]:
        return get_peft_model_state_dict(self._student)

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        set_peft_model_state_dict(self._student, state)


class Levels:
    """How much of a noised latent is picture and how much is noise, by timestep."""

    def __init__(self, device: str = "cpu") -> None:
        self._alphas = DDIMScheduler(**SCHEDULE).alphas_cumprod.to(device)

    def at(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Signal and sigma of timesteps (B,), both (B, 1, 1, 1)."""
        alphas = self._alphas[t][:, None, None, None]
        return alphas.sqrt(), (1 - alphas).sqrt()

    def clean(self, x: torch.Tensor, v: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The picture that a prediction ``v`` of the noised ``x`` stands for, (B, C, h, w)."""
        signal, sigma = self.at(t)
        return signal * x - sigma * v

    def add_noise(self, clean: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        signal, sigma = self.at(t)
        return signal * clean + sigma * noise

    def solve(
        self, x: torch.Tensor, v: torch.Tensor, t: torch.Tensor, until: torch.Tensor
    ) -> torch.Tensor:
        """DDIM's step from timesteps ``t`` to ``until`` (https://arxiv.org/abs/2010.02502, 12)."""
        signal, sigma = self.at(t)
        return self.add_noise(signal * x - sigma * v, sigma * x + signal * v, until)


class Teacher:
    """The base with guidance, which nothing changes.

    Args:
        unet: on its device.
        nothing: (1, 77, D), the empty caption as the text encoder reads it.
        guidance: scale of classifier-free guidance.
    """

    def __init__(self, unet: UNet2DConditionModel, nothing: torch.Tensor, guidance: float) -> None:
        self.unet = unet.eval().requires_grad_(False)
        self.nothing, self.guidance = nothing, guidance

    @torch.no_grad()
    def predict(self, x: torch.Tensor, t: torch.Tensor, embeds: torch.Tensor) -> torch.Tensor:
        """v of noised latents (B, C, h, w) at timesteps (B,), by words (B, 77, D)."""
        words = torch.cat([embeds, self.nothing.expand_as(embeds).to(embeds.dtype)])
        with autocast(x.device.type):
            v = self.unet(x.repeat(2, 1, 1, 1), t.repeat(2), words, return_dict=False)[0]
        by_words, without = v.float().chunk(2)
        return without + self.guidance * (by_words - without)


@torch.no_grad()
def read(tokenizer, text_encoder, words: Sequence[str], device: str) -> torch.Tensor:
    """(B, 77, D) float32."""
    ids = tokenizer(
        list(words), padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    ).input_ids
    with autocast(device):
        return text_encoder(ids.to(device)).last_hidden_state.float()


def make_scheduler(steps: int = STEPS) -> LCMScheduler:
    """What samples a student: the picker's LCM, at its own timesteps."""
    scheduler = LCMScheduler(**SCHEDULE, clip_sample=False)
    scheduler.set_timesteps(steps)
    return scheduler


@torch.no_grad()
def sample(
    unet, vae, tokenizer, text_encoder, prompts, size=128, steps=STEPS, seed=0
) -> np.ndarray:
    """(N, size, size, 3) uint8 pictures by the student alone, without guidance."""
    device = next(vae.parameters()).device
    embeds = read(tokenizer, text_encoder, prompts, str(device))
    generator = torch.Generator().manual_seed(seed)
    shape = (len(prompts), vae.config.latent_channels, size // 8, size // 8)
    x = torch.randn(shape, generator=generator).to(device)
    scheduler = make_scheduler(steps)
    for t in scheduler.timesteps:
        with autocast(str(device)):
            v = unet(x, t.to(device), embeds).sample.float()
        x = scheduler.step(v, t, x, generator=generator).prev_sample
    y = vae.decode(x / vae.config.scaling_factor).sample.clamp(-1, 1)
    return ((y + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def save(run: Run, base: UNet2DConditionModel, folder: Path) -> None:
    """Writes the averaged LoRA as diffusers and other programs read it, fp16.

    Raises:
        FileNotFoundError: nothing has been trained there yet.
    """
    if (weights := run.get("ema")) is None:
        raise FileNotFoundError(f"No student in {run.folder}: run the command 'student' first.")
    student = make_student(base, rank_of(weights))
    StableDiffusionPipeline.save_lora_weights(
        folder,
        unet_lora_layers={name: each.half().contiguous() for name, each in weights.items()},
        weight_name=WEIGHTS,
        **_collate_lora_metadata({"unet": student}),
    )


def load(base: UNet2DConditionModel, folder: Path) -> Adapter:
    """The LoRA that :func:`save` has written, in a copy of ``base``."""
    weights = {
        name.removeprefix("unet."): each.float()
        for name, each in load_file(folder / WEIGHTS).items()
    }
    adapter = Adapter(make_student(base, rank_of(weights)))
    adapter.load_state_dict(weights)
    return adapter


def rank_of(weights: dict[str, torch.Tensor]) -> int:
    """The rank of a LoRA by its tensors."""
    return next(each.shape[0] for name, each in weights.items() if "lora_A" in name)
