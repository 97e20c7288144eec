"""Tiny random twins: every family of the catalog in its real file layout, small enough for a test.

A twin has the classes, the folders and the file names of the model that it stands for, with a few
thousand random weights. Loading, sampling and saving therefore run through the very code that
serves the real model. Each builder is deterministic (``SEED``) and writes safetensors only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from tests import transformer_twins
from tests.tiny_parts import NATIVE, autoencoder_kl, clip_config, clip_tokenizer

SEED = 7


def make_twin(family: str, folder: Path) -> Path:
    """Write the twin of ``family`` as a diffusers folder at ``folder`` and return it."""
    torch.manual_seed(SEED)
    pipe = TWINS[family]()
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def sd1(text=None, vae=None, **unet_options):
    from diffusers import PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    return StableDiffusionPipeline(
        vae=vae or autoencoder_kl(),
        text_encoder=CLIPTextModel(text or clip_config()),
        tokenizer=clip_tokenizer(),
        unet=UNet2DConditionModel(
            sample_size=NATIVE // 8,
            block_out_channels=(16, 32),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            attention_head_dim=4,
            cross_attention_dim=(text or clip_config()).hidden_size,
            norm_num_groups=8,
            **unet_options,
        ),
        scheduler=PNDMScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            skip_prk_steps=True,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
    )


def starter():
    """SD 1.x with our own autoencoder, as the starter model has it."""
    from pipelines.diffusion.autoencoder import PatchAutoencoder

    vae = PatchAutoencoder(latent_channels=6, block_out_channels=(12, 8, 8, 8))
    return sd1(vae=vae, in_channels=6, out_channels=6)


def sd2():
    """SD 2.x is told from SD 1.x by its text encoder's width, so that has to be the real one."""
    return sd1(text=clip_config(width=1024, layers=1), use_linear_projection=True)


def sdxl(**unet_options):
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    return StableDiffusionXLPipeline(
        vae=autoencoder_kl(scaling_factor=0.13025, force_upcast=True),
        text_encoder=CLIPTextModel(clip_config()),
        tokenizer=clip_tokenizer(),
        text_encoder_2=CLIPTextModelWithProjection(clip_config(width=48)),
        tokenizer_2=clip_tokenizer(pad="!"),
        unet=UNet2DConditionModel(
            sample_size=NATIVE // 8,
            block_out_channels=(16, 32),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2),
            layers_per_block=1,
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 32,
            cross_attention_dim=32 + 48,
            norm_num_groups=8,
            **unet_options,
        ),
        scheduler=EulerDiscreteScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            steps_offset=1,
            timestep_spacing="leading",
        ),
    )


TWINS: dict[str, Callable] = {
    "sd1": sd1,
    "sd2": sd2,
    "sdxl": sdxl,
    "sd3": transformer_twins.sd3,
    "flux": transformer_twins.flux,
    "flux2": transformer_twins.flux2,
    "pixart": transformer_twins.pixart,
    "sana": transformer_twins.sana,
    "hunyuan": transformer_twins.hunyuan,
    "auraflow": transformer_twins.auraflow,
    "lumina2": transformer_twins.lumina2,
    "chroma": transformer_twins.chroma,
    "cogview4": transformer_twins.cogview4,
    "qwenimage": transformer_twins.qwenimage,
    "qwenedit": transformer_twins.qwenedit,
    "qwenedit-plus": transformer_twins.qwenedit_plus,
    "zimage": transformer_twins.zimage,
    "ovis": transformer_twins.ovis,
}

# All but those that change pictures and paint nothing from words alone.
PAINTING_TWINS = [family for family in TWINS if not family.startswith("qwenedit")]
