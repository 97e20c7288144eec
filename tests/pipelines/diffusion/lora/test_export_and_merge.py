"""What leaves the library works elsewhere and paints the same; several become one, or a model."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
import torch
from diffusers import (
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors import safe_open
from safetensors.torch import load, save
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from pipelines.core.cache import ModelCache
from pipelines.core.errors import BadRequest, Stopped
from pipelines.core.events import Result
from pipelines.diffusion import text_to_image
from pipelines.diffusion.loading import DiffusionModel
from pipelines.diffusion.lora import merge
from pipelines.diffusion.lora.formats import open_lora
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.diffusion.lora.merge import merge_factors, merge_into_lora, reduce_rank
from pipelines.diffusion.lora.requests import MergeRequest
from pipelines.diffusion.lora.use import LoraUse
from pipelines.diffusion.lora.weights import Factors, read
from pipelines.diffusion.resolving import resolve
from pipelines.diffusion.samplers import samplers_in
from pipelines.loading import Loader
from pipelines.models.catalog import Catalog
from tests.pipelines.diffusion.lora import files
from tests.pipelines.diffusion.lora.conftest import ANN, BASE, LARGE_BASE
from tests.pipelines.diffusion.lora.painting import (
    Unchanged,
    difference,
    paint,
    pictures,
    psnr,
    request_of,
)
from tests.tiny_parts import clip_config
from tests.twins import starter

SDXL_TARGETS = (*files.TARGETS, "conv_in", "conv_out", "conv2", "conv_shortcut", "proj_out", "conv",
                "linear_1", "linear_2", "ff.net.2", "fc2", "text_projection")  # fmt: skip


def painted_by_diffusers(lora_cache, home, models, data: bytes, path):
    """The picture of a model into which diffusers' own loader has put a file."""
    path.write_bytes(data)
    pipe = StableDiffusionPipeline.from_pretrained(models / BASE)
    pipe.load_lora_weights(str(path.parent), weight_name=path.name)
    with lora_cache.lease(BASE) as model:
        theirs = DiffusionModel(model.entry, pipe, "cpu", home=home)
    settings = resolve(request_of(), theirs.entry, samplers_in(home))
    (picture,) = pictures(text_to_image.paint(theirs, settings, threading.Event()))
    return picture


def delta_of(factors) -> dict[str, torch.Tensor]:
    return {key: each.scale * each.up.flatten(1).double() @ each.down.flatten(1).double()
            for key, each in factors.items()}  # fmt: skip


# --- export ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("brought", "style"),
    [
        ("kohya", "diffusers"),
        ("diffusers", "kohya"),
        pytest.param("kohya", "kohya", marks=pytest.mark.deep),
        pytest.param("diffusers", "diffusers", marks=pytest.mark.deep),
    ],
)
def test_an_exported_file_paints_the_same_picture_in_diffusers(
    lora_cache, library, strong, models, home, tmp_path, style, brought
):
    data = files.kohya(strong, 2.0) if brought == "kohya" else files.diffusers_style(strong)
    record = library.add(ANN, "clay", data)
    (ours,) = pictures(paint(lora_cache, loras=[{"name": "clay", "id": record.id}]))
    (plain,) = pictures(paint(lora_cache))
    exported = library.export(record.id, style)
    theirs = painted_by_diffusers(lora_cache, home, models, exported, tmp_path / "x.safetensors")
    assert psnr(ours, theirs) >= 40
    assert psnr(ours, plain) < 30


@pytest.fixture(scope="module")
def sdxl_pipe(models):
    """Narrow, but with SDXL's blocks, its number of layers, and texts as wide as SDXL's."""
    pipe = StableDiffusionXLPipeline.from_pretrained(models / LARGE_BASE)
    config = {
        **pipe.unet.config,
        "block_out_channels": (8, 16, 16),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 2),
        "layers_per_block": 2,
        "attention_head_dim": (2, 4, 4),
        "cross_attention_dim": 768 + 1280,
    }
    unet = UNet2DConditionModel.from_config(config)
    texts = (
        CLIPTextModel(clip_config(width=768, layers=2)),
        CLIPTextModelWithProjection(clip_config(width=1280, layers=2)),
    )
    parts = {"unet": unet, "text_encoder": texts[0], "text_encoder_2": texts[1]}
    return StableDiffusionXLPipeline(**pipe.components | parts)


