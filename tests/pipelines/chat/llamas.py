"""Tiny random LLaMAs with real tokenizers, made by the tests."""

from __future__ import annotations

from pathlib import Path

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As in the tokenizers of Llama-3-8B-Instruct and Llama-2-7b-chat.
LLAMA_3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = "
    "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim "
    "+ '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception("
    "'Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}"
    "{% endif %}{% endfor %}"
)
SPECIALS = {
    CHATML: ["<|im_start|>", "<|im_end|>", "<|endoftext|>"],
    LLAMA_3: [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
    ],
    LLAMA_2: ["<s>", "</s>", "<unk>"],
}
ENDS = {  # begin and end of text
    CHATML: ("<|im_start|>", "<|im_end|>"),
    LLAMA_3: ("<|begin_of_text|>", "<|eot_id|>"),
    LLAMA_2: ("<s>", "</s>"),
}


def make_tokenizer(template: str = CHATML):
    """A byte-level BPE tokenizer that knows every byte, a few words and the template's specials."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=SPECIALS[template],
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the cat sat on the mat and the duck swam"], trainer)
    bos, eos = ENDS[template]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        chat_template=template,
        additional_special_tokens=[s for s in SPECIALS[template] if s not in (bos, eos)],
    )


def make_llama(vocabulary: int, blocks: int = 2, seed: int = 0, **changes):
    """A random LLaMA with grouped queries (4 heads, 2 of keys and values), awake enough that its
    likeliest tokens differ."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    options = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": blocks,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
    }
    return LlamaForCausalLM(LlamaConfig(**{**options, **changes})).eval()


def save_llama(folder: Path, template: str = CHATML, **changes) -> Path:
    """A transformers folder of :func:`make_llama` with :func:`make_tokenizer`."""
    tokenizer = make_tokenizer(template)
    model = make_llama(len(tokenizer), **changes)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
