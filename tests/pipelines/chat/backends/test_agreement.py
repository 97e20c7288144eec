"""llama.cpp and transformers on the same GGUF file, with SmolLM2's real weights.

Their quantised kernels round differently, so that long answers part sooner or later.
"""

from __future__ import annotations

import threading

import pytest
import torch

from pipelines.chat.engine import PLAIN
from pipelines.chat.entries import CACHE_PREFIX, INSPECT_PREFIX
from pipelines.chat.events import Words
from pipelines.chat.requests import STARTER, ChatMessage, CompletionRequest
from pipelines.core.paths import ASSETS

PROMPTS = (
    "Tell me a short story about a cat.",
    "What is water made of?",
    "Give me three tips for sleeping well.",
    "Explain gravity in one sentence.",
    "Write a poem about the sea.",
    "What is a computer?",
    "How does a bicycle stay upright?",
    "Describe a rainy day.",
    "What should I cook tonight?",
    "Why do birds sing?",
)
NEAR = 0.3  # nats between the two likeliest tokens: closer ones may change places


@pytest.fixture(scope="module")
def both(chat_cache):
    with (
        chat_cache.lease(CACHE_PREFIX + STARTER) as cpp,
        chat_cache.lease(INSPECT_PREFIX + STARTER) as transformers,
    ):
        yield cpp, transformers


def greedy(model, prompt: list[int], count: int) -> str:
    request = CompletionRequest(
        prompt="", **{**PLAIN.model_dump(), "temperature": 0.0}, seed=0, max_new_tokens=count
    )
    events = model.generate(prompt, request, threading.Event())
    return "".join(event.text for event in events if isinstance(event, Words))


@pytest.mark.deep
def test_both_cut_and_wrap_a_conversation_the_same_way(both):
    cpp, transformers = both
    for text in (*PROMPTS, "  Héllo <|im_end|>\n\n你好 🦆  ", "<|endoftext|>def f(x):\n\treturn 1"):
        messages = (ChatMessage(role="user", content=text),)

        assert cpp.prompt(messages) == transformers.prompt(messages)


@pytest.mark.deep
def test_the_first_five_tokens_agree_on_nine_of_ten_prompts(both):
    cpp, transformers = both
    agreed = 0
    for text in PROMPTS:
        prompt = cpp.prompt((ChatMessage(role="user", content=text),))
        agreed += greedy(cpp, prompt, 5) == greedy(transformers, prompt, 5)

    assert agreed >= 9


@pytest.mark.deep
def test_the_likeliest_next_token_agrees_but_where_two_are_as_likely(both):
    cpp, transformers = both
    text = next((ASSETS / "texts").glob("*.txt")).read_text(encoding="utf-8")[3000:6000]
    ids = cpp.tokenize(text)[:120]
    with torch.inference_mode():
        best = transformers.model(torch.tensor([ids])).logits[0].topk(2)
    agreed = 0
    for at in range(len(ids)):
        word = transformers.tokenizer.decode([best.indices[at, 0]])
        same = greedy(cpp, ids[: at + 1], 1) == word
        assert same or best.values[at, 0] - best.values[at, 1] < NEAR
        agreed += same

    assert agreed / len(ids) >= 0.9  # 93.0 % of the first 400