@pytest.mark.parametrize(
    "parts",
    [
        ("unet", "text_encoder", "text_encoder_2"),
        pytest.param(("unet",), marks=pytest.mark.deep),
    ],
)
def test_sdxl_s_file_for_kohya_has_its_names_and_is_loaded_by_diffusers(
    library, sdxl_pipe, tmp_path, parts
):
    """Its blocks are those of the original code, which sd-scripts and A1111 know the model by."""
    halves = files.random_halves(sdxl_pipe, rank=2, parts=parts, targets=SDXL_TARGETS)
    record = library.add(ANN, "large", files.kohya(halves, alpha=1.0))
    assert record.family == "sdxl"
    data = library.export(record.id, "kohya")
    starts = ("lora_unet_input_blocks_", "lora_unet_middle_block_", "lora_unet_output_blocks_",
              "lora_unet_time_embed_", "lora_unet_label_emb_", "lora_unet_out_2.",
              "lora_te1_text_model_encoder_", "lora_te2_text_model_encoder_",
              "lora_te2_text_projection.")  # fmt: skip
    found = {next((start for start in starts if key.startswith(start)), key) for key in load(data)}
    assert found == {start for start in starts if len(parts) == 3 or "_unet_" in start}
    try:
        assert changed_by_diffusers(sdxl_pipe, data, tmp_path) == len(halves)
        check_changes(sdxl_pipe, files.changes(halves, scale=0.5))
    finally:
        sdxl_pipe.unload_lora_weights()
    again = library.add(ANN, "again", data)
    assert {key: each.down.tolist() for key, each in library.factors(again).items()} == {
        key: each.down.tolist() for key, each in library.factors(record).items()
    }


def test_a_twin_of_sdxl_s_exported_file_is_loaded_by_diffusers(
    library, large_pipe, models, tmp_path
):
    halves = files.random_halves(large_pipe)
    record = library.add(ANN, "large", files.kohya(halves, alpha=2.0))
    pipe = StableDiffusionXLPipeline.from_pretrained(models / LARGE_BASE)
    assert changed_by_diffusers(pipe, library.export(record.id, "kohya"), tmp_path) == len(halves)
    check_changes(pipe, files.changes(halves, scale=0.5))


def changed_by_diffusers(pipe, data: bytes, folder) -> int:
    """How many modules diffusers' own loader changes by a file."""
    (folder / "x.safetensors").write_bytes(data)
    pipe.load_lora_weights(str(folder), weight_name="x.safetensors")
    return len(dict(changed_modules(pipe)))


def changed_modules(pipe):
    for part in ("unet", "text_encoder", "text_encoder_2"):
        for name, module in getattr(pipe, part).named_modules():
            if hasattr(module, "lora_A"):
                long = f"text_model.{name}" if name.startswith("encoder.") else name
                yield f"{part}.{long}", module


def check_changes(pipe, expected: dict[str, torch.Tensor]) -> None:
    for key, module in changed_modules(pipe):
        (adapter,) = module.lora_A
        torch.testing.assert_close(module.get_delta_weight(adapter).detach(), expected[key])


def test_a_kohya_file_says_what_other_tools_read(library, halves, tmp_path):
    data = files.kohya(halves, 2.0, {"ss_sd_model_name": "dream.safetensors"})
    record = library.add(ANN, "clay", data, triggers=("sks mug", "clay"))
    path = files.write_file(tmp_path, library.export(record.id, "kohya"))
    with safe_open(path, "pt") as opened:
        metadata, keys = opened.metadata(), set(opened.keys())
        alphas = {float(opened.get_tensor(key)) for key in keys if key.endswith(".alpha")}
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("4", "2.0")
    assert metadata["ss_network_module"] == "networks.lora"
    assert metadata["ss_sd_model_name"] == "dream.safetensors"
    assert metadata["modelspec.trigger_phrase"] == "sks mug, clay"
    assert json.loads(metadata["ss_tag_frequency"]) == {"1_clay": {"sks mug": 1, "clay": 1}}
    assert metadata["sshs_model_hash"] == record.sha256
    assert alphas == {2.0}
    assert keys == set(load(files.kohya(halves)))
    again = library.add(ANN, "again", path)
    assert (again.rank, again.alpha, again.triggers) == (4, 2.0, record.triggers)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_there_and_back_keeps_every_bit(library, halves, tmp_path, dtype):
    narrow = {key: (down.to(dtype), up.to(dtype)) for key, (down, up) in halves.items()}
    original = load(files.kohya(narrow, alpha=3.0))
    record = library.add(ANN, "clay", files.kohya(narrow, alpha=3.0))
    assert record.alpha == 3.0
    returned = load(library.export(record.id, "kohya"))
    assert returned.keys() == original.keys()
    assert all(torch.equal(returned[key], original[key]) for key in original)
    assert all(t.dtype == dtype for k, t in returned.items() if "alpha" not in k)


