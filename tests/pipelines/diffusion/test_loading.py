"""Every family's twin goes through the same loading code and paints."""

from __future__ import annotations

import gc
import hashlib
import inspect
import json
import shutil
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig, get_peft_model_state_dict
from PIL import Image
from safetensors.torch import save_file
from spandrel.architectures.Compact import Compact

from pipelines.chat.entries import CACHE_PREFIX
from pipelines.core.cache import ModelCache
from pipelines.core.errors import BadRequest, OutOfMemory, Unavailable
from pipelines.core.events import Picture
from pipelines.core.paths import ASSETS
from pipelines.diffusion import text_to_image
from pipelines.diffusion.autoencoder import PatchAutoencoder, enlarge, halve
from pipelines.diffusion.hashes import model_hash
from pipelines.diffusion.latents.coding import decode
from pipelines.diffusion.loading import DiffusionModel, expected_bytes, load, tile_for_size
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.single_file import CONFIGS, clip_tokenizer
from pipelines.loading import Loader
from pipelines.models.catalog import Catalog
from pipelines.models.local_models import FAMILIES
from tests.original_layout import save_single_file
from tests.twins import PAINTING_TWINS, TWINS, starter


def quiet(message, share):
    """Notes that nobody reads."""


def load_folder(folder: Path, home: Path) -> DiffusionModel:
    """``folder`` put into the home's models, found there by name and loaded."""
    name = f"twin {folder.name}"  # some families are called like shipped models
    shutil.copytree(folder, home / "models" / name)
    return load(Catalog(home).get(name), "cpu", quiet, offline=True, home=home)


def paint(model: DiffusionModel) -> np.ndarray:
    """Two steps at 64 × 64 from seed 1; float (64, 64, 3) in [0, 1]."""
    options = {"prompt": "a red mug", "num_inference_steps": 2, "width": 64, "height": 64}
    if "use_resolution_binning" in inspect.signature(model.pipe.__call__).parameters:
        options["use_resolution_binning"] = False
    generator = torch.Generator().manual_seed(1)
    return model.pipe(**options, generator=generator, output_type="np").images[0]


# All others are loaded and paint in test_families.py, too.
@pytest.mark.parametrize(
    "family",
    [
        pytest.param(each, marks=() if each in ("sd1", "sdxl", "flux") else pytest.mark.deep)
        for each in PAINTING_TWINS
    ],
)
def test_each_family_loads_from_its_folder_and_paints(family, twin_folder, tmp_path):
    model = load_folder(twin_folder(family), tmp_path)
    picture = paint(model)
    assert model.family == family
    assert picture.shape == (64, 64, 3)
    assert np.isfinite(picture).all()
    assert picture.std() > 0
    assert model.factor in (2, 8)


def test_the_starters_own_autoencoder_is_loaded_from_an_asset(tmp_path, monkeypatch):
    starter().save_pretrained(tmp_path / "assets" / "starter" / "base")
    monkeypatch.setattr("pipelines.diffusion.loading.ASSETS", tmp_path / "assets")
    model = load(Catalog(tmp_path).get("starter"), "cpu", quiet, True, tmp_path)
    assert type(model.pipe.vae).__name__ == "PatchAutoencoder"
    assert model.factor == 8
    assert paint(model).shape == (64, 64, 3)
    assert decode(model, torch.zeros(1, 6, 8, 8)).shape == (1, 3, 64, 64)


def test_an_autoencoder_of_its_own_makes_the_starters_pictures_twice_as_large(
    tmp_path, monkeypatch
):
    twin = starter()
    twin.save_pretrained(tmp_path / "assets" / "starter" / "base")
    enlarge(twin.vae).save_pretrained(tmp_path / "assets" / "starter-256")
    monkeypatch.setattr("pipelines.diffusion.loading.ASSETS", tmp_path / "assets")
    loader = Loader(Catalog(tmp_path), tmp_path, offline=True, budget_bytes=2**30)
    cache = ModelCache(loader.load, device="cpu", budget_bytes=2**30)
    made = {}
    for name, side in (("starter", 64), ("starter-256", 128)):
        asked = TextToImageRequest(
            prompt="a mug", model=name, steps=2, seed=3, width=side, height=side
        )
        events = text_to_image.run(asked, cache, threading.Event())
        (made[name],) = [np.asarray(e.image, int) for e in events if isinstance(e, Picture)]
    # The same latents: before it is trained, it enlarges bilinearly.
    small = Image.fromarray(made["starter"].astype(np.uint8))
    doubled = np.asarray(small.resize((128, 128), Image.Resampling.BILINEAR))
    assert np.corrcoef(made["starter-256"].ravel(), doubled.ravel())[0, 1] > 0.9
    odd = asked.model_copy(update={"width": 72})
    with pytest.raises(BadRequest, match="multiples of 16; the width is 72"):
        list(text_to_image.run(odd, cache, threading.Event()))


