"""Trains the starter's UNet: v-prediction on Toybox latents, first at half size, then at 128×128.

Half the size costs a quarter of the time and teaches what is where; the full size then only has
to learn detail. Muon learns more from a sample than AdamW: in equal times of training from the same
weights the loss on held-out latents fell from 0.427 to 0.386 and 0.394.

State, log and sample sheets lie in the run's folder; training resumes from them.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import diffusers
import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image

from pipelines.diffusion.autoencoder import PatchAutoencoder
from pipelines.toybox.captions import caption
from pipelines.toybox.scenes import held_out_scene, mirror
from pipelines.toybox.train.render_shards import Shards
from pipelines.toybox.train.run import Optimizers, Run, autocast, learning_rates
from pipelines.toybox.vocabulary import FIRST_RELEASE

SCHEDULE = {  # linear betas reach so far into the noise that night scenes come out dark
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "prediction_type": "v_prediction",
}
DROP_CAPTION = 0.1  # share of captions left empty, for classifier-free guidance
EMA_DECAY = 0.9995
SHEET = 32  # pictures on a sample sheet
WIDTHS = (80, 160, 240)  # the UNet's channels at 1/8, 1/16 and 1/32 of the picture


def make_unet(text_width: int, latent_channels: int) -> UNet2DConditionModel:
    """An untrained Stable Diffusion 1.x UNet of 14 million parameters for 16×16 latents."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=latent_channels,
        out_channels=latent_channels,
        layers_per_block=2,
        block_out_channels=WIDTHS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=text_width,
        attention_head_dim=(2, 4, 6),  # diffusers' name for the number of heads
        norm_num_groups=16,
    )


