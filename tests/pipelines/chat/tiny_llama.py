"""Tiny random LLaMAs and tokenizers: the real classes, a few thousand numbers."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = "The capital of France is Paris. the cat sat on the mat, and 3 cats sat on 2 mats. " * 4


def llama(vocabulary: int = 300, seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    """Three blocks with four heads that share two kv heads; weights far from zero."""
    settings = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "initializer_range": 0.2,
        "rms_norm_eps": 1e-5,
        **changes,
    }
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**settings)).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "norm" in name:  # all ones as they begin: their place would not matter
            parameter.uniform_(0.5, 1.5)
    return model


def byte_level(normalizer: Any = None) -> PreTrainedTokenizerFast:
    """Byte-level BPE as LLaMA 3 and SmolLM2 have it; nothing is put before a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>"
    )


def composing_tokenizer() -> PreTrainedTokenizerFast:
    """The same, which writes an e and an accent as é first, as Qwen's does."""
    return byte_level(normalizers.NFC())


def sentencepiece() -> PreTrainedTokenizerFast:
    """BPE with byte fallback as LLaMA 2 has it: ``<s>`` and a space come before every text."""
    specials = ["<unk>", "<s>", "</s>"]
    names = [*specials, *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    names += [*sorted({letter for letter in WORDS if letter != " "}), "Th", "The", "▁The"]
    vocabulary = {name: at for at, name in enumerate(names)}
    merges = [("T", "h"), ("Th", "e"), ("▁", "The")]
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.add_special_tokens(specials)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
