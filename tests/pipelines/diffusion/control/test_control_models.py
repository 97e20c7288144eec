"""Which control models there are, which fit, and files in their authors' own layout."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import T2IAdapter
from safetensors.torch import save_file

from pipelines.core.errors import BadRequest, NotFound, Unavailable
from pipelines.core.paths import ASSETS
from pipelines.diffusion.control.catalog import ControlCatalog
from pipelines.diffusion.control.original_adapter import from_original
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.models.catalog import OWN, Catalog, ModelEntry
from tests.pipelines.diffusion.control.conftest import BASE, LARGE_BASE


@pytest.fixture(scope="module")
def shipped_catalog(tmp_path_factory) -> ControlCatalog:
    return ControlCatalog(tmp_path_factory.mktemp("empty"))


def folder(home: Path, name: str, config: dict) -> None:
    """A folder of one's own control model, with nothing but a config that says something."""
    path = home / "control" / name
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    (path / "weights.safetensors").write_bytes(b"\0" * 16)


def test_the_shipped_list_serves_sd15_and_sdxl_with_both_methods(shipped_catalog, catalog):
    for base, conditions in (
        ("sd15", {"canny", "depth", "scribble", "lineart", "softedge", "pose", "seg", "tile"}),
        ("sdxl", {"canny", "depth"}),
    ):
        fitting = shipped_catalog.list_fitting(catalog.get(base))
        nets = {entry.condition for entry in fitting if entry.method == "controlnet"}
        adapters = {entry.condition for entry in fitting if entry.method == "t2i_adapter"}
        assert nets >= conditions
        assert adapters >= {"sketch", "canny", "depth"}
    assert {"seg", "color"} <= {
        entry.condition
        for entry in shipped_catalog.list_fitting(catalog.get("sd15"))
        if entry.method == "t2i_adapter"
    }


def test_every_shipped_preprocessor_exists(shipped_catalog):
    from pipelines.preprocessors.registry import PREPROCESSORS

    assert {entry.preprocessor for entry in shipped_catalog.models()} <= set(PREPROCESSORS)


def test_sketch_adapters_are_given_binary_sketches(shipped_catalog):
    sketching = [entry for entry in shipped_catalog.models() if entry.condition == "sketch"]
    assert {entry.name for entry in sketching} == {"sd1-adapter-sketch", "sdxl-adapter-sketch"}
    assert {entry.preprocessor for entry in sketching} == {"sketch_pidinet"}


def test_one_of_another_family_is_refused_with_those_that_fit(shipped_catalog, catalog):
    entry = shipped_catalog.get("sdxl-controlnet-canny")
    with pytest.raises(BadRequest, match=r"does not fit Stable Diffusion 1.5.*sd15-controlnet-"):
        shipped_catalog.check_fit(entry, catalog.get("sd15"))


def test_a_base_without_any_says_so(shipped_catalog, catalog):
    entry = shipped_catalog.get("sd15-controlnet-canny")
    with pytest.raises(BadRequest, match="no other control model here does"):
        shipped_catalog.check_fit(entry, catalog.get("sd-turbo"))


def test_an_unknown_name_offers_the_closest(shipped_catalog):
    with pytest.raises(NotFound, match="sd15-controlnet-canny"):
        shipped_catalog.get("sd15-controlnet-cany")


def test_ones_own_folders_appear_with_method_and_family(home):
    control, bases = ControlCatalog(home), Catalog(home)
    (home / "control" / "notes").mkdir(exist_ok=True)
    (home / "control" / "notes" / "config.json").write_text('{"_class_name": "Other"}')
    names = {entry.name: entry for entry in control.models()}
    assert (names["net-a"].method, names["adapter-a"].method) == ("controlnet", "t2i_adapter")
    assert names["net-a"].fits(bases.get(BASE))
    assert not names["net-a"].fits(bases.get(LARGE_BASE))
    assert "notes" not in names


@pytest.mark.parametrize(
    ("config", "family", "fitting"),
    [
        ({"_class_name": "ControlNetModel", "cross_attention_dim": 768}, "sd1", "sd15"),
        ({"_class_name": "ControlNetModel", "cross_attention_dim": 1024}, "sd2", "sd-turbo"),
        ({"_class_name": "ControlNetModel", "cross_attention_dim": 2048}, "sdxl", "sdxl"),
        ({"_class_name": "T2IAdapter", "adapter_type": "full_adapter_xl"}, "sdxl", "sdxl"),
        ({"_class_name": "T2IAdapter", "adapter_type": "full_adapter"}, "sd1", "sd15"),
        (
            {
                "_class_name": "T2IAdapter",
                "adapter_type": "light_adapter",
                "channels": [320, 640, 1280],
            },
            "sd1",
            "sd15",
        ),
    ],
)
def test_ones_own_of_a_published_size_have_its_family(config, family, fitting, tmp_path, catalog):
    folder(tmp_path, "mine", config)
    entry = ControlCatalog(tmp_path).get("mine")
    assert (entry.family, entry.base) == (family, None)
    bases = ("starter", "sd15", "sd-turbo", "sdxl")
    assert [name for name in bases if entry.fits(catalog.get(name))] == [fitting]