def test_the_shipped_autoencoder_for_256_pixels_has_the_latents_of_that_for_128():
    small = PatchAutoencoder.from_pretrained(ASSETS / "starter" / "base" / "vae").float()
    large = PatchAutoencoder.from_pretrained(ASSETS / "starter-256").float()
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2)) * 2 - 1
    latents = small.encode(picture).latent_dist.mode()
    doubled = picture.repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(large.encode(doubled).latent_dist.mode(), latents, atol=0.02, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(
            halve(large).decode(latents).sample, small.decode(latents).sample, atol=0.02, rtol=0
        )


def test_a_lora_that_belongs_to_a_model_is_in_its_weights_and_in_its_hash(tmp_path, monkeypatch):
    twin = starter()
    folder = tmp_path / "assets" / "starter" / "base"
    twin.save_pretrained(folder)
    shutil.copytree(folder, tmp_path / "models" / "copy")  # before it has a LoRA
    targets = ["to_q", "to_v", "conv1", "conv", "time_emb_proj"]
    twin.unet.add_adapter(LoraConfig(r=4, lora_alpha=2, target_modules=targets))
    with torch.no_grad():
        for name, weight in twin.unet.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1)
    twin.save_lora_weights(
        tmp_path / "assets" / "starter" / "fast",
        unet_lora_layers=get_peft_model_state_dict(twin.unet),
        **_collate_lora_metadata({"unet": twin.unet}),
    )
    monkeypatch.setattr("pipelines.diffusion.loading.ASSETS", tmp_path / "assets")
    plain = Catalog(tmp_path).get("starter")
    entry = plain.model_copy(update={"lora": "starter/fast"})
    model, base = (load(each, "cpu", quiet, True, tmp_path) for each in (entry, plain))
    width = twin.unet.config.cross_attention_dim
    x, words = torch.randn(1, twin.unet.config.in_channels, 8, 8), torch.randn(1, 7, width)
    with torch.no_grad():
        made, wanted, without = (
            pipe.unet(x, torch.tensor(500), words).sample.float()
            for pipe in (model.pipe, twin.to("cpu"), base.pipe)
        )
    torch.testing.assert_close(made, wanted, atol=1e-3, rtol=1e-3)
    assert (made - without).abs().mean() > 0.01
    assert base.hash == load(Catalog(tmp_path).get("copy"), "cpu", quiet, True, tmp_path).hash
    assert model.hash != base.hash


def test_a_copy_of_the_starter_among_ones_own_models_works(tmp_path):
    starter().save_pretrained(tmp_path / "my starter")
    assert paint(load_folder(tmp_path / "my starter", tmp_path)).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("budget", "offloaded"), [(500_000, True), (2_000_000, False), (None, False)]
)
def test_a_model_over_the_gpus_budget_is_offloaded_to_ram(catalog, monkeypatch, budget, offloaded):
    """The GPU is played by the CPU: only who goes where is held here."""
    from diffusers import StableDiffusionPipeline

    moves = []
    for name in ("to", "enable_model_cpu_offload"):
        monkeypatch.setattr(
            StableDiffusionPipeline, name, lambda self, *args, n=name, **kw: moves.append((n, kw))
        )
    monkeypatch.setattr("pipelines.diffusion.loading.dtype_for", lambda device: torch.float32)
    model = load(catalog.get("tiny-sd1"), "cuda", quiet, True, catalog.home, budget_bytes=budget)
    assert model.offloaded == offloaded
    assert moves == [("enable_model_cpu_offload", {"device": "cuda"}) if offloaded else ("to", {})]
    assert model.nbytes < 1_000_000 if offloaded else model.nbytes > 1_000_000


@pytest.mark.parametrize("device", ["cpu", "mps", "cuda"])
def test_large_pictures_are_coded_in_tiles_on_every_device(twin_folder, tmp_path, device):
    model = load_folder(twin_folder("sd1"), tmp_path)
    model.device = device
    for size, tiled in (((1024, 1024), False), ((1032, 1024), True), ((64, 64), False)):
        tile_for_size(model.pipe.vae, *size)
        assert model.pipe.vae.use_tiling == tiled


def test_every_family_of_the_catalog_and_of_local_folders_has_a_twin(tmp_path):
    shipped = {entry.family for entry in Catalog(tmp_path).models()}
    assert shipped | set(FAMILIES.values()) == set(TWINS)


