"""Control models that are one ``.safetensors`` file, as A1111's and ComfyUI's folders hold them.

A ControlNet's tensors are named as its original code names them (``control_model.…``, or without
this prefix; Stable Diffusion 1.x only) or as diffusers does; a T2I-Adapter's as its authors do.
Neither has a configuration: what it is of is read from its tensors' shapes. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.local_models import read_header

PREFIX = "control_model."
FAMILIES = {768: "sd1", 2048: "sdxl"}  # with a config in presets/single_file/, by text's width
_ORIGINAL_HINT, _HINT = "input_hint_block.0.weight", "controlnet_cond_embedding.conv_in.weight"
_SD1_WIDTHS = ((320,), (640,), (1280,), (1280,))
_ADAPTER_CHANNELS = ((64,), (192,))  # of grey and colour maps, 8×8 pixels in one; SDXL's take 16×16


def inspect(path: Path) -> dict[str, Any] | None:
    """``method`` and ``family`` of the control model in a file; None where it holds none.

    Networks for other families, and those with other inputs than a map alone, are none of ours.
    """
    header = read_header(path)
    if header is None:
        return None
    header.pop("__metadata__", None)
    shapes = {name.removeprefix(PREFIX): _shape(tensor) for name, tensor in header.items()}
    if _ORIGINAL_HINT in shapes or _HINT in shapes:
        family = _controlnet_family(shapes)
        return {"method": "controlnet", "family": family} if family else None
    if _is_sd1_adapter(shapes):
        return {"method": "t2i_adapter", "family": "sd1"}
    return None


def _shape(tensor: Mapping[str, Any]) -> tuple[int, ...]:
    """() where the header says something else than numbers."""
    shape = tensor.get("shape")
    plain = isinstance(shape, list) and all(isinstance(side, int) for side in shape)
    return tuple(shape) if plain else ()


def _controlnet_family(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    hint = shapes.get(_HINT) or shapes[_ORIGINAL_HINT]
    widths = {shape[-1:] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight")}
    if hint[1:2] != (3,) or len(widths) != 1 or any("task_embedding" in name for name in shapes):
        return None
    family = FAMILIES.get(next(iter(widths.pop()), 0))
    return family if _HINT in shapes or family == "sd1" else None


def _is_sd1_adapter(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    if full := shapes.get("conv_in.weight"):
        levels = tuple(shapes.get(f"body.{i}.block1.weight", ())[:1] for i in range(0, 8, 2))
        return levels == _SD1_WIDTHS and full[1:2] in _ADAPTER_CHANNELS
    light = shapes.get("body.0.in_conv.weight")
    levels = tuple(shapes.get(f"body.{i}.out_conv.weight", ())[:1] for i in range(4))
    return levels == _SD1_WIDTHS and light is not None and light[1:2] in _ADAPTER_CHANNELS