class Latents:
    """Latents of all renders and of their mirror images, at one size, kept in memory as fp16.

    Entry ``2·i`` is scene ``i``, entry ``2·i + 1`` its mirror image.
    """

    def __init__(self, shards: Shards, vae: PatchAutoencoder, size: int) -> None:
        self.shards, self.vae, self.size = shards, vae, size
        self.blocks: list[torch.Tensor] = []  # one a shard: (2·SHARD, C, size/8, size/8)

    def refresh(self) -> int:
        """Encodes shards that are new; returns the number of latents."""
        self.shards.refresh()
        for images in self.shards.images[len(self.blocks) :]:
            self.blocks.append(self._encode(images))
        return sum(len(block) for block in self.blocks)

    @torch.no_grad()
    def _encode(self, images: np.ndarray) -> torch.Tensor:
        chunks = []
        device = next(self.vae.parameters()).device
        for chunk in np.array_split(images, 10):
            x = torch.from_numpy(chunk.copy()).to(device)
            x = x.permute(0, 3, 1, 2).float() / 127.5 - 1
            if x.shape[-1] != self.size:
                x = F.interpolate(x, size=(self.size, self.size), mode="area")
            x = torch.stack([x, x.flip(-1)], 1).flatten(0, 1)
            z = self.vae.encode(x).latent_dist.mode() * self.vae.config.scaling_factor
            chunks.append(z.half().cpu())
        return torch.cat(chunks)

    def batch(self, indices: Sequence[int]) -> torch.Tensor:
        block = len(self.blocks[0])
        return torch.stack([self.blocks[i // block][i % block] for i in indices]).float()

    def scene(self, index: int):
        scene = self.shards.scenes[index // 2]
        return mirror(scene) if index % 2 else scene


def train(
    run: Run,
    latents: Latents,
    tokenizer,
    text_encoder,
    minutes: float,
    batch: int,
    lr: float = 1e-3,
    anneal: float = 0.15,
    compiled: bool = False,
    sheet_minutes: float = 10,
) -> Iterator[dict]:
    """Trains for ``minutes`` more and saves; yields a log line now and then.

    Args:
        run: the state; also where sample sheets go.
        latents: what to learn, at one size.
        tokenizer, text_encoder: a trained pair; the encoder stays as it is.
        minutes: time to spend.
        batch: samples a step.
        lr: learning rate after a warm-up of 200 steps, see :class:`Optimizers`.
        anneal: share of the time at the end in which the rate falls to a twentieth.
        compiled: run the UNet through ``torch.compile``.
        sheet_minutes: how often to save the state and paint a sample sheet.
    """
    device = run.device
    vae = latents.vae.to(device)
    text_encoder = text_encoder.to(device).eval().requires_grad_(False)
    unet = make_unet(text_encoder.config.hidden_size, vae.config.latent_channels)
    unet = prepare_for_training(unet, device)
    ema = copy.deepcopy(unet).requires_grad_(False)
    run.load(unet=unet, ema=ema)
    optimizers = Optimizers(unet, first_and_last=("conv_in", "conv_out", "time_embedding"))
    run.load(**optimizers.parts)
    step_unet = torch.compile(unet, dynamic=False) if compiled else unet
    samples = Samples(latents, tokenizer, text_encoder, device)
    rng = np.random.default_rng(run.samples)
    count = latents.refresh()
    last_sheet = time.time()
    for rate in learning_rates(minutes, lr, anneal):
        indices = rng.integers(count, size=batch)
        noised, t, embeds, target = samples.draw(indices, timesteps(batch), rng)
        with autocast(device):
            v = step_unet(noised, t, embeds, return_dict=False)[0]
        loss = F.mse_loss(v.float(), target)
        loss.backward()
        optimizers.step(rate)
        update_average(ema, unet, run.samples // batch + 1)
        yield from run.step(loss, batch, every=100, lr=rate, size=latents.size)
        if time.time() - last_sheet > 60 * sheet_minutes:
            run.save(unet=unet, ema=ema, **optimizers.parts)
            paint_sheet(run, ema, vae, tokenizer, text_encoder, latents.size)
            count = latents.refresh()
            last_sheet = time.time()
    run.save(unet=unet, ema=ema, **optimizers.parts)
    paint_sheet(run, ema, vae, tokenizer, text_encoder, latents.size)


class Samples:
    """Noised latents with what the network is told and what it should predict.

    Args:
        latents: pictures to learn from.
        tokenizer, text_encoder: a trained pair; the encoder stays as it is.
        device: where the tensors go.
        drop_caption: share of captions left empty.
    """

    def __init__(
        self,
        latents: Latents,
        tokenizer,
        text_encoder,
        device: str,
        drop_caption: float = DROP_CAPTION,
    ) -> None:
        self.latents, self.tokenizer, self.text_encoder = latents, tokenizer, text_encoder
        self.device, self.drop_caption = device, drop_caption
        self.alphas = DDIMScheduler(**SCHEDULE).alphas_cumprod.to(device)

    def draw(
        self, indices: Sequence[int], t: torch.Tensor, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Noised latents (B, C, h, w), t (B,), text (B, 77, D) and the target v (B, C, h, w)."""
        x0 = self.latents.batch(indices).to(self.device, memory_format=torch.channels_last)
        words = [
            "" if rng.random() < self.drop_caption else caption(self.latents.scene(i), rng)
            for i in indices
        ]
        ids = self.tokenizer(
            words, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        ).input_ids.to(self.device)
        with torch.no_grad(), autocast(self.device):
            embeds = self.text_encoder(ids).last_hidden_state
        t = t.to(self.device)
        noise = torch.randn_like(x0)
        signal = self.alphas[t].sqrt()[:, None, None, None]
        sigma = (1 - self.alphas[t]).sqrt()[:, None, None, None]
        return signal * x0 + sigma * noise, t, embeds, signal * noise - sigma * x0


@torch.no_grad()
def update_average(
    ema: torch.nn.Module, model: torch.nn.Module, steps: int, decay: float = EMA_DECAY
) -> None:
    """Move the averaged weights towards the newest ones, faster in the beginning."""
    decay = min(decay, (steps + 1) / (steps + 10))
    torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - decay)


def prepare_for_training(model: torch.nn.Module, device: str) -> torch.nn.Module:
    """The model where and how it trains fastest."""
    model = model.to(device, memory_format=torch.channels_last)
    if device == "cpu" and hasattr(model, "set_attn_processor"):
        model.set_attn_processor(AttnProcessor())  # the fused attention's backward pass is slow
    return model


def timesteps(batch: int) -> torch.Tensor:
    """(B,) int64: half of them spread evenly, half drawn where layout and shape are decided."""
    even = (torch.arange(batch) + torch.rand(batch)) / batch * 1000
    middle = torch.empty(batch).normal_(400, 170)
    t = torch.where(torch.rand(batch) < 0.5, even, middle)
    return t.long().clamp(0, 999)


@torch.no_grad()
def sample(
    unet, vae, tokenizer, text_encoder, prompts, size=128, steps=25, guidance=4.0, seed=0
) -> np.ndarray:
    """(N, size, size, 3) uint8 pictures by DDIM: the trainer's own look at itself."""
    device = next(vae.parameters()).device
    scheduler = DDIMScheduler(**SCHEDULE, clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    ids = tokenizer(
        [*prompts, *[""] * len(prompts)],
        padding="max_length",
        max_length=77,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    embeds = text_encoder(ids.to(device)).last_hidden_state.float()
    generator = torch.Generator().manual_seed(seed)
    side = size // 8
    x = torch.randn(len(prompts), vae.config.latent_channels, side, side, generator=generator)
    x = x.to(device)
    for t in scheduler.timesteps:
        with autocast(str(device)):
            v = unet(torch.cat([x, x]), t.to(device), embeds).sample.float()
        cond, uncond = v.chunk(2)
        x = scheduler.step(uncond + guidance * (cond - uncond), t, x).prev_sample
    y = vae.decode(x / vae.config.scaling_factor).sample.clamp(-1, 1)
    return ((y + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def paint_sheet(
    run: Run, unet, vae, tokenizer, text_encoder, size: int, paint: Callable | None = None
) -> Path:
    """Held-out prompts as one picture, with the prompts in a text file beside it.

    Args:
        paint: what samples the network; :func:`sample` if left out.
    """
    scenes = [held_out_scene(i, FIRST_RELEASE, 1 + i % 2) for i in range(SHEET)]
    prompts = [caption(scene, i, plain=True) for i, scene in enumerate(scenes)]
    pictures = (paint or sample)(unet, vae, tokenizer, text_encoder, prompts, size)
    columns = min(8, SHEET)
    rows = math.ceil(len(pictures) / columns)
    sheet = pictures.reshape(rows, columns, size, size, 3).swapaxes(1, 2)
    folder = run.folder / "sheets"
    folder.mkdir(exist_ok=True)
    path = folder / f"{run.samples:09d}.png"
    Image.fromarray(sheet.reshape(rows * size, columns * size, 3)).save(path)
    path.with_suffix(".txt").write_text("\n".join(prompts))
    return path


def load_average(run: Run) -> UNet2DConditionModel:
    """The averaged UNet of a training.

    Raises:
        FileNotFoundError: nothing has been trained there yet.
    """
    weights = run.get("ema")
    if weights is None:
        raise FileNotFoundError(f"No trained base in {run.folder}: run the command 'base' first.")
    text_width = weights["down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"]
    unet = make_unet(text_width.shape[1], weights["conv_in.weight"].shape[1])
    unet.load_state_dict(weights)
    return unet


def save(run: Run, folder: Path) -> None:
    """Writes the averaged UNet and what makes a Stable Diffusion pipeline of a folder, fp16."""
    unet = load_average(run)
    unet.half().save_pretrained(folder / "unet")
    scheduler = DDIMScheduler(
        **SCHEDULE, clip_sample=False, timestep_spacing="trailing", steps_offset=1
    )
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["pipelines.diffusion.autoencoder", "PatchAutoencoder"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
