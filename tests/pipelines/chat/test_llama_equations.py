"""LLaMA written out from its equations, beside transformers' own.

A block: h = x + Attn(RMSNorm(x)); out = h + W2(silu(W1·n) ⊙ W3·n) with n = RMSNorm(h). No biases.
Written to be read: no cache, no batch, one position after another where that is clearer.
"""

from __future__ import annotations

import math

import pytest
import torch

from tests.pipelines.chat.tiny_llama import llama

TOKENS = [5, 17, 250, 5, 5, 42, 0, 299, 128, 77, 31, 6]


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x / √(mean(x²) + eps) · weight: the mean is not subtracted."""  # (T, D)
    return x / torch.sqrt((x**2).mean(dim=-1, keepdim=True) + eps) * weight


def rotate(x: torch.Tensor, base: float) -> torch.Tensor:
    """RoPE: at position t the pair (i, i + d/2) of a head turns by the angle t · base^(−2i/d).

    The pairs are half-split, as transformers' files have them; Meta's are interleaved (2i, 2i + 1).
    """
    positions, _, d = x.shape  # (T, heads, d)
    turned = torch.empty_like(x)
    for t in range(positions):
        for i in range(d // 2):
            angle = t * base ** (-2 * i / d)
            cos, sin = math.cos(angle), math.sin(angle)
            a, b = x[t, :, i], x[t, :, i + d // 2]
            turned[t, :, i], turned[t, :, i + d // 2] = a * cos - b * sin, a * sin + b * cos
    return turned


def attention(n, weights, heads, kv_heads, base):  # (T, D) → (T, D)
    positions, d = len(n), weights["q_proj"].shape[0] // heads
    q = rotate((n @ weights["q_proj"].T).view(positions, heads, d), base)
    k = rotate((n @ weights["k_proj"].T).view(positions, kv_heads, d), base)
    v = (n @ weights["v_proj"].T).view(positions, kv_heads, d)  # values are not turned
    outputs = []
    for head in range(heads):
        shared = head // (heads // kv_heads)  # GQA: neighbouring query heads share a kv head
        scores = q[:, head] @ k[:, shared].T / math.sqrt(d)  # (T, T)
        for t in range(positions):
            scores[t, t + 1 :] = -math.inf  # nobody looks ahead
        outputs.append(scores.softmax(dim=-1) @ v[:, shared])
    return torch.cat(outputs, dim=-1) @ weights["o_proj"].T


def swiglu(n, weights):  # (T, D) → (T, D)
    gate = n @ weights["gate_proj"].T
    silu = gate / (1 + torch.exp(-gate))
    return (silu * (n @ weights["up_proj"].T)) @ weights["down_proj"].T


def logits_of(tokens, state, heads, kv_heads, base, eps):  # → (T, V)
    x = state["model.embed_tokens.weight"][tokens]
    for layer in range(3):
        prefix = f"model.layers.{layer}."
        own = {
            name.removeprefix(prefix).split(".")[-2]: value
            for name, value in state.items()
            if name.startswith(prefix)
        }
        n = rms_norm(x, own["input_layernorm"], eps)
        h = x + attention(n, own, heads, kv_heads, base)
        x = h + swiglu(rms_norm(h, own["post_attention_layernorm"], eps), own)
    return rms_norm(x, state["model.norm.weight"], eps) @ state["lm_head.weight"].T


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
def test_the_equations_give_the_logits_of_transformers(tied, kv_heads, base):
    rope = {"rope_type": "default", "rope_theta": base}
    model = llama(num_key_value_heads=kv_heads, tie_word_embeddings=tied, rope_parameters=rope)
    ours = logits_of(TOKENS, model.state_dict(), 4, kv_heads, base, 1e-5)
    theirs = model(torch.tensor([TOKENS])).logits[0]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    head_is_embedding = model.lm_head.weight is model.model.embed_tokens.weight
    assert head_is_embedding == tied


def test_each_part_matters():
    """The agreement would be worth nothing if a part could be left out unseen."""
    model = llama()
    state, wanted = model.state_dict(), model(torch.tensor([TOKENS])).logits[0]

    def off(changes=None, **settings) -> float:
        settings = {"heads": 4, "kv_heads": 2, "base": 10_000.0, "eps": 1e-5, **settings}
        found = logits_of(TOKENS, {**state, **(changes or {})}, **settings)
        return float((found - wanted).abs().max())

    assert off() < 1e-4
    assert off(base=500_000.0) > 0.01
    for name, value in state.items():
        assert off({name: value * 1.01}) > 2e-4, name
