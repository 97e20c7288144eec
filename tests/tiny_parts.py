"""Tokenizers, text encoders and autoencoders that tiny models of several families share."""

from __future__ import annotations

NATIVE = 64  # pixels; 8 × 8 latents under an autoencoder of factor 8


def byte_vocabulary() -> list[str]:
    """The 256 printable stand-ins of byte-level BPE, in GPT-2's and CLIP's order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [code for code in range(256) if code not in printable]
    return [chr(code) for code in printable] + [chr(256 + i) for i in range(len(others))]


def clip_tokenizer(pad: str = "<|endoftext|>"):
    """CLIP's tokenizer without merges: each byte of a word is a token, so any prompt encodes."""
    from transformers import CLIPTokenizer

    letters = byte_vocabulary()
    tokens = [
        *letters,
        *(letter + "</w>" for letter in letters),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    return CLIPTokenizer(
        vocab={token: i for i, token in enumerate(tokens)},
        merges=[],
        pad_token=pad,
        model_max_length=77,
    )


def clip_config(width: int = 32, layers: int = 3):
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=514,
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=32,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )


def autoencoder_kl(latent_channels: int = 4, **options):
    """Factor 8 with eight channels a level; ``options`` are AutoencoderKL's own."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=4,
        sample_size=NATIVE,
        **options,
    )


def t5_tokenizer():
    from transformers import T5Tokenizer

    letters = [
        ("▁", -2.0),
        *((letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz0123456789"),
    ]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5Tokenizer(vocab=special + letters, extra_ids=0, model_max_length=64)


def t5_encoder(width: int):
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=64, d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=4)
    return T5EncoderModel(config)


CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content if m.content is string else "
    "m.content[0].text }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


def byte_tokenizer(begin: str | None = None):
    """Qwen's tokenizer without merges: 256 bytes and three special tokens.

    ``begin`` is a special token put before every text, as GLM's tokenizer does.
    """
    from tokenizers.processors import TemplateProcessing
    from transformers import Qwen2Tokenizer

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens = special + byte_vocabulary()
    tokenizer = Qwen2Tokenizer(
        vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=1024
    )
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    tokenizer.chat_template = CHAT_TEMPLATE
    if begin is not None:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=[begin, "$A"], special_tokens=[(begin, special.index(begin))]
        )
    return tokenizer


def gemma_tokenizer():
    from transformers import GemmaTokenizer

    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
    tokens += [f"<0x{code:02X}>" for code in range(256)]
    return GemmaTokenizer(
        vocab={token: i for i, token in enumerate(tokens)},
        merges=[],
        model_max_length=512,
        padding_side="right",
    )


def qwen3_config(layers: int = 3):
    from transformers import Qwen3Config

    return Qwen3Config(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=1024,
    )
