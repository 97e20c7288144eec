"""Which tensors a single-file checkpoint of Stable Diffusion has: the names of the original code.

``presets/single_file/<family>/`` has each part's configuration; from these follow all names and
shapes, under which CompVis' and Stability's code keeps them. No torch: models are listed before any
heavy library is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

Shape = tuple[int, ...]
Named = tuple[str, Shape]

UNET, VAE = "model.diffusion_model.", "first_stage_model."
# Of SD 1.x and of SDXL: what its parts are called by people, and where their tensors are.
TEXT_ENCODERS = {
    "sd1": {"text_encoder": "cond_stage_model.transformer."},
    "sdxl": {
        "text_encoder": "conditioner.embedders.0.transformer.",
        "text_encoder_2": "conditioner.embedders.1.model.",
    },
}
_TITLES = {
    "unet": "U-Net",
    "vae": "VAE",
    "text_encoder": "CLIP-L text encoder",
    "text_encoder_2": "CLIP-G text encoder",
}
# Older names of the same tensors: what they begin with → what it is now.
_RENAMED = (
    ("diffusion_model.", UNET),
    ("vae.", VAE),
    *(
        (f"{prefix}{piece}", f"{prefix}text_model.{piece}")
        for prefix in ("cond_stage_model.transformer.", "conditioner.embedders.0.transformer.")
        for piece in ("embeddings.", "encoder.", "final_layer_norm.")
    ),
)
# Of modules that were compiled, sharded or checkpointed in training; DistributedDataParallel and
# DeepSpeed put "module." in front.
_WRAPPERS = (
    "_orig_mod.",
    "_forward_module.",
    "_fsdp_wrapped_module.",
    "_checkpoint_wrapped_module.",
)


@dataclass(frozen=True)
class Part:
    """One part of a checkpoint: what people call it, and all its tensors by name."""

    title: str
    tensors: Mapping[str, Shape]


def current_names(names: Iterable[str]) -> dict[str, str]:
    """Of each tensor its name as today's checkpoints have it; two of one meaning: the exact one.

    >>> current_names(["vae.quant_conv.bias", "first_stage_model.quant_conv.bias"])
    {'first_stage_model.quant_conv.bias': 'first_stage_model.quant_conv.bias'}
    """
    found = {current_name(name): name for name in names}
    found |= {name: name for name in names if name in found}
    return {name: current for current, name in found.items()}


def current_name(name: str) -> str:
    """A tensor's name as today's checkpoints have it, without what training wraps modules in.

    >>> current_name("cond_stage_model.transformer.encoder.layers.0.mlp.fc1.bias")
    'cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.bias'
    >>> current_name("module.model._orig_mod.diffusion_model.out.2.bias")
    'model.diffusion_model.out.2.bias'
    """
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    while name.startswith("module."):
        name = name.removeprefix("module.")
    for old, new in _RENAMED:
        if name.startswith(old):
            return new + name[len(old) :]
    return name


@lru_cache(maxsize=8)
def expected_parts(config: Path, family: str) -> tuple[Part, ...]:
    """All parts of a checkpoint of ``family``, as the configurations in ``config`` have them."""
    named: dict[str, Iterator[Named]] = {
        "unet": _prefix(UNET, _unet(_read(config, "unet"))),
        "vae": _prefix(VAE, _vae(_read(config, "vae"))),
    }
    for name, prefix in TEXT_ENCODERS[family].items():
        tensors = _open_clip if name == "text_encoder_2" else _clip
        named[name] = _prefix(prefix, tensors(_read(config, name)))
    return tuple(Part(_TITLES[name], dict(tensors)) for name, tensors in named.items())


def plain(shape: Shape | list[int]) -> Shape:
    """A shape without ones at its end: matrices may be kept as 1×1 convolutions.

    >>> plain([320, 320, 1, 1])
    (320, 320)
    """
    sides = list(shape)
    while len(sides) > 2 and sides[-1] == 1:
        sides.pop()
    return tuple(sides)


def _read(config: Path, part: str) -> dict[str, Any]:
    return json.loads((config / part / "config.json").read_text(encoding="utf-8"))


def _prefix(prefix: str, named: Iterator[Named]) -> Iterator[Named]:
    return ((prefix + name, shape) for name, shape in named)


def _layer(name: str, *shape: int, bias: bool = True) -> Iterator[Named]:
    yield f"{name}.weight", shape
    if bias:
        yield f"{name}.bias", shape[:1]


# --- the U-Net ------------------------------------------------------------------------------------


def _unet(config: Mapping[str, Any]) -> Iterator[Named]:
    widths, layers = config["block_out_channels"], config["layers_per_block"]
    depths = config.get("transformer_layers_per_block", 1)
    depths = [depths] * len(widths) if isinstance(depths, int) else depths
    context, first, time = config["cross_attention_dim"], widths[0], 4 * widths[0]
    attends = [kind.startswith("CrossAttn") for kind in config["down_block_types"]]
    yield from _layer("time_embed.0", time, first)
    yield from _layer("time_embed.2", time, time)
    if added := config.get("projection_class_embeddings_input_dim"):
        yield from _layer("label_emb.0.0", time, added)
        yield from _layer("label_emb.0.2", time, time)
    yield from _layer("input_blocks.0.0", first, config["in_channels"], 3, 3)
    number, width, skipped = 1, first, [first]
    for level, out in enumerate(widths):
        for _ in range(layers):
            yield from _unet_resnet(f"input_blocks.{number}.0", width, out, time)
            if attends[level]:
                yield from _transformer(f"input_blocks.{number}.1", out, depths[level], context)
            number, width = number + 1, out
            skipped.append(out)
        if level < len(widths) - 1:
            yield from _layer(f"input_blocks.{number}.0.op", out, out, 3, 3)
            number += 1
            skipped.append(out)
    yield from _unet_resnet("middle_block.0", width, width, time)
    yield from _transformer("middle_block.1", width, depths[-1], context)
    yield from _unet_resnet("middle_block.2", width, width, time)
    for number, level in enumerate(level for level in reversed(range(len(widths)))
                                   for _ in range(layers + 1)):  # fmt: skip
        out = widths[level]
        yield from _unet_resnet(f"output_blocks.{number}.0", width + skipped.pop(), out, time)
        if attends[level]:
            yield from _transformer(f"output_blocks.{number}.1", out, depths[level], context)
        if (number + 1) % (layers + 1) == 0 and level:
            place = 1 + attends[level]
            yield from _layer(f"output_blocks.{number}.{place}.conv", out, out, 3, 3)
        width = out
    yield from _layer("out.0", first)
    yield from _layer("out.2", config["out_channels"], first, 3, 3)


def _unet_resnet(name: str, into: int, out: int, time: int) -> Iterator[Named]:
    yield from _layer(f"{name}.in_layers.0", into)
    yield from _layer(f"{name}.in_layers.2", out, into, 3, 3)
    yield from _layer(f"{name}.emb_layers.1", out, time)
    yield from _layer(f"{name}.out_layers.0", out)
    yield from _layer(f"{name}.out_layers.3", out, out, 3, 3)
    if into != out:
        yield from _layer(f"{name}.skip_connection", out, into)


def _transformer(name: str, width: int, depth: int, context: int) -> Iterator[Named]:
    yield from _layer(f"{name}.norm", width)
    yield from _layer(f"{name}.proj_in", width, width)
    for block in (f"{name}.transformer_blocks.{number}" for number in range(depth)):
        for attention, source in (("attn1", width), ("attn2", context)):
            yield from _layer(f"{block}.{attention}.to_q", width, width, bias=False)
            yield from _layer(f"{block}.{attention}.to_k", width, source, bias=False)
            yield from _layer(f"{block}.{attention}.to_v", width, source, bias=False)
            yield from _layer(f"{block}.{attention}.to_out.0", width, width)
        yield from _layer(f"{block}.ff.net.0.proj", 8 * width, width)
        yield from _layer(f"{block}.ff.net.2", width, 4 * width)
        for number in (1, 2, 3):
            yield from _layer(f"{block}.norm{number}", width)
    yield from _layer(f"{name}.proj_out", width, width)


# --- the autoencoder ------------------------------------------------------------------------------


def _vae(config: Mapping[str, Any]) -> Iterator[Named]:
    widths, layers = config["block_out_channels"], config["layers_per_block"]
    latent, last = config["latent_channels"], len(widths) - 1
    yield from _layer("encoder.conv_in", widths[0], config.get("in_channels", 3), 3, 3)
    width = widths[0]
    for level, out in enumerate(widths):
        for number in range(layers):
            yield from _vae_resnet(f"encoder.down.{level}.block.{number}", width, out)
            width = out
        if level < last:
            yield from _layer(f"encoder.down.{level}.downsample.conv", out, out, 3, 3)
    yield from _vae_middle("encoder.mid", width)
    yield from _layer("encoder.norm_out", width)
    yield from _layer("encoder.conv_out", 2 * latent, width, 3, 3)
    yield from _layer("quant_conv", 2 * latent, 2 * latent)
    yield from _layer("post_quant_conv", latent, latent)
    yield from _layer("decoder.conv_in", width, latent, 3, 3)
    yield from _vae_middle("decoder.mid", width)
    for level in reversed(range(len(widths))):
        for number in range(layers + 1):
            yield from _vae_resnet(f"decoder.up.{level}.block.{number}", width, widths[level])
            width = widths[level]
        if level:
            yield from _layer(f"decoder.up.{level}.upsample.conv", width, width, 3, 3)
    yield from _layer("decoder.norm_out", width)
    yield from _layer("decoder.conv_out", config.get("out_channels", 3), width, 3, 3)


def _vae_middle(name: str, width: int) -> Iterator[Named]:
    yield from _vae_resnet(f"{name}.block_1", width, width)
    yield from _layer(f"{name}.attn_1.norm", width)
    for piece in ("q", "k", "v", "proj_out"):
        yield from _layer(f"{name}.attn_1.{piece}", width, width)
    yield from _vae_resnet(f"{name}.block_2", width, width)


def _vae_resnet(name: str, into: int, out: int) -> Iterator[Named]:
    yield from _layer(f"{name}.norm1", into)
    yield from _layer(f"{name}.conv1", out, into, 3, 3)
    yield from _layer(f"{name}.norm2", out)
    yield from _layer(f"{name}.conv2", out, out, 3, 3)
    if into != out:
        yield from _layer(f"{name}.nin_shortcut", out, into)


# --- the text encoders ----------------------------------------------------------------------------


def _clip(config: Mapping[str, Any]) -> Iterator[Named]:
    width, inner = config["hidden_size"], config["intermediate_size"]
    embeddings = "text_model.embeddings"
    yield f"{embeddings}.token_embedding.weight", (config["vocab_size"], width)
    yield f"{embeddings}.position_embedding.weight", (config["max_position_embeddings"], width)
    for layer in (f"text_model.encoder.layers.{n}" for n in range(config["num_hidden_layers"])):
        for piece in ("q", "k", "v", "out"):
            yield from _layer(f"{layer}.self_attn.{piece}_proj", width, width)
        yield from _layer(f"{layer}.mlp.fc1", inner, width)
        yield from _layer(f"{layer}.mlp.fc2", width, inner)
        yield from _layer(f"{layer}.layer_norm1", width)
        yield from _layer(f"{layer}.layer_norm2", width)
    yield from _layer("text_model.final_layer_norm", width)


def _open_clip(config: Mapping[str, Any]) -> Iterator[Named]:
    width, inner = config["hidden_size"], config["intermediate_size"]
    yield "token_embedding.weight", (config["vocab_size"], width)
    yield "positional_embedding", (config["max_position_embeddings"], width)
    yield "text_projection", (width, config["projection_dim"])
    for layer in (f"transformer.resblocks.{n}" for n in range(config["num_hidden_layers"])):
        yield f"{layer}.attn.in_proj_weight", (3 * width, width)
        yield f"{layer}.attn.in_proj_bias", (3 * width,)
        yield from _layer(f"{layer}.attn.out_proj", width, width)
        yield from _layer(f"{layer}.mlp.c_fc", inner, width)
        yield from _layer(f"{layer}.mlp.c_proj", width, inner)
        yield from _layer(f"{layer}.ln_1", width)
        yield from _layer(f"{layer}.ln_2", width)
    yield from _layer("ln_final", width)
