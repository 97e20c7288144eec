"""Downloads that have failed are told for what they are, wherever weights are looked for."""

from __future__ import annotations

import json
import struct

import pytest

from pipelines.chat.catalog import ChatCatalog
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


def test_links_that_lead_to_themselves_hide_no_other_model(tmp_path):
    models = tmp_path / "models"
    (models / "folder").mkdir(parents=True)
    (models / "loop.safetensors").symlink_to("loop.safetensors")
    (models / "folder" / "a").symlink_to("b")
    (models / "folder" / "b").symlink_to("a")
    for name in ("loop", "folder"):
        with pytest.raises(Refused, match="has a symbolic link that leads to itself"):
            Catalog(tmp_path).get(name)


def test_a_folder_of_whole_models_says_where_they_belong(tmp_path):
    (tmp_path / "models" / "xl").mkdir(parents=True)
    (tmp_path / "models" / "xl" / "dream.safetensors").write_bytes(b"0")
    with pytest.raises(Refused, match=r"If dream\.safetensors is a whole model, put it into model"):
        Catalog(tmp_path).get("xl")


UNREADABLE = {
    "a day that there is not": (b"released: 2024-02-30", "holds a date that there is not"),
    "a long number": (b"context_length: " + b"9" * 5000, "a number that is too long"),
    "deep": (b"[" * 50_000, "nested too deeply"),
    "another encoding": ("name: x".encode("utf-16"), "is not written in UTF-8"),
    "a tab": (b"name: x\n\ty: z", "is not YAML: line 2 cannot be read from column 1 on"),
    "an object": (b"a: !!python/object/apply:os.system [x]", "is not YAML: line 1"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_chat_model_s_file_that_cannot_be_read_hides_no_other(tmp_path, what):
    data, sentence = UNREADABLE[what]
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat" / "odd.yaml").write_bytes(data)
    entries = {entry.name: entry for entry in ChatCatalog(tmp_path).models()}
    assert "smollm2-135m" in entries
    assert sentence in str(entries["odd"].refused)
