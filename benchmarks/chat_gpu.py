"""``python -m benchmarks.chat --gpu``: a random model of LLaMA-3-8B's shape on CUDA."""

from __future__ import annotations

import sys
import threading

TOKENS = 128
PROMPT = list(range(1000, 1064))


def measure() -> None:
    """Prints tokens a second, and how many GB of weights a second that reads."""
    import torch

    if not torch.cuda.is_available():
        sys.exit("No CUDA device is seen here; this part needs one.")
    total = torch.cuda.get_device_properties(0).total_memory
    print(f"{torch.cuda.get_device_name(0)}, {total / 1e9:.0f} GB")
    print(f"{'precision':<10}{'tok/s':>8}{'GB/s':>8}{'memory':>10}")
    for precision in ("bf16", "compiled", "4bit"):
        speed, size = run(precision)
        print(f"{precision:<10}{speed:>8.1f}{speed * size / 1e9:>8.0f}{size / 1e9:>7.1f} GB")


def run(precision: str) -> tuple[float, int]:
    """Tokens a second of Atelier's transformers backend, and bytes of the weights."""
    import torch
    from transformers import (
        BitsAndBytesConfig,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    from pipelines.chat.backends.transformers_model import TransformersModel
    from pipelines.chat.engine import PLAIN
    from pipelines.chat.entries import ChatEntry, ChatSource
    from pipelines.chat.events import Finished
    from pipelines.chat.requests import CompletionRequest

    config = LlamaConfig(
        vocab_size=128_256,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
        rope_theta=500_000.0,
        torch_dtype=torch.bfloat16,
    )
    with torch.device("cuda"):
        model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    if precision == "4bit":
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            del model
            torch.cuda.empty_cache()
            quantised = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=torch.bfloat16,
            )
            model = LlamaForCausalLM.from_pretrained(
                folder, quantization_config=quantised, device_map={"": 0}
            )
    held = TransformersModel(
        ChatEntry(
            name="random-8b",
            title="random 8B",
            backend="transformers",
            source=ChatSource(folder="none"),
            context_length=8192,
            compiled=precision == "compiled",
        ),
        model,
        _numbers(PreTrainedTokenizerFast),
    )
    request = CompletionRequest(
        prompt="", **{**PLAIN.model_dump(), "temperature": 0.0}, seed=0, max_new_tokens=TOKENS
    )
    best = 0.0
    for _ in range(3):
        for event in held.generate(PROMPT, request, threading.Event()):
            if isinstance(event, Finished):
                best = max(best, event.tokens / event.seconds)
    return best, model.get_memory_footprint()


def _numbers(kind):
    """A tokenizer whose words are the ids: random weights say nothing that could be read."""
    from tokenizers import Tokenizer, models

    words = {str(number): number for number in range(128_256)}
    return kind(tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="0")), eos_token="0")


if __name__ == "__main__":
    measure()
