"""How a language model of the LLaMA family is built, in the numbers of the loaded model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PARTS = ("embedding", "attention", "ffn", "norms", "head", "other")


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoder of equal blocks: RMSNorm, attention, RMSNorm, SwiGLU, each pair with a residual.

    Attributes:
        kind: transformers' ``model_type``.
        blocks: how many there are.
        heads, kv_heads: of attention, for queries and for keys and values (GQA, Ainslie et al.
            2023).
        head_dim, hidden, ffn: widths: of one head, between the blocks, inside the SwiGLU.
        vocabulary: rows of the embedding.
        activation: of the feed-forward network's gate.
        tied: whether the head is the embedding's transpose.
        norm_eps: added under RMSNorm's root.
        rope_base: of the rotary position embedding, or None.
        rope_scaling: how it is stretched to a longer context, such as ``llama3 ×8``; or None.
        context: positions that it was trained for.
        dtype: of the weights, such as ``float32``.
        parameters: how many numbers were learnt, tied ones once; by :data:`PARTS`.
        weight_bytes: what they take in memory.
        cache_bytes: of keys and values for each token of a conversation.
    """

    kind: str
    blocks: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    ffn: int
    vocabulary: int
    activation: str
    tied: bool
    norm_eps: float
    rope_base: float | None
    rope_scaling: str | None
    context: int
    dtype: str
    parameters: Mapping[str, int]
    weight_bytes: int
    cache_bytes: int

    @property
    def total(self) -> int:
        """All parameters."""
        return sum(self.parameters.values())


def architecture(model: Any) -> Architecture:
    """The numbers of ``model``, a ``transformers.PreTrainedModel`` with a language model's head."""
    config = model.config
    blocks, dtype = len(model.get_decoder().layers), model.dtype
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    base, scaling = _rope(config)
    return Architecture(
        kind=config.model_type,
        blocks=blocks,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        hidden=config.hidden_size,
        ffn=config.intermediate_size,
        vocabulary=model.get_input_embeddings().num_embeddings,
        activation=config.hidden_act,
        tied=_head(model) is _embedding(model),
        norm_eps=config.rms_norm_eps,
        rope_base=base,
        rope_scaling=scaling,
        context=config.max_position_embeddings,
        dtype=str(dtype).removeprefix("torch."),
        parameters=_parameters(model),
        weight_bytes=model.get_memory_footprint(),
        cache_bytes=2 * blocks * kv_heads * head_dim * dtype.itemsize,
    )


def _embedding(model: Any) -> Any:
    return model.get_input_embeddings().weight


def _head(model: Any) -> Any:
    return model.get_output_embeddings().weight


def _rope(config: Any) -> tuple[float | None, str | None]:
    rope = getattr(config, "rope_parameters", None) or {}
    kind, factor = rope.get("rope_type", "default"), rope.get("factor")
    stretched = None if kind == "default" else f"{kind} ×{factor:g}" if factor else kind
    return rope.get("rope_theta"), stretched


def _parameters(model: Any) -> dict[str, int]:
    counts = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():  # tied ones come once
        counts[_part(name, parameter, model)] += _count(parameter)
    return counts


def _part(name: str, parameter: Any, model: Any) -> str:
    if parameter is _embedding(model):
        return "embedding"
    if parameter is _head(model):
        return "head"
    if "norm" in name:
        return "norms"
    if ".self_attn." in name:
        return "attention"
    return "ffn" if ".mlp." in name else "other"


def _count(parameter: Any) -> int:
    """Numbers in a tensor; bitsandbytes packs two of them into a byte."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else state.shape.numel()
