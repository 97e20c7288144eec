"""Single-file checkpoints: all their tensors tell what is complete, and nothing else loads."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pipelines.core.errors import Refused, Unavailable
from pipelines.core.paths import SINGLE_FILE_CONFIGS
from pipelines.diffusion.loading import load
from pipelines.models.catalog import Catalog
from pipelines.models.original_layout import expected_parts, plain
from tests.original_layout import save_single_file
from tests.pipelines.diffusion.test_loading import load_folder, paint, quiet

FAMILIES = ("sd1", "sdxl")


@pytest.fixture(scope="module")
def checkpoints(twin_folder, tmp_path_factory):
    """Per family a tiny checkpoint and, beside it, its configurations and its pipeline."""
    home = tmp_path_factory.mktemp("checkpoints")
    found = {}
    for family in FAMILIES:
        model = load_folder(twin_folder(family), home)
        path = home / f"{family}.safetensors"
        save_single_file(model.pipe, path)
        shutil.copytree(twin_folder(family), home / "configs" / family)
        found[family] = (load_file(path), model)
    return home / "configs", found


def put(home: Path, tensors: dict[str, torch.Tensor], metadata=None) -> Path:
    path = home / "models" / "odd.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_file({name: each.contiguous() for name, each in tensors.items()}, path, metadata)
    return path


def entry_of(home: Path, configs: Path):
    return Catalog(home, configs=configs).get("odd")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_expected_tensors_are_those_that_diffusers_model_has(checkpoints, family):
    configs, found = checkpoints
    tensors = {name: tuple(each.shape) for name, each in found[family][0].items()}
    expected = {}
    for part in expected_parts(configs / family, family):
        expected |= part.tensors
    ids = {name for name in tensors if name.endswith("position_ids")}
    assert {name: plain(shape) for name, shape in expected.items()} == {
        name: plain(shape) for name, shape in tensors.items() if name not in ids
    }


def test_the_published_checkpoints_have_as_many_tensors():
    """686 and 1,680 of the U-Nets, 248 of the autoencoder, 196 and 389 of the text encoders."""
    counts = [
        [len(part.tensors) for part in expected_parts(SINGLE_FILE_CONFIGS / family, family)]
        for family in FAMILIES
    ]
    assert counts == [[686, 248, 196], [1680, 248, 196, 389]]


def without(prefix: str):
    return lambda tensors: {k: each for k, each in tensors.items() if not k.startswith(prefix)}


def rename(old: str, new: str):
    return lambda tensors: {k.replace(old, new): each for k, each in tensors.items()}


def wrap(prefix: str):
    return lambda tensors: {prefix + name: each for name, each in tensors.items()}


def with_mark(name: str):
    return lambda tensors: tensors | {name: torch.zeros(())}


def wider(tensors):
    key = "model.diffusion_model.out.2.weight"
    return tensors | {key: torch.zeros(8, *tensors[key].shape[1:])}


@pytest.mark.parametrize(
    ("family", "change", "sentence"),
    [
        ("sd1", without("first_stage_model."), "has no VAE in it. Get the version that has all"),
        ("sdxl", without("first_stage_model."), "has no VAE in it"),
        ("sd1", without("first_stage_model.decoder.mid"), r"lacks 26 of the \d+ tensors"),
        ("sd1", without("cond_stage_model."), "has no CLIP-L text encoder in it"),
        ("sdxl", without("conditioner.embedders.1."), "has no CLIP-G text encoder in it"),
        ("sdxl", without("conditioner.embedders.0."), "has no CLIP-L text encoder in it"),
        ("sd1", without("model.diffusion_model.out."), r"lacks 4 of the \d+ tensors of its U-Net"),
        ("sd1", wider, "another U-Net than Stable Diffusion 1.x or SDXL: .*out.2.weight is 8×16"),
        ("sd1", without("model."), "is a VAE alone"),
        ("sd1", rename("cond_stage_model.transformer", "cond_stage_model.model"),
         "is a single-file checkpoint of Stable Diffusion 2.x"),
        ("sdxl", rename("conditioner.embedders.0.transformer", "conditioner.embedders.0.model"),
         "is SDXL's refiner"),
        ("sdxl", with_mark("edm_vpred.sigma_max"), "noise levels of EDM"),
        ("sdxl", with_mark("model.diffusion_model.out.2.scale_weight"), "fp8 weights with scales"),
        ("sd1", lambda tensors: {k: each.to(torch.int8) for k, each in tensors.items()},
         "weights of the kind I8"),
        ("sd1", lambda _: {"lora_unet_x.lora_down.weight": torch.ones(1)}, "is a LoRA"),
        ("sd1", lambda _: {"double_blocks.0.img_attn.qkv.weight": torch.ones(1)},
         "is not a single-file checkpoint of Stable Diffusion 1.x or SDXL"),
    ],
)  # fmt: skip
def test_what_is_not_whole_is_listed_with_what_it_lacks(
    checkpoints, tmp_path, family, change, sentence
):
    configs, found = checkpoints
    put(tmp_path, change(dict(found[family][0])))
    with pytest.raises(Refused, match=sentence) as refused:
        entry_of(tmp_path, configs)
    assert str(refused.value).startswith("odd.safetensors ")
    assert "odd" in {entry.name for entry in Catalog(tmp_path, configs=configs).models()}


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("sd1", rename("transformer.text_model.", "transformer.")),
        ("sdxl", rename("transformer.text_model.", "transformer.")),
        ("sd1", rename("first_stage_model.", "vae.")),
        ("sd1", rename("model.diffusion_model.", "diffusion_model.")),
        ("sdxl", lambda tensors: {k: each.bfloat16().float() for k, each in tensors.items()}),
        ("sd1", with_mark("model_ema.decay")),
        ("sd1", wrap("module.")),
        ("sdxl", wrap("module._orig_mod.")),
        ("sd1", rename("model.diffusion_model.", "model._orig_mod.diffusion_model._orig_mod.")),
        ("sd1", lambda tensors: {f"module.{k}": 0 * each for k, each in tensors.items()} | tensors),
    ],
)
def test_names_of_older_tools_give_the_same_picture(checkpoints, tmp_path, family, change):
    configs, found = checkpoints
    tensors, model = found[family]
    put(tmp_path, change(dict(tensors)))
    loaded = load(entry_of(tmp_path, configs), "cpu", quiet, True, tmp_path, configs=configs)
    tolerance = 0.05 if family == "sdxl" else 1e-5
    np.testing.assert_allclose(paint(loaded), paint(model), atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.bfloat16, torch.float64])
def test_every_precision_is_loaded(checkpoints, tmp_path, dtype):
    configs, found = checkpoints
    put(tmp_path, {name: each.to(dtype) for name, each in found["sd1"][0].items()})
    loaded = load(entry_of(tmp_path, configs), "cpu", quiet, True, tmp_path, configs=configs)
    weight = found["sd1"][0]["model.diffusion_model.out.2.weight"]
    torch.testing.assert_close(loaded.pipe.unet.conv_out.weight.float(), weight.to(dtype).float())


@pytest.mark.parametrize(
    ("marks", "metadata", "expected"),
    [
        ((), None, ("epsilon", False)),
        (("v_pred",), None, ("v_prediction", False)),
        (("module.v_pred",), None, ("v_prediction", False)),
        (("v_pred", "ztsnr"), None, ("v_prediction", True)),
        ((), {"modelspec.prediction_type": "v"}, ("v_prediction", False)),
        ((), {"modelspec.prediction_type": "epsilon"}, ("epsilon", False)),
    ],
)
def test_marks_of_what_was_trained_are_followed(checkpoints, tmp_path, marks, metadata, expected):
    configs, found = checkpoints
    tensors = dict(found["sdxl"][0])
    for mark in marks:
        tensors |= {mark: torch.zeros(())}
    path = put(tmp_path, tensors, metadata)
    loaded = load(entry_of(tmp_path, configs), "cpu", quiet, True, tmp_path, configs=configs)
    config = loaded.pipe.scheduler.config
    found = (config.prediction_type, bool(config.get("rescale_betas_zero_snr")))
    assert found == expected
    assert np.isfinite(paint(loaded)).all()
    with safe_open(path, "pt") as opened:
        assert set(marks) <= set(opened.keys())


@pytest.mark.parametrize("entry", [3, None, [], {"shape": "x"}, {"shape": [4], "dtype": 7}])
def test_a_header_of_nonsense_is_refused_in_words(checkpoints, tmp_path, entry):
    header = {"model.diffusion_model.input_blocks.0.0.weight": entry}
    if isinstance(entry, dict):
        entry["data_offsets"] = [0, 0]
    text = json.dumps(header).encode()
    path = tmp_path / "models" / "odd.safetensors"
    path.parent.mkdir()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(Refused, match=r"odd\.safetensors (is not a whole|has no|lacks)"):
        entry_of(tmp_path, checkpoints[0])


def test_files_that_do_not_fit_together_are_said_not_to(twin_folder, tmp_path):
    folder = tmp_path / "models" / "odd"
    shutil.copytree(twin_folder("sd1"), folder)
    (folder / "unet" / "config.json").write_text(
        (folder / "unet" / "config.json").read_text().replace("32\n", "64\n")
    )
    with pytest.raises(Unavailable, match="odd cannot be loaded: its files do not fit") as told:
        load(Catalog(tmp_path).get("odd"), "cpu", quiet, True, tmp_path)
    assert "Error" not in str(told.value)
