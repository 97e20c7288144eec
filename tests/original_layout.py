"""Write a diffusers pipeline of SD 1.x or SDXL as one file, under the original code's names.

The inverse of what diffusers does when it opens such a file, written from the naming of CompVis'
and Stability's code (``input_blocks``, ``middle_block``, ``output_blocks`` …).
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import save_file

Tensors = dict[str, torch.Tensor]

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
_VAE = [
    (r"^(..)coder\.mid_block\.resnets\.0", r"\1coder.mid.block_1"),
    (r"^(..)coder\.mid_block\.resnets\.1", r"\1coder.mid.block_2"),
    (r"^(..)coder\.mid_block\.attentions\.0", r"\1coder.mid.attn_1"),
    (r"group_norm", "norm"),
    (r"to_(q|k|v)\.", r"\1."),
    (r"to_out\.0", "proj_out"),
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block."),
    (r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample"),
]
_OPEN_CLIP = [
    (r"^text_model\.embeddings\.token_embedding\.weight", "token_embedding.weight"),
    (r"^text_model\.embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"^text_model\.final_layer_norm", "ln_final"),
    (r"^text_model\.encoder\.layers", "transformer.resblocks"),
    (r"layer_norm(\d)", r"ln_\1"),
    (r"self_attn", "attn"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
]


def save_single_file(pipe, path: Path) -> None:
    """Write ``pipe`` (SD 1.x or SDXL) to ``path``."""
    tensors = {f"model.diffusion_model.{k}": v for k, v in _unet(pipe.unet).items()}
    tensors |= {f"first_stage_model.{k}": v for k, v in _vae(pipe.vae).items()}
    clip = {
        f"transformer.text_model.{k.removeprefix('text_model.')}": v
        for k, v in pipe.text_encoder.state_dict().items()
    }
    second = getattr(pipe, "text_encoder_2", None)
    first = "cond_stage_model" if second is None else "conditioner.embedders.0"
    tensors |= {f"{first}.{k}": v for k, v in clip.items()}
    if second is not None:
        tensors |= {f"conditioner.embedders.1.model.{k}": v for k, v in _open_clip(second).items()}
    save_file({k: v.contiguous() for k, v in tensors.items()}, path)


def _unet(unet) -> Tensors:
    layers = unet.config.layers_per_block
    tensors = {_unet_name(name, layers): tensor for name, tensor in unet.state_dict().items()}
    named = {}
    for name, tensor in tensors.items():
        if "@" in name:  # an upsampler comes after the attention where its block has one
            attention = name.partition("@")[0] + "1."
            name = name.replace("@", "2" if any(n.startswith(attention) for n in tensors) else "1")
        named[name] = tensor
    return named


def _unet_name(name: str, layers: int) -> str:
    block = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|\w+samplers)\.(\d+)\.", name)
    if block is not None:
        way, i, kind, j = block[1], int(block[2]), block[3], int(block[4])
        rest = name[block.end() :]
        if kind == "downsamplers":
            return f"input_blocks.{(i + 1) * (layers + 1)}.0.{rest.replace('conv', 'op')}"
        if kind == "upsamplers":
            return f"output_blocks.{i * (layers + 1) + layers}.@.{rest}"
        number = 1 + i * (layers + 1) + j if way == "down" else i * (layers + 1) + j
        way = "input" if way == "down" else "output"
        return f"{way}_blocks.{number}.{int(kind == 'attentions')}.{_resnet(kind, rest)}"
    for ours, theirs in _UNET_ENDS.items():
        if name.startswith(f"{ours}."):
            kind = "resnets" if ".resnets." in name else ""
            return f"{theirs}.{_resnet(kind, name[len(ours) + 1 :])}"
    raise ValueError(name)


def _resnet(kind: str, rest: str) -> str:
    if kind != "resnets":
        return rest
    part, _, end = rest.partition(".")
    return f"{_RESNET[part]}.{end}"


def _vae(vae) -> Tensors:
    last = len(vae.config.block_out_channels) - 1
    tensors = {}
    for name, tensor in vae.state_dict().items():
        if ".mid_block.attentions." in name and tensor.dim() == 2:
            tensor = tensor[:, :, None, None]  # the original's attention is of 1×1 convolutions
        for pattern, new in _VAE:
            name = re.sub(pattern, new, name)
        # The original counts the decoder's levels from the picture, diffusers from the latents.
        name = re.sub(
            r"up_blocks\.(\d+)\.(resnets|upsamplers\.0)",
            lambda m: f"up.{last - int(m[1])}." + ("block" if m[2] == "resnets" else "upsample"),
            name,
        )
        tensors[name] = tensor
    return tensors


def _open_clip(encoder) -> Tensors:
    tensors, fused = {}, {}
    for name, tensor in encoder.state_dict().items():
        if name == "text_projection.weight":
            tensors["text_projection"] = tensor.T
            continue
        for pattern, new in _OPEN_CLIP:
            name = re.sub(pattern, new, name)
        if match := re.search(r"\.(q|k|v)_proj\.(weight|bias)$", name):
            key = f"{name[: match.start()]}.in_proj_{match[2]}"
            fused.setdefault(key, {})[match[1]] = tensor
        else:
            tensors[name] = tensor
    return tensors | {key: torch.cat([part[n] for n in "qkv"]) for key, part in fused.items()}


def save_controlnet(net, path: Path, prefix: str = "control_model.") -> None:
    """Write a ControlNet to ``path`` under the names of its authors' code (cldm.py)."""
    layers, tensors = net.config.layers_per_block, {}
    for name, tensor in net.state_dict().items():
        if found := re.fullmatch(r"controlnet_down_blocks\.(\d+)\.(\w+)", name):
            name = f"zero_convs.{found[1]}.0.{found[2]}"
        elif found := re.fullmatch(r"controlnet_mid_block\.(\w+)", name):
            name = f"middle_block_out.0.{found[1]}"
        elif found := re.fullmatch(r"controlnet_cond_embedding\.(.+)\.(\w+)", name):
            name = f"input_hint_block.{_hint_layer(found[1])}.{found[2]}"
        else:
            name = _unet_name(name, layers)
        tensors[prefix + name] = tensor.contiguous()
    save_file(tensors, path)


def _hint_layer(name: str) -> int:
    """Of its eight convolutions, each with an activation behind it."""
    if name.startswith("blocks."):
        return 2 * (int(name.removeprefix("blocks.")) + 1)
    return {"conv_in": 0, "conv_out": 14}[name]
