"""Which models are listed, by which names, and what is never loaded."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import pytest

from pipelines.core.errors import NotFound, Refused, UserError
from pipelines.core.paths import SINGLE_FILE_CONFIGS
from pipelines.diffusion.control.catalog import ControlCatalog
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.diffusion.samplers import samplers_in
from pipelines.models.catalog import Catalog
from pipelines.models.local_models import EDIT_ONLY, FAMILIES
from pipelines.models.original_layout import expected_parts
from pipelines.upscaling.catalog import Upscalers


def folder(home: Path, name: str, index: dict | None = None, weights: str = "x.safetensors"):
    """A diffusers folder as far as the catalog looks: names, JSON, sizes."""
    path = home / "models" / name
    (path / "unet").mkdir(parents=True)
    (path / "vae").mkdir()
    index = index or {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "U"]}
    (path / "model_index.json").write_text(json.dumps(index))
    (path / "unet" / "config.json").write_text(json.dumps({"sample_size": 16}))
    (path / "vae" / "config.json").write_text(json.dumps({"block_out_channels": [8, 8, 8, 8]}))
    (path / "unet" / weights).write_bytes(b"0" * 1000)
    return path


def checkpoint(home: Path, name: str, family: str = "sd1", **odd: list[int]) -> Path:
    """A safetensors file with the tensors of a family as far as the catalog looks: no numbers.

    ``odd``: further tensors, with their shapes.
    """
    parts = expected_parts(SINGLE_FILE_CONFIGS / family, family)
    shapes = {key: shape for part in parts for key, shape in part.tensors.items()} | odd
    header = {
        key: {"dtype": "F16", "shape": shape, "data_offsets": [0, 0]}
        for key, shape in shapes.items()
    }
    text = json.dumps(header).encode()
    path = home / "models" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    return path


def test_every_shipped_entry_says_what_a_person_needs_to_choose(tmp_path):
    for entry in Catalog(tmp_path).models():
        assert entry.licence, entry.name
        assert entry.description, entry.name
        assert entry.memory_bytes > 0, entry.name
        assert entry.native_size % 8 == 0, entry.name
        if entry.source.hub:
            assert entry.licence_url.startswith("https://"), entry.name
            assert entry.download_bytes > 10**9, entry.name


def test_the_shipped_catalog_has_the_models_that_people_know(tmp_path):
    names = {entry.name for entry in Catalog(tmp_path).models()}
    assert {"starter", "sd15", "sd-turbo", "sdxl", "sdxl-turbo"} <= names


def test_samplers_that_the_catalog_names_exist(tmp_path):
    samplers = samplers_in(None)
    for entry in Catalog(tmp_path).models():
        if entry.defaults.sampler is not None:
            assert samplers.get(entry.defaults.sampler), entry.name
            assert samplers.schedule(entry.defaults.schedule), entry.name


def test_folders_and_files_of_the_home_are_listed_by_name(tmp_path):
    folder(tmp_path, "My model")
    checkpoint(tmp_path, "dream.safetensors")
    catalog = Catalog(tmp_path)
    mine, dream = catalog.get("My model"), catalog.get("dream")
    assert (mine.family, mine.native_size) == ("sd1", 128)
    assert mine.source.folder == tmp_path / "models" / "My model"
    assert (dream.family, dream.native_size) == ("sd1", 512)
    assert dream.source.file == tmp_path / "models" / "dream.safetensors"


def test_what_is_put_there_later_is_found_at_the_next_look(tmp_path):
    catalog = Catalog(tmp_path)
    with pytest.raises(NotFound):
        catalog.get("late")
    folder(tmp_path, "late")
    assert catalog.get("late").family == "sd1"


def test_single_files_are_told_apart_by_their_tensors(tmp_path):
    checkpoint(tmp_path, "one.safetensors")
    checkpoint(tmp_path, "xl.safetensors", "sdxl")
    catalog = Catalog(tmp_path)
    assert catalog.get("one").family == "sd1"
    assert catalog.get("xl").family == "sdxl"


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_single_file_made_for_inpainting_is_known_by_its_channels(tmp_path, family):
    first = {"model.diffusion_model.input_blocks.0.0.weight": [320, 9, 3, 3]}
    checkpoint(tmp_path, "inpainting.safetensors", family, **first)
    checkpoint(tmp_path, "plain.safetensors", family)
    catalog = Catalog(tmp_path)
    assert catalog.get("inpainting").family == family
    assert [catalog.get(name).inpaints for name in ("inpainting", "plain")] == [True, False]


def test_a_single_file_that_wants_a_picture_is_listed_with_the_reason(tmp_path):
    odd = {"model.diffusion_model.input_blocks.0.0.weight": [320, 8, 3, 3]}
    checkpoint(tmp_path, "odd.safetensors", **odd)
    with pytest.raises(Refused, match="takes 8 input channels: beside noise it wants a picture"):
        Catalog(tmp_path).get("odd")
    assert "odd" in {entry.name for entry in Catalog(tmp_path).models()}


def test_a_name_is_known_in_other_letters(tmp_path):
    checkpoint(tmp_path, "Cafe\u0301 .SAFETENSORS")
    for name in ("café", "CAFÉ ", "Cafe\u0301"):
        assert Catalog(tmp_path).get(name).family == "sd1"
    checkpoint(tmp_path, "Starter.safetensors")
    assert Catalog(tmp_path).get("Starter").source.asset  # it hides no shipped one
    assert Catalog(tmp_path).get("Starter.safetensors (local)").source.file


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda path: shutil.rmtree(path / "vae"), "lacks its folder vae"),
        (lambda path: (path / "vae" / "x.safetensors").unlink(), "weights of vae in it"),
        (lambda path: (path / "vae" / "x.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"a": "x.safetensors", "b": "y.safetensors"}})),
         "lacks 1 of the 2 files of weights of vae, y.safetensors"),
    ],
)  # fmt: skip
def test_a_folder_that_is_not_whole_is_listed_with_what_it_lacks(tmp_path, harm, reason):
    parts = {"unet": ["diffusers", "U"], "vae": ["diffusers", "V"]}
    parts |= {"scheduler": ["diffusers", "DDIMScheduler"]}
    path = folder(tmp_path, "half", {"_class_name": "StableDiffusionPipeline", **parts})
    (path / "scheduler").mkdir()
    (path / "vae" / "x.safetensors").write_bytes(b"0")
    assert Catalog(tmp_path).get("half").family == "sd1"
    harm(path)
    with pytest.raises(Refused, match=reason):
        Catalog(tmp_path).get("half")


@pytest.mark.parametrize("content", [b"1234567", struct.pack("<Q", 2**60), b"\x02" + b"\0" * 9])
def test_a_broken_single_file_is_refused(tmp_path, content):
    checkpoint(tmp_path, "broken.safetensors").write_bytes(content)
    with pytest.raises(Refused, match=r"not a whole \.safetensors file"):
        Catalog(tmp_path).get("broken")


def test_a_file_that_cannot_be_read_hides_no_other(tmp_path):
    checkpoint(tmp_path, "good.safetensors")
    (tmp_path / "models" / "gone.safetensors").symlink_to(tmp_path / "models" / "nothing")
    catalog = Catalog(tmp_path)
    assert catalog.get("good").family == "sd1"
    with pytest.raises(Refused, match=r"gone\.safetensors cannot be read: No such file"):
        catalog.get("gone")


def test_a_file_that_has_changed_is_looked_at_again(tmp_path):
    path = checkpoint(tmp_path, "dream.safetensors")
    assert Catalog(tmp_path).get("dream").family == "sd1"
    checkpoint(tmp_path, "dream.safetensors", "sdxl")
    assert Catalog(tmp_path).get("dream").family == "sdxl"
    path.write_bytes(b"")
    with pytest.raises(Refused):
        Catalog(tmp_path).get("dream")


def test_a_single_file_cut_short_is_refused(tmp_path):
    path = checkpoint(tmp_path, "cut.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Refused, match=r"not a whole \.safetensors file"):
        Catalog(tmp_path).get("cut")


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".pt"])
def test_pickled_weights_are_listed_as_refused(tmp_path, suffix):
    folder(tmp_path, "old", weights=f"diffusion_pytorch_model{suffix}")
    (tmp_path / "models" / f"single{suffix}").write_bytes(b"\x80\x04")
    catalog = Catalog(tmp_path)
    for name in ("old", f"single{suffix}"):
        with pytest.raises(Refused, match="pickle"):
            catalog.get(name)


def test_a_folder_that_wants_its_own_code_is_refused(tmp_path):
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["my_unet", "Net"]}
    folder(tmp_path, "code", index)
    with pytest.raises(Refused, match=r"code of its own for unet \(my_unet.Net\)"):
        Catalog(tmp_path).get("code")


def test_a_component_with_an_auto_map_is_refused(tmp_path):
    path = folder(tmp_path, "auto")
    (path / "unet" / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "x.Y"}}))
    with pytest.raises(Refused, match="code of its own for unet"):
        Catalog(tmp_path).get("auto")


@pytest.mark.parametrize("kind", ["StableVideoDiffusionPipeline", "", ["x.py", "Custom"], None])
def test_a_folder_of_another_kind_of_pipeline_is_refused(tmp_path, kind):
    folder(tmp_path, "other", {"_class_name": kind, "unet": ["diffusers", "U"]})
    with pytest.raises(Refused, match="cannot use to paint from words"):
        Catalog(tmp_path).get("other")


def test_links_that_lead_out_of_the_models_folder_are_refused(tmp_path):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    outside = folder(elsewhere, "secret")
    (home / "models").mkdir(parents=True)
    (home / "models" / "linked").symlink_to(outside)
    single = checkpoint(elsewhere, "secret.safetensors")
    (home / "models" / "file.safetensors").symlink_to(single)
    inner = folder(home, "inner")
    (inner / "unet" / "stolen.safetensors").symlink_to(single)
    (home / "models" / "dangling").symlink_to(tmp_path / "nothing")
    catalog = Catalog(home)
    for name in ("linked", "file", "inner"):
        with pytest.raises(Refused, match="symbolic link"):
            catalog.get(name)


def test_links_within_the_models_folder_work(tmp_path):
    folder(tmp_path, "real")
    (tmp_path / "models" / "alias").symlink_to(tmp_path / "models" / "real")
    assert Catalog(tmp_path).get("alias").family == "sd1"


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "models/mine", "..", ".", "", "mine/", "~/x", "MINE\0"]
)
def test_a_path_is_not_a_name(tmp_path, name):
    folder(tmp_path, "mine")
    folder(tmp_path / "models" / "..", "secret")
    with pytest.raises(NotFound, match="There is no model called"):
        Catalog(tmp_path).get(name)


def test_an_unknown_name_is_answered_with_close_ones(tmp_path):
    with pytest.raises(NotFound, match=r"Did you mean .*sdxl"):
        Catalog(tmp_path).get("sdlx")


def test_a_local_model_never_hides_a_shipped_one(tmp_path):
    folder(tmp_path, "starter")
    checkpoint(tmp_path, "sdxl.safetensors", "sdxl")
    catalog = Catalog(tmp_path)
    assert catalog.get("starter").source.asset
    assert catalog.get("sdxl").source.hub
    assert catalog.get("starter (local)").source.folder
    assert catalog.get("sdxl.safetensors (local)").source.file


def test_a_folder_and_a_file_of_one_name_are_both_listed(tmp_path):
    folder(tmp_path, "twice")
    checkpoint(tmp_path, "twice.safetensors")
    catalog = Catalog(tmp_path)
    assert catalog.get("twice").source.folder
    assert catalog.get("twice.safetensors (local)").source.file


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1", "must be a list"),
        ("- {name: x}", "entry x: title is missing"),
        ("- 3", "entry 1"),
        (
            "- &e {name: x, title: X, family: sd1, source: {hub: a/b, asset: c}, licence: MIT, "
            "memory_bytes: 1 GB, native_size: 64, defaults: {steps: 1, guidance: 1}}",
            "give one of asset, hub",
        ),
    ],
)
def test_a_broken_models_file_names_the_entry_and_the_reason(tmp_path, text, reason):
    (tmp_path / "models.yaml").write_text(text)
    with pytest.raises(UserError, match=reason):
        Catalog(tmp_path, presets=tmp_path)


def test_two_entries_of_one_name_are_refused(tmp_path):
    entry = (
        "- {name: x, title: X, family: sd1, source: {hub: a/b}, licence: MIT, "
        "memory_bytes: 1 GB, native_size: 64, defaults: {steps: 1, guidance: 1}}\n"
    )
    (tmp_path / "models.yaml").write_text(entry * 2)
    with pytest.raises(UserError, match="two models called x"):
        Catalog(tmp_path, presets=tmp_path)


def test_the_families_are_those_of_the_pipelines_that_auto_pipeline_paints_with():
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

    known = {pipeline.__name__ for pipeline in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()}
    painting = {
        name
        for name, family in FAMILIES.items()
        if family not in EDIT_ONLY and "Inpaint" not in name  # loaded as their family's others
    }
    assert painting <= known


def test_what_is_trained_on_a_model_is_painted_with_as_that_model_is(tmp_path, twin_folder):
    library = LoraLibrary(tmp_path)
    made = library.add_model(
        "local",
        "my turbo",
        lambda folder: shutil.copytree(twin_folder("sd1"), folder),
        family="sd2",
        base="sd-turbo",
    )
    catalog = Catalog(tmp_path, own=library)
    own, turbo = catalog.get(f"own:{made.id}"), catalog.get("sd-turbo")
    assert own.defaults == turbo.defaults
    assert not turbo.negative_prompt_used
    assert not own.negative_prompt_used


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty: its download has failed"),
        (b"<!DOCTYPE html><p>Log in", "is a web page"),
        (b"\x02\0\0\0\0\0\0\0{}", "is a .safetensors file under the name of another kind"),
        (b"\x80\x02}q\0.", "pickle files"),
    ],
)
@pytest.mark.parametrize("folder", ["models", "upscalers", "control"])
def test_of_a_file_with_the_name_of_pickles_is_said_what_it_is(tmp_path, folder, data, reason):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "x.ckpt").write_bytes(data)
    if folder == "models":
        said = next(each.refused for each in Catalog(tmp_path).models() if each.name == "x.ckpt")
    else:
        listed = {"upscalers": Upscalers, "control": ControlCatalog}[folder](tmp_path)
        (said,) = listed.list_refusals()
    assert reason in str(said)


def test_a_file_with_the_name_of_models_that_were_made_here_is_not_offered(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "own:x.safetensors").touch()
    entry = Catalog(tmp_path).models()[-1]
    assert "begins with own:" in str(entry.refused)
