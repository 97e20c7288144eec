"""A home folder with tiny base models, and what LoRAs are made from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from pipelines.core.cache import ModelCache
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.diffusion.lora.use import LoraUse
from pipelines.loading import Loader
from pipelines.models.catalog import Catalog
from tests.pipelines.diffusion.lora import files

BASE, LARGE_BASE = "tiny-sd1", "tiny-sdxl"
ANN = "ann"


@pytest.fixture(scope="session")
def models(tmp_path_factory, twin_folder) -> Path:
    """A ``models/`` with a tiny SD 1.x and a tiny SDXL; treat it as read-only."""
    folder = tmp_path_factory.mktemp("lora models")
    for name, family in ((BASE, "sd1"), (LARGE_BASE, "sdxl")):
        shutil.copytree(twin_folder(family), folder / name)
    return folder


@pytest.fixture(scope="session")
def pipe(models):
    """The tiny SD 1.x by itself; treat it as read-only."""
    return StableDiffusionPipeline.from_pretrained(models / BASE)


@pytest.fixture(scope="session")
def large_pipe(models):
    return StableDiffusionXLPipeline.from_pretrained(models / LARGE_BASE)


@pytest.fixture(scope="session")
def halves(pipe):
    return files.random_halves(pipe)


@pytest.fixture(scope="session")
def strong(pipe):
    """So large that the picture becomes another one."""
    return files.random_halves(pipe, size=0.3)


@pytest.fixture
def home(tmp_path, models, control_folder) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    (home / "models").symlink_to(models, target_is_directory=True)
    (home / "control").symlink_to(control_folder, target_is_directory=True)
    return home


@pytest.fixture
def library(home) -> LoraLibrary:
    return LoraLibrary(home)


@pytest.fixture
def lora_cache(home) -> ModelCache:
    loader = Loader(Catalog(home, own=LoraLibrary(home)), home, offline=True, budget_bytes=2**30)
    return ModelCache(loader.load, device="cpu", budget_bytes=2**30, home=home)


@pytest.fixture
def use(library, halves):
    """A LoRA of rank 4 with alpha 2, in Ann's library."""
    record = library.add(ANN, "clay", files.kohya(halves, alpha=2.0))
    return LoraUse(name="clay", weight=0.8, id=record.id)
