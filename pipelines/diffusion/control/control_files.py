"""Control models that are one ``.safetensors`` file, as A1111's and ComfyUI's folders hold them.

A ControlNet's tensors are named as its original code names them (``control_model.…``, or without
this prefix; Stable Diffusion 1.x only) or as diffusers does; a T2I-Adapter's as its authors do.
Neither has a configuration: what it is of is read from its tensors' shapes. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.core.file_kinds import START, no_weights
from pipelines.core.messages import Message
from pipelines.models.local_models import read_header

PREFIX = "control_model."
FAMILIES = {768: "sd1", 2048: "sdxl"}  # with a config in presets/single_file/, by text's width
_ORIGINAL_HINT, _HINT = "input_hint_block.0.weight", "controlnet_cond_embedding.conv_in.weight"
_SD1_WIDTHS = ((320,), (640,), (1280,), (1280,))
_ADAPTER_CHANNELS = ((64,), (192,))  # of grey and colour maps, 8×8 pixels in one; SDXL's take 16×16


def inspect(path: Path) -> dict[str, Any] | Message:
    """``method`` and ``family`` of the control model in a file, or why it cannot be used.

    Networks for other families, and those with other inputs than a map alone, are none of ours.

    Raises:
        OSError: the file cannot be read.
    """
    header = read_header(path)
    if header is None:
        with path.open("rb") as file:
            foreign = no_weights(file.read(START), path.name)
        return foreign or Message("{model} is not a whole .safetensors file.", model=path.name)
    header.pop("__metadata__", None)
    shapes = {name.removeprefix(PREFIX): _shape(tensor) for name, tensor in header.items()}
    if _ORIGINAL_HINT in shapes or _HINT in shapes:
        reason = _not_ours(shapes, path.name)
        family = None if reason else _controlnet_family(shapes)
        return reason or {"method": "controlnet", "family": family}
    if _is_sd1_adapter(shapes):
        return {"method": "t2i_adapter", "family": "sd1"}
    return _other_kind(shapes, path.name)


def _not_ours(shapes: Mapping[str, tuple[int, ...]], file: str) -> Message | None:
    """Why a ControlNet cannot be used from its file, or None."""
    hint = shapes.get(_HINT) or shapes.get(_ORIGINAL_HINT) or ()
    if any("task_embedding" in name for name in shapes):
        return Message(
            "{model} is a ControlNet for maps of many kinds at once (Union), which cannot be used "
            "here. Get the one for your kind of map.",
            model=file,
        )
    if len(hint) > 1 and hint[1] != 3:
        return Message(
            "{model} is a ControlNet that takes {channels} channels; a map has 3.",
            model=file,
            channels=hint[1],
        )
    if _controlnet_family(shapes) is None:
        return Message(
            "{model} is a ControlNet, but not one of Stable Diffusion 1.x, nor of SDXL in the form "
            "of diffusers. Others are used as diffusers folders.",
            model=file,
        )
    return None


def _other_kind(shapes: Mapping[str, tuple[int, ...]], file: str) -> Message:
    """What a file holds that is no control model of ours."""
    names = list(shapes)

    def some(*marks: str) -> bool:
        return any(mark in name for name in names for mark in marks)

    if "lora_controlnet" in shapes:
        return Message(
            "{model} is a Control-LoRA, which cannot be used here. Get the ControlNet that it was "
            "made from.",
            model=file,
        )
    if some("ip_adapter.", "image_proj"):
        return Message("{model} is an IP-Adapter, which cannot be used here.", model=file)
    if some("controlnet_blocks", "controlnet_x_embedder", "pos_embed_input", "double_blocks"):
        return Message(
            "{model} is a ControlNet of another family of models; those of Stable Diffusion 1.x "
            "and SDXL can be used here.",
            model=file,
        )
    if some("lora_", ".lora", "lora."):
        return Message("{model} is a LoRA, not a control model; put it into loras/.", model=file)
    if some("diffusion_model.", "first_stage_model.", "conditioner.embedders"):
        return Message("{model} is a model to paint with; put it into models/.", model=file)
    if some("body.", "adapter."):
        return Message(
            "{model} is a T2I-Adapter, but not one of Stable Diffusion 1.x. Others are used as "
            "diffusers folders.",
            model=file,
        )
    return Message("{model} holds neither a ControlNet nor a T2I-Adapter.", model=file)


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
