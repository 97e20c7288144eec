"""LoRA files of every style, made from random numbers and the module names of a model."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import torch
from safetensors.torch import save

TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "q_proj", "v_proj", "out_proj", "fc1", "conv1",
           "proj_in", "ff.net.0.proj", "time_emb_proj")  # fmt: skip


def modules_of(pipe, parts=("unet", "text_encoder", "text_encoder_2"), targets=TARGETS):
    """(part, name as diffusers writes it, module) of all that a LoRA may change."""
    for part in parts:
        model = getattr(pipe, part, None)
        if model is None:
            continue
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and name.endswith(targets):
                in_text_model = part != "unet" and name.startswith("encoder.")
                yield part, f"text_model.{name}" if in_text_model else name, module


def random_halves(pipe, rank=4, seed=0, size=0.05, **which) -> dict[tuple[str, str], tuple]:
    """(part, name) → (down, up) of random numbers."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape):
        return torch.randn(*shape, generator=generator) * size

    halves = {}
    for part, name, module in modules_of(pipe, **which):
        out, into, *kernel = module.weight.shape
        ones = [1] * len(kernel)
        halves[part, name] = (numbers(rank, into, *kernel), numbers(out, rank, *ones))
    return halves


def kohya(halves, alpha: float | None = 2.0, metadata=None) -> bytes:
    two = any(part == "text_encoder_2" for part, _ in halves)
    prefixes = {"unet": "lora_unet", "text_encoder": "lora_te1" if two else "lora_te",
                "text_encoder_2": "lora_te2"}  # fmt: skip
    tensors = {}
    for (part, name), (down, up) in halves.items():
        stem = f"{prefixes[part]}_{name.replace('.', '_')}"
        tensors[f"{stem}.lora_down.weight"] = down
        tensors[f"{stem}.lora_up.weight"] = up
        if alpha is not None:
            tensors[f"{stem}.alpha"] = torch.tensor(alpha)
    return save(tensors, metadata)


def diffusers_style(halves, down="lora_A", up="lora_B") -> bytes:
    """``down`` and ``up``: lora_A and lora_B in newer files, lora.down and lora.up in older."""
    tensors = {}
    for (part, name), (low, high) in halves.items():
        tensors[f"{part}.{name}.{down}.weight"] = low
        tensors[f"{part}.{name}.{up}.weight"] = high
    return save(tensors)


def changes(halves, scale: float) -> dict[str, torch.Tensor]:
    """``part.name`` → scale · up · down, by a loop of its own."""
    result = {}
    for (part, name), (down, up) in halves.items():
        product = torch.einsum("or,r...->o...", up.flatten(1), down)
        result[f"{part}.{name}"] = scale * product
    return result


def safetensors_of(header: dict | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with any header, be it true or not."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def pickle_of(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def write_file(folder: Path, data: bytes, name: str = "file.safetensors") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path
