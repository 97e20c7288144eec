"""A home folder with tiny base models and tiny random control models of every kind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    T2IAdapter,
    UNet2DConditionModel,
)
from PIL import Image, ImageDraw

from pipelines.core.cache import ModelCache
from pipelines.core.pictures.inputs import keep_input
from pipelines.loading import Loader
from pipelines.models.catalog import Catalog

BASE, SECOND_BASE, LARGE_BASE = "tiny-sd1", "tiny-sd2", "tiny-sdxl"


def awake(net: ControlNetModel, seed: int) -> ControlNetModel:
    """A ControlNet whose zero convolutions are no longer zero, and whose hint is not."""
    torch.manual_seed(seed)
    zero = [*net.controlnet_down_blocks, net.controlnet_mid_block]
    for layer in [*zero, net.controlnet_cond_embedding.conv_out]:
        torch.nn.init.normal_(layer.weight, std=0.2)
    return net


def adapter(seed: int, channels=(16, 32), kind="full_adapter", in_channels=3) -> T2IAdapter:
    torch.manual_seed(seed)
    net = T2IAdapter(in_channels, list(channels), num_res_blocks=1, adapter_type=kind,
                     downscale_factor=8)  # fmt: skip
    for name, parameter in net.named_parameters():
        if name.endswith("block2.weight"):
            torch.nn.init.normal_(parameter, std=0.2)
    return net


def adapter_xl(seed: int, channels=(16, 32, 32, 32)) -> T2IAdapter:
    """As the public ones for SDXL: four maps, the last for the UNet's middle, of 16 × 16 pixels."""
    torch.manual_seed(seed)
    net = T2IAdapter(3, list(channels), 1, downscale_factor=16, adapter_type="full_adapter_xl")
    for name, parameter in net.named_parameters():
        if name.endswith("block2.weight"):
            torch.nn.init.normal_(parameter, std=0.2)
    return net


def three_levels(folder: Path) -> UNet2DConditionModel:
    """Gives the SDXL twin in ``folder`` a UNet with as many levels as SDXL's own."""
    pipe = StableDiffusionXLPipeline.from_pretrained(folder)
    torch.manual_seed(9)
    unet = UNet2DConditionModel.from_config(
        pipe.unet.config,
        block_out_channels=(16, 32, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 1),
        attention_head_dim=(2, 4, 4),
    )
    unet.save_pretrained(folder / "unet")
    return unet


@pytest.fixture(scope="session")
def home(tmp_path_factory, twin_folder) -> Path:
    home = tmp_path_factory.mktemp("steered")
    for name, family in ((BASE, "sd1"), (SECOND_BASE, "sd2"), (LARGE_BASE, "sdxl")):
        shutil.copytree(twin_folder(family), home / "models" / name)
    unet = StableDiffusionPipeline.from_pretrained(home / "models" / BASE).unet
    second = StableDiffusionPipeline.from_pretrained(home / "models" / SECOND_BASE).unet
    large = three_levels(home / "models" / LARGE_BASE)
    torch.manual_seed(1)
    hint = (8, 8, 8, 8)
    models = {
        "fresh": ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=hint),
        "net-a": awake(
            ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=hint), 2
        ),
        "net-b": awake(
            ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=hint), 3
        ),
        "swapped": awake(ControlNetModel.from_unet(unet, "bgr", hint), 2),
        "net-xl": awake(
            ControlNetModel.from_unet(large, conditioning_embedding_out_channels=hint), 4
        ),
        "net-2": awake(
            ControlNetModel.from_unet(second, conditioning_embedding_out_channels=hint), 13
        ),
        "adapter-a": adapter(5),
        "adapter-b": adapter(6),
        "adapter-grey": adapter(7, in_channels=1),
        "adapter-wide": adapter(8, channels=(24, 48)),
        "adapter-xl": adapter_xl(10),
        "adapter-xl-b": adapter_xl(11),
        "adapter-xl-wide": adapter_xl(12, channels=(16, 32, 32, 48)),
    }
    for name, model in models.items():
        model.save_pretrained(home / "control" / name)
    return home


@pytest.fixture(scope="session")
def control_cache(home) -> ModelCache:
    loader = Loader(Catalog(home), home, offline=True, budget_bytes=2**30)
    return ModelCache(loader.load, device="cpu", budget_bytes=2**30)


def scribble(size=(64, 64)) -> Image.Image:
    picture = Image.new("RGB", size)
    pen = ImageDraw.Draw(picture)
    pen.ellipse((10, 8, 50, 44), outline="white", width=3)
    pen.line((5, 60, 60, 50), fill=(255, 120, 0), width=4)
    return picture


@pytest.fixture(scope="session")
def sketch(home) -> str:
    """The id of a drawing that is its own map."""
    return keep_input(home, "local", scribble())
