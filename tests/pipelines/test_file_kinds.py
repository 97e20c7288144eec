"""Downloads that have failed are told for what they are, wherever weights are looked for."""

from __future__ import annotations

import json
import struct

import pytest

from pipelines.core.errors import BadRequest, Refused
from pipelines.core.file_kinds import no_weights
from pipelines.core.paths import SINGLE_FILE_CONFIGS
from pipelines.diffusion.lora.formats import open_lora
from pipelines.models.catalog import Catalog
from pipelines.models.local_models import inspect_file, inspect_folder, prediction_of

FOREIGN = {
    "a web page": (b"\xef\xbb\xbf\n<!DOCTYPE html><title>Log in</title>", "is a web page"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d", "of Git LFS"),
    "an answer": (
        b'{"error": "Unauthorized", "message": "The creator wants you to be logged in"}',
        "answer of a server, .*: “The creator wants you to be logged in”",
    ),
    "nothing": (b"", "is empty: its download has failed"),
    "GGUF": (b"GGUF\3\0\0\0" + bytes(99), "is a GGUF file, whatever it is called"),
    "RAR": (b"Rar!\x1a\x07\x01\0" + bytes(99), "is a RAR file"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(99), "is a 7z file"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_failed_download_is_named_as_model_and_as_lora(tmp_path, what):
    data, sentence = FOREIGN[what]
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "dream.safetensors"
    path.write_bytes(data)
    with pytest.raises(Refused, match=sentence):
        Catalog(tmp_path).get("dream")
    with pytest.raises(BadRequest, match=sentence):
        open_lora(path, "dream.safetensors")


@pytest.mark.parametrize("length", [b"GGUF", b"BZh\0", b"\x1f\x8b\x08\0", b"\x80\x02\0\0"])
def test_a_header_whose_length_looks_like_another_kind_is_read(tmp_path, length):
    path = tmp_path / "x.safetensors"
    path.write_bytes(length + bytes(4) + b'{"a": 1}')
    with pytest.raises(BadRequest, match=r"claims a header|has a header"):
        open_lora(path, "x")


def test_a_few_bytes_of_a_header_are_no_foreign_kind():
    assert no_weights(struct.pack("<Q", 2) + b"{}", "x") is None


ODD_OFFSETS = [["a", "b"], [0, None], [0, [4]], [0, {}], {"1": 0}]


@pytest.mark.parametrize("offsets", ODD_OFFSETS)
def test_odd_places_of_tensors_hide_no_other_model(tmp_path, offsets):
    entries = {"a": {"dtype": "F32", "shape": [1], "data_offsets": offsets},
               "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}  # fmt: skip
    raw = json.dumps(entries).encode()
    path = tmp_path / "odd.safetensors"
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(4))
    finding = inspect_file(path, tmp_path, SINGLE_FILE_CONFIGS)
    assert "not a whole .safetensors file" in str(finding.refused)
    assert prediction_of(path) == {}


PIPELINE = {"_class_name": "StableDiffusionPipeline"}
ODD_INDEXES = {
    "a list for a library": (json.dumps({**PIPELINE, "unet": [["a"], "b"]}), "makes no sense"),
    "a number for a class": (json.dumps({**PIPELINE, "unet": ["diffusers", 7]}), "makes no sense"),
    "a path": (json.dumps({**PIPELINE, "../x": ["diffusers", "U"]}), "makes no sense"),
    "a long name": (json.dumps({**PIPELINE, "x" * 5000: ["diffusers", "U"]}), "makes no sense"),
    "deep": ("[" * 100_000, "no model_index.json that can be read"),
}


@pytest.mark.parametrize("what", ODD_INDEXES)
def test_odd_indexes_of_folders_are_refused_in_words(tmp_path, what):
    text, sentence = ODD_INDEXES[what]
    (tmp_path / "dream").mkdir()
    (tmp_path / "dream" / "model_index.json").write_text(text)
    assert sentence in str(inspect_folder(tmp_path / "dream", tmp_path).refused)


@pytest.mark.parametrize(
    ("unet", "vae", "size"),
    [
        ({"sample_size": 96}, {"block_out_channels": [1, 2, 3]}, 384),
        ({"sample_size": 64}, {"block_out_channels": []}, 512),
        ({"sample_size": 10**15}, {}, 1024),
        ({"sample_size": True}, {}, 1024),
        ({"sample_size": -64}, {}, 1024),
    ],
)
def test_the_native_size_is_a_size_of_pictures(tmp_path, unet, vae, size):
    folder = tmp_path / "dream"
    for part, config in (("unet", unet), ("vae", vae)):
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps(config))
        (folder / part / "x.safetensors").write_bytes(b"0")
    index = PIPELINE | {"unet": ["diffusers", "U"], "vae": ["diffusers", "V"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    finding = inspect_folder(folder, tmp_path)
    assert (finding.refused, finding.native_size) == (None, size)
    assert type(finding.native_size) is int


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ('model:\n  params:\n    parameterization: "v"\n', {"prediction_type": "v_prediction"}),
        ("parameterization: v # as trained\r\n", {"prediction_type": "v_prediction"}),
        ("model:\n  params:\n    parameterization: eps\n", {}),
        ("# parameterization: v\n", {}),
        ("parameterization:" + " " * 99_000, {}),
        ("parameterization: v\n" + "#" * 200_000, {}),
        ("\udcff parameterization", {}),
    ],
)
def test_a_configuration_beside_a_checkpoint_says_what_it_predicts(tmp_path, text, options):
    """As A1111 reads it; vladmandic/sdnext#2914."""
    path = tmp_path / "fluff.safetensors"
    path.write_bytes(struct.pack("<Q", 2) + b"{}")
    assert prediction_of(path) == {}
    path.with_suffix(".yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert prediction_of(path) == options
