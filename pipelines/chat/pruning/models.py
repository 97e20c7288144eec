"""What is pruned: decoders of LLaMA's layout, and models that share their weights.

A model that is leased from the cache is never changed. What is done to one is done to another
model object, made here, whose parameters are the same memory; that takes no time and no room.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from pipelines.core.errors import BadRequest

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")  # by the config's model_type
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")


def check_prunable(model: nn.Module) -> None:
    """Refuses what is not a LLaMA in full weights.

    Raises:
        BadRequest: of another layout, or its weights are quantised.
    """
    kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    if kind not in FAMILIES:
        raise BadRequest(
            "A model of the kind {kind} cannot be shortened; these can: {kinds}.",
            kind=kind,
            kinds=", ".join(FAMILIES),
        )
    if any(not weight.is_floating_point() for weight in model.parameters()):
        raise BadRequest(
            "The weights of this model are quantised here and cannot be pruned. Choose it without "
            "quantisation."
        )


def blocks_of(model: nn.Module) -> nn.ModuleList:
    """The transformer blocks, first to last."""
    return model.model.layers


def linears_of(block: nn.Module) -> dict[str, nn.Linear]:
    """The seven weight matrices of a block by name: q, k, v, o, gate, up, down."""
    inside = [(name, block.self_attn) for name in ATTENTION]
    inside += [(name, block.mlp) for name in FEED_FORWARD]
    return {name: getattr(part, name) for name, part in inside}


def model_from(model: nn.Module, config: PretrainedConfig, tensors: dict[str, Tensor]) -> nn.Module:
    """A model of ``model``'s class with ``config``'s shapes that has ``tensors`` as its weights.

    Args:
        config: is changed to one of full weights.
        model: gives the class, the rotary embedding and the generation settings.
        tensors: by the names of the new model's ``state_dict``; taken as they are, without a copy.
    """
    if hasattr(config, "quantization_config"):
        # Of a file that was unpacked while it was read, as GGUF is: these are full weights.
        del config.quantization_config
    with torch.device("meta"):
        made = type(model)(config)
    made.load_state_dict(tensors, strict=True, assign=True)
    made.tie_weights()
    # Its tables are no part of a state_dict, and depend on the head's width and the base alone.
    made.model.rotary_emb = copy.deepcopy(model.model.rotary_emb)
    made.generation_config = copy.deepcopy(model.generation_config)
    return made.requires_grad_(False).eval()


def with_blocks(model: nn.Module, kept: Sequence[int]) -> nn.Module:
    """A model of only the blocks ``kept``, in their order, that shares ``model``'s weights.

    Blocks are numbered anew, in the names of the weights and for the KV cache.
    """
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = len(kept)
    kinds: Any = getattr(config, "layer_types", None)
    if kinds is not None:
        config.layer_types = [kinds[old] for old in kept]
    place = {str(old): str(new) for new, old in enumerate(kept)}
    tensors = {}
    for name, tensor in model.state_dict().items():
        parts = name.split(".")
        if name.startswith("model.layers."):
            if parts[2] not in place:
                continue
            parts[2] = place[parts[2]]
        tensors[".".join(parts)] = tensor
    return model_from(model, config, tensors)


def parameters_of(model: nn.Module) -> int:
    """How many weights there are; tied ones count once."""
    return sum(weight.numel() for weight in model.parameters())


def bytes_of(model: nn.Module) -> int:
    """What they take, in the precision in which they are here; tied ones count once."""
    return sum(weight.numel() * weight.element_size() for weight in model.parameters())
