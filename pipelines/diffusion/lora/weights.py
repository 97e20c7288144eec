"""The tensors of LoRA files: read, checked, and written in the styles that other tools read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from pipelines.core.errors import BadRequest
from pipelines.diffusion.lora.formats import LoraFile
from pipelines.diffusion.lora.names import in_original


@dataclass(frozen=True)
class Factors:
    """What one module gets: ΔW = (alpha/rank) · up · down (https://arxiv.org/abs/2106.09685).

    Attributes:
        down: (r, in), or (r, in, k, k) of a convolution.
        up: (out, r), or (out, r, 1, 1).
        alpha: None: the same as the rank.
    """

    down: torch.Tensor
    up: torch.Tensor
    alpha: float | None = None

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        return 1.0 if self.alpha is None else self.alpha / self.rank

    def fits(self, shape: torch.Size) -> bool:
        """Whether a weight of this shape can be changed by it; 1×1 convolutions are matrices."""
        change = (self.up.shape[0], *self.down.shape[1:])
        return _plain(change) == _plain(tuple(shape))

    def delta(self, weight: torch.Tensor) -> torch.Tensor:
        """ΔW without the user's weight, float32, in the shape and at the place of ``weight``."""
        up = self.up.to(weight.device, torch.float32).flatten(1)  # (out, r)
        down = self.down.to(weight.device, torch.float32).flatten(1)  # (r, in·k·k)
        return (self.scale * (up @ down)).reshape(weight.shape)

    def bake_alpha(self) -> Factors:
        """The same change with alpha = rank: nobody who reads it need know of alpha.

        Worked into ``up`` in its own precision; where that would lose bits, in float32.
        """
        if self.scale == 1.0:
            return replace(self, alpha=None)
        up = self.up.float() * self.scale
        narrow = up.to(self.up.dtype)
        return Factors(self.down, narrow if torch.equal(narrow.float(), up) else up, None)


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without trailing ones: (o, i, 1, 1) is (o, i)."""
    return shape[:2] if math.prod(shape[2:]) == 1 else shape


def read(path: Path, file: LoraFile, name: str) -> dict[str, Factors]:
    """Part and module → its factors, on the CPU, in the file's own precision.

    Raises:
        BadRequest: some values are no numbers.
    """
    factors = {}
    with _open(path, name) as tensors:
        for module in file.modules:
            down, up = tensors.get_tensor(module.down), tensors.get_tensor(module.up)
            if module.mid is not None:
                # A convolution in three parts: the kernel in the middle goes into the lower half.
                mid = tensors.get_tensor(module.mid).float()  # (r, r, k, k)
                down = torch.einsum("mnkl,nixy->mikl", mid, down.float())
            _check_finite((down, up), name)
            factors[module.key] = Factors(down, up, module.alpha)
    return factors


def read_vectors(path: Path, file: LoraFile, name: str) -> dict[str, torch.Tensor]:
    """Part → the learned vectors (n, width) of an embedding, on the CPU.

    Raises:
        BadRequest: some values are no numbers.
    """
    with _open(path, name) as tensors:
        vectors = {part: tensors.get_tensor(key) for part, key in file.vectors.items()}
    _check_finite(vectors.values(), name)
    return {part: each.reshape(-1, each.shape[-1]) for part, each in vectors.items()}


def as_diffusers(factors: Mapping[str, Factors]) -> dict[str, torch.Tensor]:
    """The tensors of a ``pytorch_lora_weights.safetensors``; see :func:`adapter_metadata`."""
    tensors = {}
    for key, each in factors.items():
        tensors[f"{key}.lora_A.weight"] = each.down.contiguous()
        tensors[f"{key}.lora_B.weight"] = each.up.contiguous()
    return tensors


def adapter_metadata(factors: Mapping[str, Factors]) -> dict[str, object]:
    """Ranks and alphas as diffusers and PEFT keep them beside the tensors."""
    facts: dict[str, object] = {}
    for part in dict.fromkeys(key.partition(".")[0] for key in factors):
        own = {key.removeprefix(f"{part}."): each for key, each in factors.items()
               if key.startswith(f"{part}.")}  # fmt: skip
        ranks = {name: each.rank for name, each in own.items()}
        alphas = {name: each.scale * each.rank for name, each in own.items()}
        rank, alpha = _commonest(ranks.values()), _commonest(alphas.values())
        facts |= {
            f"{part}.r": rank,
            f"{part}.lora_alpha": alpha,
            f"{part}.rank_pattern": {name: n for name, n in ranks.items() if n != rank},
            f"{part}.alpha_pattern": {name: a for name, a in alphas.items() if a != alpha},
            f"{part}.target_modules": sorted(own),
        }
    return facts


def as_kohya(factors: Mapping[str, Factors], family: str) -> dict[str, torch.Tensor]:
    """kohya's names, with an alpha for each module.

    Those of SDXL's U-Net (``family`` sdxl) go by the blocks of its original code, as sd-scripts
    trains it; those of all others by diffusers' names.
    """
    original = family == "sdxl"
    two = original or any(key.startswith("text_encoder_2.") for key in factors)
    prefixes = {
        "unet": "lora_unet",
        "text_encoder": "lora_te1" if two else "lora_te",
        "text_encoder_2": "lora_te2",
    }
    tensors = {}
    for key, each in factors.items():
        part, _, name = key.partition(".")
        named = in_original(name) if original and part == "unet" else name.replace(".", "_")
        stem = f"{prefixes[part]}_{named}"
        alpha = each.rank if each.alpha is None else each.alpha
        tensors[f"{stem}.alpha"] = torch.tensor(float(alpha))
        tensors[f"{stem}.lora_down.weight"] = each.down.contiguous()
        tensors[f"{stem}.lora_up.weight"] = each.up.contiguous()
    return tensors


@contextmanager
def _open(path: Path, name: str) -> Iterator[Any]:
    """The file for reading tensors; what the library finds wrong with it is said in a sentence."""
    try:
        with safe_open(path, framework="pt", device="cpu") as tensors:
            yield tensors
    except SafetensorError as error:
        raise BadRequest(
            "{file} is damaged: its header holds what the format does not allow.", file=name
        ) from error


def _commonest(values: Iterable) -> object:
    values = list(values)
    return max(dict.fromkeys(values), key=values.count)


def _check_finite(tensors: Iterable[torch.Tensor], name: str) -> None:
    if not all(torch.isfinite(each.float()).all() for each in tensors):
        raise BadRequest("{file} holds values that are no numbers, or infinite.", file=name)
