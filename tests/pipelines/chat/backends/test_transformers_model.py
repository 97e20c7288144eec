"""The transformers backend against transformers' own ``generate``, on tiny random LLaMAs."""

from __future__ import annotations

import threading

import pytest
import torch

from pipelines.chat.engine import run
from pipelines.chat.entries import CACHE_PREFIX, INSPECT_PREFIX
from pipelines.chat.events import Words
from pipelines.chat.requests import ChatRequest
from pipelines.core.errors import Unavailable
from tests.pipelines.chat.conftest import TINY, make_cache
from tests.pipelines.chat.llamas import make_llama, save_llama


def request_of(text: str = "the cat", model: str = TINY, **fields) -> ChatRequest:
    return ChatRequest(messages=[{"role": "user", "content": text}], model=model, **fields)


def answer_to(request, cache) -> str:
    events = run(request, cache, threading.Event())
    return "".join(event.text for event in events if isinstance(event, Words))


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_answers_are_those_of_transformers_generate(chat_cache, penalty):
    text = "the cat sat on the mat " * 5  # more than one chunk with the chunks below
    request = request_of(text, temperature=0, repetition_penalty=penalty, max_new_tokens=20)

    with chat_cache.lease(CACHE_PREFIX + TINY) as held:
        prompt = held.prompt(request.messages)
        ids = held.model.generate(
            torch.tensor([prompt]),
            do_sample=False,
            repetition_penalty=penalty,
            max_new_tokens=20,
            eos_token_id=held.tokenizer.eos_token_id,
        )[0, len(prompt) :]
        expected = held.tokenizer.decode(ids, skip_special_tokens=True)

    assert answer_to(request, chat_cache) == expected


def test_a_prompt_read_in_chunks_gives_the_same_answer(chat_cache, monkeypatch):
    request = request_of("the cat sat on the mat", temperature=0, max_new_tokens=12)
    whole = answer_to(request, chat_cache)

    monkeypatch.setattr("pipelines.chat.backends.transformers_model.CHUNK", 7)

    assert answer_to(request, chat_cache) == whole


def test_the_odds_are_the_model_s_own(chat_cache):
    request = request_of(temperature=0, max_new_tokens=1, logprobs=3)
    words = next(e for e in run(request, chat_cache, threading.Event()) if isinstance(e, Words))

    with chat_cache.lease(CACHE_PREFIX + TINY) as held, torch.inference_mode():
        prompt = torch.tensor([held.prompt(request.messages)])
        expected = held.model(prompt).logits[0, -1].log_softmax(-1).topk(3).values

    told = [each.logprob for each in words.odds[0].top]
    assert told == pytest.approx(expected.tolist(), abs=1e-4)


def test_two_who_ask_at_once_are_answered_one_after_the_other_and_rightly(chat_cache):
    requests = [
        request_of(text, temperature=0, max_new_tokens=10) for text in ("the cat", "the duck")
    ]
    alone = [answer_to(request, chat_cache) for request in requests]
    together: dict[int, str] = {}

    def ask(index: int) -> None:
        together[index] = answer_to(requests[index], chat_cache)

    threads = [threading.Thread(target=ask, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [together[0], together[1]] == alone


def test_a_lora_by_name_changes_the_base_as_peft_does(tmp_path):
    import peft

    base = save_llama(tmp_path / "chat" / "base")
    model = make_llama(len_of(base))
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    torch.manual_seed(5)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    adapted.save_pretrained(tmp_path / "chat" / "spice")
    fields = "backend: transformers\nsource: {folder: base}\ncontext_length: 128\n"
    (tmp_path / "chat" / "plain.yaml").write_text(fields)
    (tmp_path / "chat" / "spiced.yaml").write_text(fields + "lora: spice\n")
    (tmp_path / "chat" / "missing.yaml").write_text(fields + "lora: nowhere\n")
    cache = make_cache(tmp_path)

    with cache.lease(CACHE_PREFIX + "spiced") as held, torch.inference_mode():
        tokens = torch.tensor([[5, 9, 77]])
        assert torch.allclose(held.model(tokens).logits, adapted(tokens).logits, atol=1e-5)
    with cache.lease(CACHE_PREFIX + "plain") as held, torch.inference_mode():
        assert not torch.allclose(held.model(tokens).logits, adapted(tokens).logits, atol=1e-2)
    with pytest.raises(Unavailable, match=r"nowhere of missing has no adapter_config\.json"):
        answer_to(request_of(model="missing"), cache)


def len_of(folder) -> int:
    from transformers import AutoTokenizer

    return len(AutoTokenizer.from_pretrained(folder))


def test_weights_in_pickles_are_never_opened(tmp_path):
    folder = save_llama(tmp_path / "chat" / "old")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04danger")
    fields = "backend: transformers\nsource: {folder: old}\n"
    (tmp_path / "chat" / "old.yaml").write_text(fields)

    with pytest.raises(Unavailable, match="pickle"):
        answer_to(request_of(model="old"), make_cache(tmp_path))


def test_a_folder_that_is_damaged_says_why(tmp_path):
    folder = save_llama(tmp_path / "chat" / "torn")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    (tmp_path / "chat" / "torn.yaml").write_text("backend: transformers\nsource: {folder: torn}\n")

    with pytest.raises(Unavailable, match="transformers cannot load torn: "):
        answer_to(request_of(model="torn"), make_cache(tmp_path))


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_bitsandbytes_is_for_cuda_only(tmp_path, bits):
    save_llama(tmp_path / "chat" / "base")
    fields = f"backend: transformers\nsource: {{folder: base}}\nquantisation: {bits}\n"
    (tmp_path / "chat" / "small.yaml").write_text(fields)

    with pytest.raises(Unavailable, match=r"needs an NVIDIA GPU; this device is cpu"):
        answer_to(request_of(model="small"), make_cache(tmp_path))


def test_the_same_model_can_be_leased_to_look_into(chat_cache):
    with chat_cache.lease(INSPECT_PREFIX + TINY) as held:
        assert held.model.config.num_hidden_layers == 2
        assert not any(weight.requires_grad for weight in held.model.parameters())
