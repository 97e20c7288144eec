"""T2I-Adapters in their authors' own file layout, of which no diffusers version exists.

The layouts are those of https://github.com/TencentARC/T2I-Adapter: ``body.<n>`` counts the residual
blocks of all scales; the light adapter, which reads colours, has ``body.<scale>.body.<n>``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from diffusers import T2IAdapter
from safetensors.torch import load_file

from pipelines.core.errors import Unavailable

_PER_SCALE = 2  # residual blocks of the full adapter
_UNSHUFFLED = 8 * 8  # pixels that go into one value of a map


def from_original(path: Path, dtype: torch.dtype) -> T2IAdapter:
    """The adapter in a ``.safetensors`` file.

    Raises:
        Unavailable: the file holds something else.
    """
    weights = load_file(path)
    try:
        light = "conv_in.weight" not in weights
        adapter = T2IAdapter(**(_light_config if light else _full_config)(weights))
        rename = _light_name if light else _full_name
        adapter.load_state_dict({rename(name): tensor for name, tensor in weights.items()})
    except (LookupError, ValueError, RuntimeError) as error:
        raise Unavailable(
            "{file} is not a T2I-Adapter that Atelier can read.", file=path.name
        ) from error
    return adapter.to(dtype)


def _full_config(weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    blocks = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("body."))
    firsts = range(0, blocks, _PER_SCALE)
    return {
        "in_channels": weights["conv_in.weight"].shape[1] // _UNSHUFFLED,
        "channels": [weights[f"body.{i}.block1.weight"].shape[0] for i in firsts],
        "num_res_blocks": _PER_SCALE,
        "adapter_type": "full_adapter",
    }


def _full_name(name: str) -> str:
    found = re.fullmatch(r"body\.(\d+)\.(.+)", name)
    if found is None:
        return f"adapter.{name}"
    scale, block = divmod(int(found[1]), _PER_SCALE)
    inside = found[2] if found[2].startswith("in_conv") else f"resnets.{block}.{found[2]}"
    return f"adapter.body.{scale}.{inside}"


def _light_config(weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    scales = 1 + max(int(name.split(".")[1]) for name in weights)
    blocks = 1 + max(int(name.split(".")[3]) for name in weights if ".body." in name)
    widths = [weights[f"body.{i}.out_conv.weight"].shape[0] for i in range(scales)]
    return {
        "in_channels": weights["body.0.in_conv.weight"].shape[1] // _UNSHUFFLED,
        "channels": widths[:-1],  # diffusers repeats the last one
        "num_res_blocks": blocks,
        "adapter_type": "light_adapter",
    }


def _light_name(name: str) -> str:
    return "adapter." + re.sub(r"^(body\.\d+)\.body\.", r"\1.resnets.", name)
