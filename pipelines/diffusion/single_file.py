"""Single-file checkpoints of Stable Diffusion 1.x and SDXL, opened without a network.

Such a file has the weights of every part under the names of the original code, but neither
configurations nor a tokenizer. ``presets/single_file/`` has both.
"""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import torch
from diffusers import DiffusionPipeline
from transformers import CLIPTokenizer

from pipelines.catalog import PRESETS

CONFIGS = PRESETS / "single_file"


def from_file(path: Path, config: Path, dtype: torch.dtype) -> DiffusionPipeline:
    """The pipeline that ``path`` holds.

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
    return getattr(diffusers, index["_class_name"]).from_single_file(
        str(path), config=str(config), dtype=dtype, local_files_only=True, **tokenizers
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
