"""Tiny random twins: every family of the catalog in its real file layout, small enough for a test.

A twin has the classes, the folders and the file names of the model that it stands for, with a few
thousand random weights. Loading, sampling and saving therefore run through the very code that
serves the real model. Each builder is deterministic (``SEED``) and writes safetensors only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

SEED = 7
NATIVE = 64  # pixels; 8 × 8 latents under an autoencoder of factor 8


def make_twin(family: str, folder: Path) -> Path:
    """Write the twin of ``family`` as a diffusers folder at ``folder`` and return it."""
    torch.manual_seed(SEED)
    pipe = TWINS[family]()
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def byte_vocabulary() -> list[str]:
    """The 256 printable stand-ins of byte-level BPE, in GPT-2's and CLIP's order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [code for code in range(256) if code not in printable]
    return [chr(code) for code in printable] + [chr(256 + i) for i in range(len(others))]


def clip_tokenizer(pad: str = "<|endoftext|>"):
    """CLIP's tokenizer without merges: each byte of a word is a token, so any prompt encodes."""
    from transformers import CLIPTokenizer

    letters = byte_vocabulary()
    tokens = [
        *letters,
        *(letter + "</w>" for letter in letters),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    return CLIPTokenizer(
        vocab={token: i for i, token in enumerate(tokens)},
        merges=[],
        pad_token=pad,
        model_max_length=77,
    )


def clip_config(width: int = 32, projection: int = 32, layers: int = 3):
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=514,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=projection,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )


def autoencoder_kl(latent_channels: int = 4, **options):
    """Factor 8 with eight channels a level; ``options`` are AutoencoderKL's own."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=4,
        sample_size=NATIVE,
        **options,
    )


def sd1():
    from diffusers import PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    return StableDiffusionPipeline(
        vae=autoencoder_kl(),
        text_encoder=CLIPTextModel(clip_config()),
        tokenizer=clip_tokenizer(),
        unet=UNet2DConditionModel(
            sample_size=NATIVE // 8,
            block_out_channels=(16, 32),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            attention_head_dim=4,
            cross_attention_dim=32,
            norm_num_groups=8,
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


TWINS: dict[str, Callable] = {"sd1": sd1}
