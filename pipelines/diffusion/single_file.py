"""Single-file checkpoints of Stable Diffusion 1.x and SDXL, opened without a network.

Such a file has the weights of every part under the names of the original code, but neither
configurations nor a tokenizer. ``presets/single_file/`` has both.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from pipelines.core.paths import SINGLE_FILE_CONFIGS as CONFIGS
from pipelines.models.local_models import prediction_of
from pipelines.models.original_layout import UNET, current_names

_MODEL_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")


def from_file(path: Path, config: Path, dtype: torch.dtype) -> DiffusionPipeline:
    """The pipeline that ``path`` holds; its scheduler predicts what the file says it does.

    Args:
        path: a ``.safetensors`` file; the catalog has looked at its header.
        config: a folder with ``model_index.json`` and each part's configuration. Tokenizers that
            it lacks are CLIP's.
    """
    index = json.loads((config / "model_index.json").read_text(encoding="utf-8"))
    # CLIP's second tokenizer in SDXL is OpenCLIP's, which pads with "!" (token 0).
    pads = {"tokenizer": "<|endoftext|>", "tokenizer_2": "!"}
    tokenizers = {
        name: clip_tokenizer(pad)
        for name, pad in pads.items()
        if name in index and not (config / name).is_dir()
    }
    unet = json.loads((config / "unet" / "config.json").read_text(encoding="utf-8"))
    ones = () if unet.get("use_linear_projection") else (1, 1)
    tensors = load_file(path)
    checkpoint = {current: tensors[name] for name, current in current_names(tensors).items()}
    del tensors
    for name, tensor in checkpoint.items():
        if name.startswith(UNET) and name.endswith((".proj_in.weight", ".proj_out.weight")):
            checkpoint[name] = tensor.reshape(*tensor.shape[:2], *ones)  # the same numbers
    models = {}
    for name in _MODEL_PARTS:
        if name in index:
            library, kind = index[name]
            models[name] = _load_part(library, kind, name, checkpoint, config, dtype)
    del checkpoint
    pipe = getattr(diffusers, index["_class_name"]).from_single_file(
        str(path), config=str(config), dtype=dtype, local_files_only=True, **tokenizers, **models
    )
    if options := prediction_of(path):
        kind = type(pipe.scheduler)
        if not options.keys() <= inspect.signature(kind.__init__).parameters.keys():
            kind = diffusers.DDIMScheduler  # has them all; samplers only read its configuration
        pipe.scheduler = kind.from_config(pipe.scheduler.config, **options)
    return pipe


def _load_part(
    library: str,
    kind: str,
    name: str,
    checkpoint: dict[str, torch.Tensor],
    config: Path,
    dtype: torch.dtype,
) -> torch.nn.Module:
    """One part with its weights, by diffusers' own conversion of their names."""
    if library == "transformers":
        return create_diffusers_clip_model_from_ldm(
            getattr(transformers, kind),
            checkpoint,
            subfolder=name,
            config=str(config),
            torch_dtype=dtype,
            local_files_only=True,
        ).eval()
    options = {}
    if name == "unet":  # models for inpainting take more than their family's others
        options["in_channels"] = checkpoint[f"{UNET}input_blocks.0.0.weight"].shape[1]
    return getattr(diffusers, kind).from_single_file(
        checkpoint,
        config=str(config),
        subfolder=name,
        dtype=dtype,
        local_files_only=True,
        **options,
    )


def clip_tokenizer(pad: str = "<|endoftext|>") -> CLIPTokenizer:
    """CLIP's tokenizer, 49,408 tokens, from its list of merges.

    The tokens' order is that of the original: 256 bytes, the same at a word's end, one token a
    merge, two special ones.
    """
    text = (CONFIGS / "clip_merges.txt").read_text(encoding="utf-8")
    merges = [tuple(line.split()) for line in text.splitlines()]
    letters = _byte_letters()
    tokens = letters + [f"{letter}</w>" for letter in letters]
    tokens += ["".join(pair) for pair in merges] + ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges,
        pad_token=pad,
        model_max_length=77,
    )


def _byte_letters() -> list[str]:
    """GPT-2's printable stand-in for each byte: itself where it is printable, else from U+0100."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(code) for code in printable] + [chr(0x100 + i) for i in range(256 - len(printable))]
