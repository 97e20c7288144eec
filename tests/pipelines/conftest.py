"""What tests of several pipelines need."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from tests.prepared import prepared_folder


@pytest.fixture(scope="session")
def small_unet() -> UNet2DConditionModel:
    """A random UNet of two levels that reads text of width 24; treat it as read-only."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=24,
        attention_head_dim=2,
        norm_num_groups=8,
    ).eval()


@pytest.fixture(scope="session")
def networks() -> Path:
    """Where what has been converted for OpenVINO is kept from one run to the next.

    A network is called by its weights, too: another random one is none of those that lie here.
    """
    return prepared_folder("networks", "pipelines/diffusion/openvino/*.py")
