"""Tiny random LLaMAs, and a tokenizer of bytes for them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pipelines.core.events import Progress


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Tiny models are slower on more, and the sums are added up in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny_config(**changes) -> LlamaConfig:
    """Four blocks, hidden 32, four heads of width 8 on two kv heads; a vocabulary of bytes."""
    values = {
        "vocab_size": 256,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    return LlamaConfig(**(values | changes))


Llama = Callable[..., LlamaForCausalLM]


@pytest.fixture
def llama() -> Llama:
    """``llama(**changes of the config)``: the same random weights each time."""

    def make(**changes) -> LlamaForCausalLM:
        torch.manual_seed(7)
        model = LlamaForCausalLM(tiny_config(**changes))
        for weight in model.parameters():
            # As initialised, blocks hardly do anything, and no test would see one go.
            torch.nn.init.normal_(weight, std=0.25) if weight.dim() > 1 else weight.data.add_(
                0.2 * torch.randn_like(weight)
            )
        return model.eval()

    return make


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte."""
    letters = {c: n for n, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocab=letters, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made)


@pytest.fixture
def ids() -> torch.Tensor:
    """(2, 24) int64."""
    return torch.randint(0, 256, (2, 24), generator=torch.Generator().manual_seed(3))


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


def last(events):
    """What an engine's part yields at the end, when all before it is progress."""
    *before, value = events
    assert all(isinstance(event, Progress) for event in before)
    return value
