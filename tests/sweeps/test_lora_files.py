"""Odd but valid LoRA files, and damaged ones: the right changes, all that is left out said."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from safetensors.torch import save

from pipelines.core.errors import UserError
from pipelines.diffusion.lora.formats import EMBEDDING, open_lora
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.diffusion.lora.names import in_original
from pipelines.diffusion.lora.weights import read
from tests.pipelines.diffusion.lora.files import pickle_of
from tests.sweeps.plain_sentences import check_sentence

pytestmark = pytest.mark.deep

CASES = 300
ANN = "ann"
CONTEXT = {"sd1": 768, "sd2": 1024, "sdxl": 2048}
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn,
          torch.float8_e5m2)  # fmt: skip
BLOCK = "attentions.0.transformer_blocks.0"
# Module → its weight's shape; "context" stands for the width of the family's texts.
UNET = {
    "conv_in": (8, 4, 3, 3),
    "time_embedding.linear_1": (16, 8),
    f"down_blocks.1.{BLOCK}.attn1.to_q": (8, 8),
    f"down_blocks.1.{BLOCK}.attn2.to_k": (8, "context"),
    f"down_blocks.2.{BLOCK}.attn1.to_out.0": (8, 8),
    f"down_blocks.1.{BLOCK}.ff.net.0.proj": (16, 8),
    "down_blocks.0.resnets.1.conv1": (8, 8, 3, 3),
    "down_blocks.1.resnets.0.conv_shortcut": (8, 4, 1, 1),
    "down_blocks.0.downsamplers.0.conv": (8, 8, 3, 3),
    "mid_block.attentions.0.proj_in": (8, 8, 1, 1),
    "mid_block.resnets.1.time_emb_proj": (8, 16),
    f"up_blocks.1.{BLOCK}.attn2.to_v": (8, "context"),
    "up_blocks.0.resnets.2.conv2": (8, 8, 3, 3),
    "up_blocks.1.upsamplers.0.conv": (8, 8, 3, 3),
}
TEXT = {
    "text_model.encoder.layers.0.self_attn.q_proj": (8, 8),
    "text_model.encoder.layers.11.self_attn.out_proj": (8, 8),
    "text_model.encoder.layers.3.mlp.fc2": (8, 16),
}
ORIGINAL_PIECES = re.compile(
    r"(input_blocks|output_blocks|middle_block|time_embed|transformer_blocks|in_layers|out_layers"
    r"|emb_layers|skip_connection|proj_in|proj_out|attn1|attn2|to_q|to_k|to_v|to_out|ff|net|proj|op"
    r"|conv|\d+)(?:_|$)"
)


def original(name: str) -> str:
    """A U-Net's module in the original code, with dots."""
    return ".".join(ORIGINAL_PIECES.findall(in_original(name)))


def kohya(part: str, name: str, two: bool) -> str:
    prefix = {"unet": "lora_unet", "text_encoder": "lora_te1" if two else "lora_te",
              "text_encoder_2": "lora_te2"}[part]  # fmt: skip
    return f"{prefix}_{name.replace('.', '_')}"


def kohya_original(part: str, name: str, two: bool) -> str:
    return f"lora_unet_{in_original(name)}" if part == "unet" else kohya(part, name, two)


def diffusers(part: str, name: str, two: bool) -> str:
    return f"{part}.{name}"


def comfy(part: str, name: str, two: bool) -> str:
    encoders = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}
    if part == "unet":
        return f"diffusion_model.{original(name)}"
    return f"text_encoders.{encoders[part]}.transformer.{name}"


def one_trainer(part: str, name: str, two: bool) -> str:
    prefix = {"unet": "unet", "text_encoder": "clip_l", "text_encoder_2": "clip_g"}[part]
    return f"{prefix}.{original(name) if part == 'unet' else name}"


def one_trainer_dotted(part: str, name: str, two: bool) -> str:
    return kohya(part, "", two).rstrip("_") + f".{name}"


def peft(part: str, name: str, two: bool) -> str:
    return f"base_model.model.{name}"


def nested_peft(part: str, name: str, two: bool) -> str:
    return f"{part}.base_model.model.{name}"


HALVES = {
    "kohya": ("lora_down.weight", "lora_up.weight"),
    "letters": ("lora_A.weight", "lora_B.weight"),
    "named": ("lora_A.default.weight", "lora_B.default.weight"),
    "old": ("lora.down.weight", "lora.up.weight"),
    "older": ("lora_linear_layer.down.weight", "lora_linear_layer.up.weight"),
}
STYLES: dict[Callable[[str, str, bool], str], tuple[str, ...]] = {
    kohya: ("kohya",),
    kohya_original: ("kohya",),
    diffusers: ("kohya", "letters", "old", "older"),
    comfy: ("kohya", "letters"),
    one_trainer: ("kohya",),
    one_trainer_dotted: ("kohya",),
    peft: ("letters", "named"),
    nested_peft: ("letters", "named"),
}