def test_a_model_counts_its_bytes(twin_folder, tmp_path):
    model = load_folder(twin_folder("sd1"), tmp_path)
    weights = sum(path.stat().st_size for path in twin_folder("sd1").rglob("*.safetensors"))
    assert weights * 0.9 < model.nbytes < weights  # the files have headers, too


def test_the_safety_checker_is_off_and_nothing_draws_progress_bars(twin_folder, tmp_path):
    model = load_folder(twin_folder("sd1"), tmp_path)
    assert model.pipe.safety_checker is None
    assert model.pipe._progress_bar_config["disable"]


def test_weights_are_never_read_from_pickles(twin_folder, tmp_path):
    """A folder whose safetensors are gone behind the catalog's back does not fall back."""
    folder = tmp_path / "models" / "switched"
    shutil.copytree(twin_folder("sd1"), folder)
    entry = Catalog(tmp_path).get("switched")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(Unavailable, match="switched cannot be loaded"):
        load(entry, "cpu", quiet, offline=True, home=tmp_path)


def test_a_fp16_folder_is_loaded_whole(twin_folder, tmp_path):
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(twin_folder("sd1"), local_files_only=True)
    pipe.to(torch.float16).save_pretrained(tmp_path / "half", variant="fp16")
    model = load_folder(tmp_path / "half", tmp_path)
    assert model.dtype == torch.float32  # on a CPU
    assert np.isfinite(paint(model)).all()


