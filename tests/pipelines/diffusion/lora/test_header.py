"""Files that strangers bring: each that cannot be used is refused in one sentence, none is run."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save

from pipelines.core.errors import BadRequest
from pipelines.diffusion.lora.formats import open_lora
from pipelines.diffusion.lora.header import file_hash, read_header, scalar
from tests.pipelines.diffusion.lora.files import pickle_of, safetensors_of, write_file


def entry(shape=(2,), start=0, end=8, dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


GOOD = save({"a": torch.ones(2)})
BAD = {
    "a pickle": (pickle_of({"a": torch.ones(1)}), "is a pickle .* can run any code"),
    "an old pickle": (b"\x80\x02}q\x00.", "is a pickle"),
    "empty": (b"", "is empty: its download has failed"),
    "seven bytes": (b"\0" * 7, "has 7 bytes"),
    "a text": (b"hello, this is no weights file", "It is damaged, or no .safetensors file"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + b"\0" * 99, "is a PNG file, whatever it is called"),
    "10 GB header": (safetensors_of({}, length=10 * 10**9), "claims a header of 10.* GB, but the "),
    "2^64 header": (safetensors_of({}, length=2**64 - 1), "claims a header of"),
    "no JSON": (safetensors_of(b"{not json"), "header of .* is not JSON"),
    "a list": (safetensors_of(b"[1, 2]"), "is not JSON"),
    "deep": (safetensors_of(b"[" * 100_000), "is not JSON"),
    "bad bytes": (safetensors_of(b"\xff\xfe{}"), "is not JSON"),
    "no shape": (safetensors_of({"a": {"dtype": "F32"}}), "what it says about its tensor a"),
    "a number": (safetensors_of({"a": 1}), "what it says about its tensor a"),
    "huge shape": (safetensors_of({"a": entry([10**30])}, b"\0" * 8), "makes no sense"),
    "negative": (safetensors_of({"a": entry([-2])}, b"\0" * 8), "makes no sense"),
    "true": (safetensors_of({"a": entry([True, 2])}, b"\0" * 8), "makes no sense"),
    "other size": (safetensors_of({"a": entry([3])}, b"\0" * 8), "makes no sense"),
    "backwards": (safetensors_of({"a": entry([0], 8, 0)}, b"\0" * 8), "makes no sense"),
    "beyond": (safetensors_of({"a": entry([2 * 10**9], 0, 8 * 10**9)}), "is cut short: .* 8.*GB"),
    "cut short": (GOOD[:-1], "is cut short"),
    "too long": (GOOD + b"\0", "overlap, or leave gaps"),
    "overlap": (safetensors_of({"a": entry(), "b": entry()}, b"\0" * 8), "overlap"),
    "gap": (safetensors_of({"a": entry(start=8, end=16)}, b"\0" * 16), "gaps"),
    "unknown": (safetensors_of({"a": entry(dtype="F33")}, b"\0" * 8), "of the kind F33"),
    "no LoRA": (GOOD + b"", "neither a LoRA nor an embedding; it holds 1"),
    "a web page": (b"<!DOCTYPE html><html>", "is a web page, not a .safetensors file"),
    "many words": (
        save({"emb_params": torch.ones(71, 768)}),
        "learned word of 71 vectors; at most 70",
    ),
    "uneven": (
        save({"clip_l": torch.ones(2, 768), "clip_g": torch.ones(3, 1280)}),
        "2 vectors for one text encoder and 3 for the other",
    ),
    "counts": (save({"emb_params": torch.ones(2, 768).int()}), "vectors are of the kind I32"),
    "a long header": (
        safetensors_of(b"{" + b" " * 16_000_000 + b"}"),
        "has a header of .*16.* MB; at most 16 MB are read",
    ),
    "videos": (
        save(
            {
                "unet.down_blocks.0.motion_modules.0.attn1.to_q.lora_A.weight": torch.ones(1, 8),
                "unet.down_blocks.0.motion_modules.0.attn1.to_q.lora_B.weight": torch.ones(8, 1),
            }
        ),
        "is of the kind AnimateDiff",
    ),
    "nothing": (save({}), "it holds 0 tensors of something else"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_files_get_one_sentence(tmp_path, what):
    data, sentence = BAD[what]
    if what == "no LoRA":
        data = save({"model.weight": torch.ones(2)})
    path = write_file(tmp_path, data)
    with pytest.raises(BadRequest, match=sentence) as caught:
        open_lora(path, "mine.safetensors")
    assert "mine.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_crowd_of_tensors_is_refused(tmp_path):
    crowd = safetensors_of({f"lora_{n}": entry([0], 0, 0) for n in range(30_001)})
    with pytest.raises(BadRequest, match="holds 30001 tensors; at most 30000 are read"):
        open_lora(write_file(tmp_path, crowd), "mine.safetensors")


def test_every_cut_of_a_file_is_refused(tmp_path):
    for length in range(len(GOOD)):
        with pytest.raises(BadRequest):
            read_header(write_file(tmp_path, GOOD[:length]), "mine")


def test_a_header_over_the_limit_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.diffusion.lora.header.MAX_HEADER", 10)
    with pytest.raises(BadRequest, match="at most 10 B are read"):
        read_header(write_file(tmp_path, GOOD), "mine")


def test_a_good_header_says_what_safetensors_says(tmp_path):
    tensors = {"a": torch.ones(2, 3), "b": torch.zeros(1, dtype=torch.bfloat16)}
    path = write_file(tmp_path, save(tensors, {"x": "y"}))
    header = read_header(path, "mine")
    assert header.metadata == {"x": "y"}
    assert {name: info.shape for name, info in header.tensors.items()} == {"a": (2, 3), "b": (1,)}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "int64", "int32"])
def test_single_numbers_of_every_kind(tmp_path, dtype):
    path = write_file(tmp_path, save({"alpha": torch.tensor(16, dtype=getattr(torch, dtype))}))
    assert scalar(path, read_header(path, "mine").tensors["alpha"]) == 16.0


@pytest.mark.parametrize("value", [torch.ones(2), torch.tensor(torch.inf), torch.tensor(True)])
def test_what_is_no_single_number(tmp_path, value):
    path = write_file(tmp_path, save({"alpha": value}))
    assert scalar(path, read_header(path, "mine").tensors["alpha"]) is None


def test_the_hash_is_of_what_follows_the_header(tmp_path):
    """As A1111 does it, so that changed metadata do not change it."""
    one = write_file(tmp_path, save({"a": torch.ones(2)}, {"x": "1"}), "one")
    two = write_file(tmp_path, save({"a": torch.ones(2)}, {"x": "another text"}), "two")
    hashes = {file_hash(path, read_header(path, "mine").data_start) for path in (one, two)}
    assert len(hashes) == 1
    assert file_hash(one) != file_hash(two)
