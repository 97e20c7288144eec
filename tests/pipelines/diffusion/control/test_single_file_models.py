"""Control models of one file each: what is seen in them, and that they are the same networks."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import load_file, save_file

from pipelines.core.errors import Refused, Unavailable
from pipelines.diffusion.control.catalog import ControlCatalog, ControlEntry
from pipelines.diffusion.control.loading import load
from pipelines.diffusion.single_file import CONFIGS
from pipelines.models.catalog import Catalog, Source
from tests.original_layout import save_controlnet

MAP = torch.linspace(0, 1, 3 * 64 * 64).view(1, 3, 64, 64)
TEXT = "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
THEIRS = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"
FULL = {
    "conv_in.weight": [320, 192, 3, 3],
    **{f"body.{i}.block1.weight": [w, w, 3, 3]
       for i, w in ((0, 320), (2, 640), (4, 1280), (6, 1280))},
}  # fmt: skip
LIGHT = {
    "body.0.in_conv.weight": [320, 192, 1, 1],
    **{f"body.{i}.out_conv.weight": [w, w, 1, 1]
       for i, w in enumerate((320, 640, 1280, 1280))},
}  # fmt: skip


def header(path: Path, shapes: dict[str, list[int]]) -> None:
    """A file that says it has these tensors, and one byte of each."""
    entries = {
        name: {"dtype": "U8", "shape": shape, "data_offsets": [i, i + 1]}
        for i, (name, shape) in enumerate(shapes.items())
    }
    text = json.dumps(entries).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"0" * len(entries))


@pytest.mark.parametrize(
    ("shapes", "method", "base"),
    [
        ({"control_model.input_hint_block.0.weight": [16, 3, 3, 3],
          f"control_model.{TEXT}": [320, 768]}, "controlnet", "sd15"),
        ({"input_hint_block.0.weight": [16, 3, 3, 3], TEXT: [320, 768]}, "controlnet", "sd15"),
        ({"controlnet_cond_embedding.conv_in.weight": [16, 3, 3, 3], THEIRS: [640, 2048]},
         "controlnet", "sdxl"),
        (FULL, "t2i_adapter", "sd15"),
        (FULL | {"conv_in.weight": [320, 64, 3, 3]}, "t2i_adapter", "sd15"),
        (LIGHT, "t2i_adapter", "sd15"),
    ],
)  # fmt: skip
def test_they_are_listed_by_the_names_of_their_files(tmp_path, shapes, method, base):
    header(tmp_path / "control" / "control_v11p_sd15_canny_fp16.safetensors", shapes)
    entry = ControlCatalog(tmp_path).get("control_v11p_sd15_canny_fp16")
    assert entry.method == method
    bases = Catalog(tmp_path)
    fitting = {each.name for each in bases.models() if entry.fits(each)}
    assert base in fitting
    assert len({bases.get(name).family for name in fitting}) == 1


HINT = "input_hint_block.0.weight"
XL_HINT = "controlnet_cond_embedding.conv_in.weight"


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({"model.diffusion_model.input_blocks.0.0.weight": [320, 4, 3, 3]}, "put it into models/"),
        ({"lora_unet_down_blocks_0.lora_down.weight": [4, 320]}, "put it into loras/"),
        ({"transformer.blocks.0.attn.to_q.lora_A.weight": [4, 320]}, "put it into loras/"),
        ({HINT: [16, 3, 3, 3], TEXT: [320, 1024]}, "not one of Stable Diffusion 1.x"),
        ({HINT: [16, 3, 3, 3]}, "not one of Stable Diffusion 1.x"),
        ({HINT: [16, 6, 3, 3], TEXT: [320, 768]}, "takes 6 channels"),
        ({HINT: [16, 3, 3, 3], TEXT: [640, 2048]}, "nor of SDXL in the form"),
        ({XL_HINT: [16, 3, 3, 3], THEIRS: [640, 2048], "task_embedding": [6, 320]}, "Union"),
        ({HINT: None, TEXT: "wide"}, "not one of Stable Diffusion 1.x"),
        ({HINT: [16, 3, 3, 3], TEXT: []}, "not one of Stable Diffusion 1.x"),
        (FULL | {"conv_in.weight": [320]}, "is a T2I-Adapter, but"),
        (LIGHT | {"body.0.in_conv.weight": None}, "is a T2I-Adapter, but"),
        (FULL | {"conv_in.weight": [320, 768, 3, 3]}, "is a T2I-Adapter, but"),
        (LIGHT | {"body.3.out_conv.weight": [1024, 1024, 1, 1]}, "is a T2I-Adapter, but"),
        ({"lora_controlnet": [1], "input_blocks.1.0.emb_layers.1.up": [4, 4]}, "Control-LoRA"),
        ({"image_proj.proj.weight": [4], "ip_adapter.1.to_k_ip.weight": [4, 4]}, "IP-Adapter"),
        ({"controlnet_blocks.0.weight": [4, 4], "controlnet_x_embedder.weight": [4]}, "family"),
        ({"encoder.conv_in.weight": [4, 3, 3, 3]}, "neither a ControlNet nor"),
        ({}, "neither a ControlNet nor"),
    ],
)  # fmt: skip
def test_what_is_none_of_them_is_listed_with_the_reason(tmp_path, shapes, reason):
    header(tmp_path / "control" / "strange.safetensors", shapes)
    check_refused(tmp_path, "strange", reason)


@pytest.mark.parametrize(
    ("file", "data", "reason"),
    [
        ("cut.safetensors", b"", "is empty"),
        ("cut.safetensors", b"\x10", "not a whole .safetensors file"),
        ("cut.safetensors", b"\xff" * 40, "not a whole .safetensors file"),
        ("page.safetensors", b"<!DOCTYPE html><html>log in", "is a web page"),
        ("GGUF.safetensors", b"GGUF\x03\0\0\0", "is a GGUF file"),
        ("control_v11p_sd15_canny.pth", b"PK\x03\x04", "pickle files"),
        ("old.ckpt", b"\x80\x02}", "pickle files"),
        ("caf\udce9.safetensors", b"", "UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_as_weights_is_listed_with_the_reason(
    tmp_path, file, data, reason
):
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / file).write_bytes(data)
    check_refused(tmp_path, file.rpartition(".")[0], reason)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "no config.json"),
        ({"a.safetensors": "x"}, "no config.json"),
        ({"config.json": "{"}, "cannot be read"),
        ({"config.json": "[]"}, "another kind of model"),
        ({"config.json": '{"_class_name": ["ControlNetModel"]}'}, "another kind of model"),
        ({"config.json": '{"_class_name": "UNet2DConditionModel"}'}, "another kind of model"),
        ({"config.json": '{"_class_name": "T2IAdapter"}'}, "has no weights"),
        ({"config.json": '{"_class_name": "T2IAdapter"}', "x.bin": "x"}, "pickle files"),
    ],
)
def test_a_folder_that_is_no_control_model_is_listed_with_the_reason(tmp_path, files, reason):
    folder = tmp_path / "control" / "folder"
    folder.mkdir(parents=True)
    for file, text in files.items():
        (folder / file).write_text(text)
    check_refused(tmp_path, "folder", reason)


def test_what_lies_beside_weights_is_not_listed_and_hides_none(tmp_path):
    folder = tmp_path / "control"
    header(folder / "canny.safetensors", {HINT: [16, 3, 3, 3], TEXT: [320, 768]})
    for name in ("canny.yaml", "canny.png", ".hidden.safetensors", "readme.txt"):
        (folder / name).write_text("x")
    os.mkfifo(folder / "pipe.safetensors")
    (folder / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    catalog = ControlCatalog(tmp_path)
    assert catalog.get("CANNY").name == "canny"
    (reason,) = catalog.list_refusals()
    assert "gone.safetensors cannot be read" in str(reason)


def check_refused(home: Path, name: str, reason: str) -> None:
    catalog = ControlCatalog(home)
    assert all(entry.source.hub for entry in catalog.models() if entry.name == name)
    (said,) = catalog.list_refusals()
    assert reason in str(said)
    if name.isprintable():
        with pytest.raises(Refused, match=re.escape(reason)):
            catalog.get(name)


@pytest.mark.parametrize(
    ("name", "family", "layout"),
    [
        ("net-a", "sd1", "original"),
        ("net-a", "sd1", "without prefix"),
        ("net-a", "sd1", "diffusers"),
        ("net-xl", "sdxl", "diffusers"),
    ],
)
def test_a_file_gives_the_same_network_as_its_folder(home, tmp_path, name, family, layout):
    folder, path = home / "control" / name, tmp_path / "one.safetensors"
    configs = tmp_path / family / "controlnet"
    configs.mkdir(parents=True)
    (configs / "config.json").write_bytes((folder / "config.json").read_bytes())
    if layout == "diffusers":
        path.write_bytes((folder / "diffusion_pytorch_model.safetensors").read_bytes())
    else:
        prefix = "" if layout == "without prefix" else "control_model."
        save_controlnet(ControlNetModel.from_pretrained(folder), path, prefix)
    fields = {"name": "one", "title": "One", "method": "controlnet", "family": family}
    entry = ControlEntry(**fields, source=Source(file=path))
    own = load(entry, "cpu", lambda *_: None, True, tmp_path, configs=tmp_path)
    other = load(ControlCatalog(home).get(name), "cpu", lambda *_: None, True, home)
    assert own.nbytes == other.nbytes
    assert torch.equal(own.features(MAP), other.features(MAP))
    expected = other.net.state_dict()
    assert own.net.state_dict().keys() == expected.keys()
    for key, tensor in own.net.state_dict().items():
        assert torch.equal(tensor, expected[key]), key


def test_a_file_that_lacks_weights_is_refused_by_name(home, tmp_path):
    folder, path = home / "control" / "net-a", tmp_path / "half.safetensors"
    weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    weights.pop("mid_block.resnets.0.conv1.weight")
    save_file(weights, path)
    (tmp_path / "sd1" / "controlnet").mkdir(parents=True)
    shutil.copy(folder / "config.json", tmp_path / "sd1" / "controlnet")
    fields = {"name": "half", "title": "Half", "method": "controlnet", "family": "sd1"}
    entry = ControlEntry(**fields, source=Source(file=path))
    with pytest.raises(Unavailable, match=r"half\.safetensors is not a ControlNet that Atelier"):
        load(entry, "cpu", lambda *_: None, True, tmp_path, configs=tmp_path)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_the_configs_that_ship_are_those_of_the_familys_unet(family):
    unet = json.loads((CONFIGS / family / "unet" / "config.json").read_text())
    own = json.loads((CONFIGS / family / "controlnet" / "config.json").read_text())
    shared = own.keys() & unet.keys() - {"_class_name"}
    assert {key: own[key] for key in shared} == {key: unet[key] for key in shared}
    assert {"block_out_channels", "cross_attention_dim", "down_block_types"} <= shared
    with torch.device("meta"):
        net = ControlNetModel.from_config(own)
    count = sum(parameter.numel() for parameter in net.parameters())
    # "Stable Diffusion's ControlNet has 361 million, SDXL's 1,251 million"
    assert round(count / 10**6) == {"sd1": 361, "sdxl": 1251}[family]