def test_pictures_name_their_model_by_the_start_of_its_files_sha256(
    twin_folder, tmp_path, monkeypatch
):
    model = load_folder(twin_folder("sd1"), tmp_path)
    unet = (twin_folder("sd1") / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    assert model.hash == hashlib.sha256(unet).hexdigest()[:10]
    save_single_file(model.pipe, tmp_path / "single.safetensors")
    whole = hashlib.sha256((tmp_path / "single.safetensors").read_bytes()).hexdigest()[:10]
    assert model_hash(tmp_path / "single.safetensors", tmp_path) == whole
    with monkeypatch.context() as patched:  # reckoned once
        patched.setattr(hashlib, "sha256", None)
        assert model_hash(tmp_path / "single.safetensors", tmp_path) == whole
    (tmp_path / "single.safetensors").write_bytes(b"another")
    assert model_hash(tmp_path / "single.safetensors", tmp_path) != whole
    assert model_hash(tmp_path / "nothing", tmp_path) is None


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_single_file_gives_the_same_picture_as_its_folder(family, twin_folder, tmp_path):
    from_folder = load_folder(twin_folder(family), tmp_path)
    save_single_file(from_folder.pipe, tmp_path / "models" / "single.safetensors")
    shutil.copytree(twin_folder(family), tmp_path / "configs" / family)
    entry = Catalog(tmp_path, configs=tmp_path / "configs").get("single")
    from_file = load(entry, "cpu", quiet, True, tmp_path, configs=tmp_path / "configs")
    assert entry.family == family
    np.testing.assert_allclose(paint(from_file), paint(from_folder), atol=1e-5)


@pytest.mark.parametrize(
    ("family", "part", "parameters"),
    [
        ("sd1", "unet", 859_520_964),
        ("sd1", "vae", 83_653_863),
        ("sd1", "text_encoder", 123_060_480),
        ("sdxl", "unet", 2_567_463_684),
        ("sdxl", "vae", 83_653_863),
        ("sdxl", "text_encoder", 123_060_480),
        ("sdxl", "text_encoder_2", 694_659_840),
    ],
)
def test_the_shipped_configs_have_the_published_numbers_of_parameters(family, part, parameters):
    import diffusers
    import transformers

    index = json.loads((CONFIGS / family / "model_index.json").read_text())
    library, name = index[part]
    kind = getattr({"diffusers": diffusers, "transformers": transformers}[library], name)
    config = json.loads((CONFIGS / family / part / "config.json").read_text())
    with torch.device("meta"):
        if library == "diffusers":
            model = kind.from_config(config)
        else:
            model = kind(kind.config_class(**config))
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_the_shipped_tokenizer_is_clips():
    tokenizer = clip_tokenizer()
    assert len(tokenizer) == 49_408
    # As the original code tokenizes it: start, six words, end.
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer("Über 🐱!").input_ids[0] == 49406
    padded = clip_tokenizer("!")("a cat", padding="max_length", max_length=6).input_ids
    assert padded == [49406, 320, 2368, 49407, 0, 0]


@pytest.mark.parametrize(
    "family",
    [
        *("sd1", "sd3", "sana"),
        *(pytest.param(e, marks=pytest.mark.deep) for e in ("sd2", "sdxl", "pixart", "hunyuan")),
    ],
)
def test_decode_is_what_the_pipeline_does_with_the_same_latents(family, twin_folder, tmp_path):
    model = load_folder(twin_folder(family), tmp_path)
    options = {"prompt": "a red mug", "num_inference_steps": 1, "width": 64, "height": 64}
    if "use_resolution_binning" in inspect.signature(model.pipe.__call__).parameters:
        options["use_resolution_binning"] = False
    outputs = [
        model.pipe(**options, generator=torch.Generator().manual_seed(1), output_type=kind).images
        for kind in ("latent", "np")
    ]
    images = decode(model, outputs[0])
    assert images.shape == (1, 3, 64, 64)
    assert images.dtype == torch.float32
    np.testing.assert_allclose(images[0].permute(1, 2, 0).numpy(), outputs[1][0], atol=1e-5)


def test_a_decode_that_overflows_is_done_again_in_float32(twin_folder, tmp_path):
    """Half precision ends at 65,504; the weights are put back to it afterwards."""
    model = load_folder(twin_folder("sd1"), tmp_path)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        model.pipe.vae.decoder.conv_in.weight.mul_(30_000)
        model.pipe.vae.post_quant_conv.weight.mul_(30_000)
        exact = decode(model, latents)
    model.pipe.vae.to(torch.float16)
    assert not torch.isfinite(model.pipe.vae.decode(latents.half() / 0.18215).sample).all()
    images = decode(model, latents)
    assert torch.isfinite(images).all()
    assert (images - exact).abs().max() < 0.05  # the weights were rounded to half precision
    assert model.pipe.vae.dtype == torch.float16


def test_a_model_that_the_cache_evicts_is_really_gone(catalog):
    def by_name(name, device, notes):
        return load(catalog.get(name), device, notes, offline=True, home=catalog.home)

    cache = ModelCache(by_name, "cpu", budget_bytes=2**30)
    with cache.lease("tiny-sd1") as model:
        references = [weakref.ref(model), weakref.ref(model.pipe), weakref.ref(model.unet)]
        paint(model)
    del model
    cache.release("tiny-sd1")
    gc.collect()
    assert [reference() for reference in references] == [None, None, None]


def test_loading_says_what_it_is_doing(catalog):
    notes = []
    load(catalog.get("tiny-sd1"), "cpu", lambda m, s: notes.append(str(m)), True, catalog.home)
    assert notes == ["Loading tiny-sd1"]


def test_an_asset_that_is_not_there_is_said_so(tmp_path):
    entry = Catalog(tmp_path).get("starter")
    missing = entry.model_copy(update={"source": entry.source.model_copy(update={"asset": "no"})})
    with pytest.raises(Unavailable, match=r"files of Atelier starter .* are not here"):
        load(missing, "cpu", quiet, True, tmp_path)


def test_running_out_of_memory_while_loading_is_said_in_one_sentence(catalog, monkeypatch):
    def no_memory(*args, **kwargs):
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate "
            "memory: you tried to allocate 4000000000 bytes. Error code 12"
        )

    monkeypatch.setattr("pipelines.diffusion.loading._from_folder", no_memory)
    with pytest.raises(OutOfMemory, match=r"ran out of memory at tiny-sd1: 4\.0 GB more was asked"):
        load(catalog.get("tiny-sd1"), "cpu", quiet, True, catalog.home)


def test_a_model_takes_twice_its_half_precision_on_a_cpu_and_never_more_than_the_budget_on_a_gpu(
    tmp_path,
):
    sdxl = Catalog(tmp_path).get("sdxl")
    assert expected_bytes(sdxl, "cpu", budget_bytes=10**9) == 18 * 10**9
    assert expected_bytes(sdxl, "cuda", budget_bytes=24 * 10**9) == 9 * 10**9
    assert expected_bytes(sdxl, "cuda", budget_bytes=4 * 10**9) == 4 * 10**9


def test_files_of_one_s_own_are_looked_at_again_but_not_those_that_come_along(catalog, tmp_path):
    loader = Loader(catalog, catalog.home, offline=True, budget_bytes=0)
    files = {path.name for path in loader.files_of("tiny-sd1")}
    assert {"model_index.json", "diffusion_pytorch_model.safetensors"} <= files
    assert loader.files_of("starter") == loader.files_of(f"{CACHE_PREFIX}x") == []
    upscaler = tmp_path / "upscalers" / "x.safetensors"
    upscaler.parent.mkdir()
    save_file(Compact(num_feat=4, num_conv=1, upscale=2).state_dict(), upscaler)
    own = Loader(Catalog(tmp_path), tmp_path, offline=True, budget_bytes=0)
    assert own.files_of("upscaler:x") == [upscaler]
