"""A tiny random LLaMA as a GGUF file, with a byte-level tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

WIDTH, HEADS, KV_HEADS, FFN, BLOCKS, WORDS = 32, 4, 2, 64, 2, 300


def save_gguf(path: Path, template: str | None = None, **facts: Any) -> Path:
    """Writes the file.

    Args:
        template: its chat template.
        facts: of the architecture, in the place of what fits the weights.
    """
    writer = gguf.GGUFWriter(path, "llama")
    numbers = {
        "block_count": BLOCKS, "context_length": 256, "embedding_length": WIDTH,
        "feed_forward_length": FFN, "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS, "rope.dimension_count": WIDTH // HEADS,
        "vocab_size": WORDS, **facts,
    }  # fmt: skip
    for name, value in numbers.items():
        writer.add_uint32(f"llama.{name}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    specials = ["<|im_start|>", "<|im_end|>"]
    words = [*_letters(), "th", *specials]
    words += [f"word{number}" for number in range(WORDS - len(words))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(words)
    writer.add_token_types([3 if word in specials else 1 for word in words])
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(words.index(specials[0]))
    writer.add_eos_token_id(words.index(specials[1]))
    if template is not None:
        writer.add_chat_template(template)
    random = np.random.default_rng(0)
    for name, shape in _shapes().items():
        writer.add_tensor(name, (random.standard_normal(shape) / 10).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _letters() -> list[str]:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return [*bytes_to_unicode().values()]


def _shapes() -> dict[str, tuple[int, ...]]:
    kv = WIDTH // HEADS * KV_HEADS
    of_block = {
        "attn_norm": (WIDTH,), "attn_q": (WIDTH, WIDTH), "attn_k": (kv, WIDTH),
        "attn_v": (kv, WIDTH), "attn_output": (WIDTH, WIDTH), "ffn_norm": (WIDTH,),
        "ffn_gate": (FFN, WIDTH), "ffn_up": (FFN, WIDTH), "ffn_down": (WIDTH, FFN),
    }  # fmt: skip
    blocks = {
        f"blk.{at}.{name}.weight": shape for at in range(BLOCKS) for name, shape in of_block.items()
    }
    return {"token_embd.weight": (WORDS, WIDTH), "output_norm.weight": (WIDTH,),
            "output.weight": (WORDS, WIDTH), **blocks}  # fmt: skip