@dataclass
class Made:
    """A file, and what it means."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    changes: dict[str, torch.Tensor] = field(default_factory=dict)  # without the scale
    scales: dict[str, float] = field(default_factory=dict)
    config: dict[str, object] | None = None
    left_out: set[str] = field(default_factory=set)


def numbers(draw: random.Random, *shape: int, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(draw.randrange(2**31))
    return torch.randn(shape, generator=generator).to(dtype)


def make(draw: random.Random) -> Made:
    """A LoRA as one of eight programs writes it, with one of six ways to say its alpha."""
    made, family = Made(), draw.choice(tuple(CONTEXT))
    two, style = family == "sdxl", draw.choice(tuple(STYLES))
    parts = {"unet": UNET, "text_encoder": TEXT}
    if two and style is not peft:
        parts["text_encoder_2"] = TEXT
    if style is peft:  # which knows one part only
        parts = {part: parts[part] for part in [draw.choice(("unet", "text_encoder"))]}
    down_end, up_end = HALVES[draw.choice(STYLES[style])]
    dtype, rank = draw.choice(DTYPES), draw.choice((1, 4, 7))
    # PEFT's and diffusers' names have no alpha beside them.
    how = draw.choice(("none", "tensor", "one", "facts", "parts", "config"))
    alpha = draw.choice((1.0, 0.5, 4.0, 16.0))
    for part, modules in parts.items():
        for name, shape in draw.sample(sorted(modules.items()), draw.randrange(1, len(modules))):
            out, into, *kernel = (CONTEXT[family] if side == "context" else side for side in shape)
            down = numbers(draw, rank, into, *kernel, dtype=dtype)
            up = numbers(draw, out, rank, *[1] * len(kernel), dtype=dtype)
            stem, key = style(part, name, two), f"{part}.{name}"
            made.tensors |= {f"{stem}.{down_end}": down, f"{stem}.{up_end}": up}
            product = up.float().flatten(1) @ down.float().flatten(1)
            made.changes[key] = product.reshape(out, into, *kernel)
            said = how not in ("none",)
            made.scales[key] = alpha / rank if said else 1.0
            if how in ("tensor", "one"):
                number = torch.tensor(alpha).to(dtype)
                made.tensors[f"{stem}.alpha"] = number.reshape(1) if how == "one" else number
    facts = {"r": rank, "lora_alpha": alpha}
    if how == "facts":
        made.metadata["lora_adapter_metadata"] = json.dumps(facts)
    if how == "parts":
        each = {f"{part}.{name}": value for part in parts for name, value in facts.items()}
        made.metadata["lora_adapter_metadata"] = json.dumps(each)
    if how == "config":
        made.config = {"peft_type": "LORA", **facts, "target_modules": ["to_q"]}
    if draw.random() < 0.3:
        made.metadata |= {"ss_output_name": "näme", "ss_network_alpha": "3", "format": "pt"}
    if draw.random() < 0.3:
        made.left_out = {"bundle_emb.word.clip_l", "lora_te3_layer_0.lora_down.weight"}
        made.tensors |= {key: torch.ones(2, 8, dtype=torch.float16) for key in made.left_out}
    return made


def zip_tensors(made: Made, draw: random.Random) -> bytes:
    folder = draw.choice(("", "adapter/", "a/b c/"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as z:
        z.writestr(f"{folder}adapter_model.safetensors", save(made.tensors, made.metadata))
        z.writestr(f"{folder}adapter_config.json", json.dumps(made.config))
        z.writestr(f"__MACOSX/{folder}._adapter_model.safetensors", b"x")
        z.writestr("README.md", b"A LoRA")
    return buffer.getvalue()


@pytest.mark.parametrize("part", range(10))
def test_every_program_s_files_are_read_as_the_changes_that_they_mean(tmp_path, part):
    library = LoraLibrary(tmp_path)
    for case in range(part, CASES, 10):
        draw = random.Random(case)
        made = make(draw)
        data = zip_tensors(made, draw) if made.config else save(made.tensors, made.metadata)
        record = library.add(ANN, f"case {case}", data)
        factors = library.factors(record)
        assert factors.keys() == made.changes.keys(), case
        for key, change in made.changes.items():
            each = factors[key]
            scale = made.scales[key]
            assert each.scale == pytest.approx(scale), (case, key)
            found = each.delta(torch.empty(change.shape))
            torch.testing.assert_close(found, scale * change, atol=1e-4, rtol=1e-4)
        assert record.unread == len(made.left_out), case
        assert sum(record.modules.values()) == len(made.changes), case
        library.delete(ANN, record.id)


def damage(data: bytes, draw: random.Random) -> bytes:
    kind = draw.randrange(6)
    if kind == 0:  # cut off
        return data[: draw.randrange(len(data))]
    if kind == 1:  # a few bytes are others
        changed = bytearray(data)
        for _ in range(draw.randrange(1, 9)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        return bytes(changed)
    if kind == 2:  # the header claims another length
        return struct.pack("<Q", draw.choice((0, 1, 640, 2**31, 2**63))) + data[8:]
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    entry = header[draw.choice(names)]
    if kind == 3:  # one tensor is said to be something else
        field_, value = draw.choice(
            (("dtype", "F4"), ("dtype", None), ("dtype", "I64"), ("shape", []), ("shape", [2, "x"]),
             ("shape", [-1, 8]), ("data_offsets", [0]), ("data_offsets", [5, 1]))
        )  # fmt: skip
        entry[field_] = value
    if kind == 4:  # one is missing, so the others leave a gap
        del header[draw.choice(names)]
    if kind == 5:
        facts = draw.choice(("[[[" * 9000, '{"lora_alpha": NaN}', '{"use_dora": true}', "3"))
        header["__metadata__"] = draw.choice((3, None, [], {"lora_adapter_metadata": facts}))
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


@pytest.mark.parametrize("part", range(4))
def test_damaged_files_get_one_plain_sentence_or_are_read(tmp_path, part):
    library = LoraLibrary(tmp_path)
    for case in range(part, CASES, 4):
        draw = random.Random(10_000 + case)
        made = make(draw)
        data = damage(save(made.tensors, made.metadata), draw)
        try:
            record = library.add(ANN, "x", data)
        except UserError as error:
            check_sentence(error, *made.tensors, *made.changes)
            says_which = str(error).startswith(("x ", "The header of x "))
        else:
            says_which = True
            library.delete(ANN, record.id)
        assert says_which, case


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0" * 8, b"{}", b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 18, pickle_of({"a": 1}),
        b"\x80\x04K\x01.", b"GGUF" + b"\0" * 40, b"<html>not found</html>", save({}),
        save({"a": torch.ones(2)}), save({"a.hada_w1_a": torch.ones(2, 2)}),
        save({"transformer.blocks.0.lora_A.weight": torch.ones(2, 2)}),
        save({"lora_unet_conv_in.lora_down.weight": torch.full((1, 4), torch.nan),
              "lora_unet_conv_in.lora_up.weight": torch.ones(4, 1)}),
        save({"lora_unet_conv_in.lora_down.weight": torch.ones((1, 4), dtype=torch.int8),
              "lora_unet_conv_in.lora_up.weight": torch.ones((4, 1), dtype=torch.int8)}),
        save({"lora_unet_conv_in.lora_down.weight": torch.ones(1, 4),
              "lora_unet_conv_in.lora_up.weight": torch.ones(4, 1),
              "lora_unet_conv_in.alpha": torch.tensor(torch.inf)}),
    ],
)  # fmt: skip
def test_what_is_no_lora_is_called_what_it_is(tmp_path, data):
    with pytest.raises(UserError) as refused:
        LoraLibrary(tmp_path).add(ANN, "thing", data)
    check_sentence(refused.value)
    assert "thing" in str(refused.value)


def test_words_of_every_width_and_name(tmp_path):
    for case in range(CASES):
        draw = random.Random(20_000 + case)
        token = draw.choice(("<{}>", "{}", "my.{}", "{}.v1.2", "{}-lora", "café {}")).format(case)
        width, count = draw.choice((768, 1024, 1280)), draw.randrange(1, 20)
        shape = (width,) if draw.random() < 0.3 else (count, width)
        path = tmp_path / "word.safetensors"
        path.write_bytes(save({token: numbers(draw, *shape, dtype=draw.choice(DTYPES))}))
        file = open_lora(path, "word")
        known = {768: "sd1", 1024: "sd2"}
        if width in known or "." not in token:
            assert file.kind == EMBEDDING, token
            assert file.triggers == (" ".join(token.split()),)
            assert file.family == known.get(width, f"unet-{width}")


def test_the_same_file_twice_is_the_same(tmp_path):
    made = make(random.Random(1))
    path = tmp_path / "a.safetensors"
    path.write_bytes(save(made.tensors, made.metadata))
    first, second = (read(path, open_lora(path, "a"), "a") for _ in range(2))
    assert all(torch.equal(first[key].up.float(), second[key].up.float()) for key in first)