def test_alpha_that_half_precision_could_not_hold_is_worked_in_in_full(library, halves, tmp_path):
    narrow = {key: (down.half(), (up * 1e-3).half()) for key, (down, up) in halves.items()}
    record = library.add(ANN, "clay", files.kohya(narrow, alpha=0.03))
    path = files.write_file(tmp_path, library.export(record.id, "diffusers"))
    found = delta_of(read(path, open_lora(path, "x"), "x"))
    for key, change in delta_of(library.factors(record)).items():
        torch.testing.assert_close(found[key], change, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("style", ["kohya", "diffusers"])
def test_an_exported_embedding_is_loaded_by_diffusers(library, models, tmp_path, style):
    vectors = torch.randn(2, 32)
    record = library.add(ANN, "my mug", save({"emb_params": vectors}), triggers=("<mug>",))
    path = files.write_file(tmp_path, library.export(record.id, style))
    pipe = StableDiffusionPipeline.from_pretrained(models / BASE)
    pipe.load_textual_inversion(str(tmp_path), weight_name=path.name, token="<mug>")
    rows = pipe.text_encoder.get_input_embeddings().weight
    assert torch.equal(rows[-2:].detach(), vectors)


# --- one of several -------------------------------------------------------------------------------


def test_the_sum_of_several_is_exact(pipe):
    one = factors_of(files.random_halves(pipe, rank=4, seed=1), alpha=2.0)
    two = factors_of(files.random_halves(pipe, rank=3, seed=2, parts=("unet",)), alpha=None)
    both = merge_factors([(one, 0.5), (two, -1.5)])
    first, second = delta_of(one), delta_of(two)
    for key, change in delta_of(both).items():
        expected = 0.5 * first[key] + (-1.5 * second[key] if key in second else 0)
        torch.testing.assert_close(change, expected, rtol=1e-5, atol=1e-7)
    assert {each.rank for key, each in both.items() if key in two} == {7}


def factors_of(halves, alpha) -> dict[str, Factors]:
    return {f"{part}.{name}": Factors(down, up, alpha)
            for (part, name), (down, up) in halves.items()}  # fmt: skip


def test_a_smaller_rank_is_the_nearest_there_is(pipe):
    """Against the singular values of the whole product (Eckart and Young)."""
    factors = factors_of(files.random_halves(pipe, rank=6, seed=1), alpha=None)
    for key, each in factors.items():
        whole = delta_of({key: each})[key]
        small = reduce_rank(each, 2)
        assert small.rank == 2
        assert small.down.shape[1:] == each.down.shape[1:]
        sizes = torch.linalg.svdvals(whole)
        error = (whole - delta_of({key: small})[key]).norm()
        torch.testing.assert_close(error, sizes[2:].norm(), rtol=1e-4, atol=1e-6)
        assert reduce_rank(each, 6) is each


@pytest.mark.parametrize("rank", [None, pytest.param(8, marks=pytest.mark.deep), 2])
def test_a_merged_one_paints_what_its_parts_paint(lora_cache, library, home, pipe, rank):
    parts = []
    for seed, weight in ((1, 0.8), (2, -0.5)):
        halves = files.random_halves(pipe, rank=4, seed=seed, size=0.3)
        words, subjects = (f"w{seed}",), (f"{seed}" * 32, "3" * 32)
        data = files.kohya(halves, 2.0)
        record = library.add(ANN, f"part {seed}", data, triggers=words, subjects=subjects)
        parts.append({"name": record.name, "weight": weight, "id": record.id})
    request = MergeRequest(loras=parts, name="both", rank=rank, owner=ANN, id="a" * 32)
    result = list(merge.run(request, lora_cache, threading.Event()))[-1]
    assert isinstance(result, Result)
    record = library.by_id(result.data["lora"])
    assert (record.id, record.owner, record.name) == ("a" * 32, ANN, "both")
    assert (record.rank, record.triggers) == (rank or 8, ("w1", "w2"))
    assert record.sources == tuple(part["id"] for part in parts)
    assert record.subjects == ("1" * 32, "3" * 32, "2" * 32)
    (expected,) = pictures(paint(lora_cache, loras=parts))
    (made,) = pictures(paint(lora_cache, loras=[{"name": "both", "id": record.id}]))
    if rank == 2:
        assert difference(made, expected) > 1
    else:
        assert psnr(made, expected) >= 50


def test_a_merge_that_is_stopped_puts_nothing_in_the_library(lora_cache, library, halves):
    record = library.add(ANN, "clay", files.kohya(halves))
    stop = threading.Event()
    stop.set()
    request = MergeRequest(loras=[{"name": "clay", "id": record.id}], name="x", owner=ANN)
    with pytest.raises(Stopped):
        list(merge.run(request, lora_cache, stop))
    assert [each.id for each in library.own(ANN)] == [record.id]


def test_families_do_not_mix(lora_cache, library, halves, large_pipe):
    both = {"small": halves, "large": files.random_halves(large_pipe)}
    ids = [library.add(ANN, name, files.kohya(each)).id for name, each in both.items()]
    request = MergeRequest(loras=[{"name": "x", "id": id} for id in ids], name="both", owner=ANN)
    with pytest.raises(BadRequest, match="small is made for U-Net 32 and large for U-Net 80"):
        list(merge.run(request, lora_cache, threading.Event()))


def test_only_loras_are_merged(lora_cache, library):
    record = library.add(ANN, "word", save({"emb_params": torch.ones(1, 32)}))
    request = MergeRequest(loras=[{"name": "word", "id": record.id}], name="both", owner=ANN)
    with pytest.raises(BadRequest, match="word is no LoRA, so it cannot be merged"):
        list(merge.run(request, lora_cache, threading.Event()))


# --- into a model ---------------------------------------------------------------------------------


def test_a_model_with_a_lora_in_it_paints_what_both_paint(lora_cache, library, strong):
    data = files.kohya(strong, 2.0)
    record = library.add(ANN, "clay", data, triggers=("sks",), subjects=("1" * 32,))
    use = {"name": "clay", "weight": 0.8, "id": record.id}
    request = MergeRequest(loras=[use], name="clay model", model=BASE, owner=ANN)
    with Unchanged(lora_cache):
        result = list(merge.run(request, lora_cache, threading.Event()))[-1]
    made = library.by_id(result.data["lora"])
    assert (made.kind, made.base, made.owner, made.triggers) == ("model", BASE, ANN, ("sks",))
    assert made.subjects == ("1" * 32,)
    (expected,) = pictures(paint(lora_cache, loras=[use]))
    (plain,) = pictures(paint(lora_cache))
    events = paint(lora_cache, model=f"own:{made.id}")
    (picture,) = [event for event in events if type(event).__name__ == "Picture"]
    assert psnr(picture.image, expected) >= 50
    assert psnr(plain, expected) < 30
    assert picture.parameters["Model"] == "clay model"
    with pytest.raises(BadRequest, match="clay model is a whole model, not a LoRA"):
        paint(lora_cache, loras=[{"name": "clay model", "id": made.id}])
    with pytest.raises(BadRequest, match="whole model, a folder of many files"):
        library.export(made.id, "kohya")


def test_the_starter_s_kind_of_model_is_saved_whole(tmp_path):
    """Its autoencoder is Atelier's own, which is found again by its name."""
    home = tmp_path / "home"
    starter().save_pretrained(home / "models" / BASE)
    loader = Loader(Catalog(home, own=LoraLibrary(home)), home, offline=True, budget_bytes=2**30)
    cache = ModelCache(loader.load, device="cpu", budget_bytes=2**30, home=home)
    library = LoraLibrary(home)
    with cache.lease(BASE) as model:
        record = library.add(ANN, "clay", files.kohya(files.random_halves(model.pipe, size=0.3)))
    use = {"name": "clay", "id": record.id}
    request = MergeRequest(loras=[use], name="m", model=BASE, owner=ANN)
    result = list(merge.run(request, cache, threading.Event()))[-1]
    (expected,) = pictures(paint(cache, loras=[use]))
    (made,) = pictures(paint(cache, model=f"own:{result.data['lora']}"))
    assert np.asarray(made).std() > 1
    assert psnr(made, expected) >= 50


def test_a_lora_is_merged_with_a_weight_for_each_side(library, halves):
    record = library.add(ANN, "clay", files.kohya(halves, alpha=4.0))
    use = LoraUse(name="clay", weight=0.5, text_weight=-1, id=record.id)
    made = merge_into_lora(library, MergeRequest(loras=(use,), name="both", owner=ANN))
    found, whole = library.factors(made), library.factors(record)
    for key, each in whole.items():
        weight = 0.5 if key.startswith("unet.") else -1
        blank = torch.empty(each.up.shape[0], *each.down.shape[1:])
        torch.testing.assert_close(found[key].delta(blank), weight * each.delta(blank))