def test_ones_own_for_the_starter_fit_it_and_no_other(tmp_path, catalog):
    for name in ("controlnet-sketch", "adapter-depth"):
        shutil.copytree(ASSETS / "starter" / name, tmp_path / "control" / f"my-{name}")
    control = ControlCatalog(tmp_path)
    for name in ("my-controlnet-sketch", "my-adapter-depth"):
        entry = control.get(name)
        assert (entry.family, entry.base) == ("sd1", "starter")
        assert entry.fits(catalog.get("starter"))
        for other in ("sd15", "sd-turbo", "sdxl", BASE):
            assert not entry.fits(catalog.get(other))
    with pytest.raises(BadRequest, match=r"my-adapter-depth does not fit .* 1\.5.*sd15-controlnet"):
        control.check_fit(control.get("my-adapter-depth"), catalog.get("sd15"))


@pytest.mark.parametrize(
    "config",
    [
        {"_class_name": "ControlNetModel", "cross_attention_dim": 640},
        {"_class_name": "ControlNetModel", "cross_attention_dim": [768]},
        {"_class_name": "ControlNetModel"},
        {"_class_name": "ControlNetModel", "cross_attention_dim": 192, "block_out_channels": 80},
        {"_class_name": "T2IAdapter", "channels": [80, 160, 999]},
        {"_class_name": "T2IAdapter", "channels": []},
        {"_class_name": "T2IAdapter", "channels": "wide"},
    ],
)
def test_those_of_an_unknown_shape_have_no_family_and_are_refused_by_name(
    config, tmp_path, catalog
):
    folder(tmp_path, "strange", config)
    control = ControlCatalog(tmp_path)
    entry = control.get("strange")
    assert (entry.family, entry.base) == ("", None)
    for base in catalog.models():
        assert not entry.fits(base)
    with pytest.raises(BadRequest, match=r"strange does not fit Stable Diffusion 1\.5"):
        control.check_fit(entry, catalog.get("sd15"))


def test_those_of_the_shape_of_ones_own_base_fit_it(home):
    control, bases = ControlCatalog(home), Catalog(home)
    for name in ("net-a", "adapter-a"):
        assert control.get(name).fits(bases.get(BASE))
        assert not control.get(name).fits(bases.get("sd15"))
        assert not control.get(name).fits(bases.get("starter"))
    assert control.get("net-xl").fits(bases.get(LARGE_BASE))
    assert not control.get("adapter-wide").fits(bases.get(BASE))


def test_a_folder_without_weights_is_refused(tmp_path):
    empty = tmp_path / "control" / "empty"
    empty.mkdir(parents=True)
    (empty / "config.json").write_text(json.dumps({"_class_name": "T2IAdapter"}))
    catalog = ControlCatalog(tmp_path)
    assert [entry for entry in catalog.models() if entry.source.folder] == []
    assert [reason.values["folder"] for reason in catalog.list_refusals()] == ["empty"]


# --- T2I-Adapters in the authors' layout --------------------------------------------------------


def _full_original(name: str) -> str:
    """diffusers' name as the authors write it, for two residual blocks a scale."""
    name = name.removeprefix("adapter.")
    if found := re.fullmatch(r"body\.(\d+)\.resnets\.(\d+)\.(.+)", name):
        return f"body.{2 * int(found[1]) + int(found[2])}.{found[3]}"
    if found := re.fullmatch(r"body\.(\d+)\.in_conv\.(.+)", name):
        return f"body.{2 * int(found[1])}.in_conv.{found[2]}"
    return name


def _light_original(name: str) -> str:
    return name.removeprefix("adapter.").replace(".resnets.", ".body.")


@pytest.mark.parametrize(
    ("adapter", "original"),
    [
        (T2IAdapter(1, [16, 24, 32, 32], 2, 8, "full_adapter"), _full_original),
        (T2IAdapter(3, [16, 24, 32, 32], 2, 8, "full_adapter"), _full_original),
        (T2IAdapter(3, [16, 24, 32], 4, 8, "light_adapter"), _light_original),
    ],
)
def test_the_authors_files_give_the_same_maps(adapter, original, tmp_path):
    weights = {original(name): tensor for name, tensor in adapter.state_dict().items()}
    assert len(weights) == len(adapter.state_dict())
    save_file(weights, tmp_path / "adapter.safetensors")
    read = from_original(tmp_path / "adapter.safetensors", torch.float32)
    picture = torch.rand(1, adapter.config.in_channels, 64, 96)
    with torch.no_grad():
        for ours, theirs in zip(read(picture), adapter(picture), strict=True):
            assert torch.equal(ours, theirs)


def test_a_file_of_another_kind_is_refused_in_a_sentence(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "lora.safetensors")
    with pytest.raises(Unavailable, match=r"lora\.safetensors is not a T2I-Adapter"):
        from_original(tmp_path / "lora.safetensors", torch.float32)


def test_what_was_made_from_the_starter_is_steered_by_the_starters_models(tmp_path, twin_folder):
    library = LoraLibrary(tmp_path)
    catalog = Catalog(tmp_path, own=library)

    def own(base: str) -> ModelEntry:
        def write(folder):
            shutil.copytree(twin_folder("sd1"), folder)

        return catalog.get(
            OWN + library.add_model("ann", f"of {base}", write, family="sd1", base=base).id
        )

    first = own("starter")
    second = own(first.name)
    control = ControlCatalog(tmp_path)
    wanted = [entry.name for entry in control.list_fitting(catalog.get("starter"))]
    assert "starter-controlnet-sketch" in wanted
    for entry in (first, second):
        assert [each.name for each in control.list_fitting(entry)] == wanted
        assert entry.defaults == catalog.get("starter").defaults
    assert {each.base for each in control.list_fitting(own("sd15"))} == {None}
