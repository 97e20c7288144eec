"""Notes how OpenVINO sees networks of the starter's shapes, so that no newcomer waits for that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from pipelines.diffusion.openvino.steering import controlnet_to_convert, steered_unet_to_convert
from pipelines.diffusion.openvino.topology import make_topology
from pipelines.diffusion.openvino.unet import unet_to_convert


def write_topologies(starter: Path) -> list[Path]:
    """Makes ``<starter>/networks`` anew for its UNet, plain and steered, and its ControlNets."""
    folder = starter / "networks"
    for old in folder.glob("*"):
        old.unlink()
    unet = _of_shape(UNet2DConditionModel, starter / "base" / "unet")
    nets = [_of_shape(ControlNetModel, path) for path in sorted(starter.glob("controlnet-*"))]
    networks = [unet_to_convert(unet), steered_unet_to_convert(unet)]
    networks += [controlnet_to_convert(without_hint_encoder(net)) for net in nets]
    return sorted({make_topology(*network, folder) for network in networks})


def _of_shape(kind: Any, folder: Path) -> Any:
    """A network with weights of its own, of the shape of that in ``folder``."""
    return kind.from_config(kind.load_config(folder)).eval()


def without_hint_encoder(net: ControlNetModel) -> ControlNetModel:
    """The ControlNet as it is converted: its hint is encoded beforehand."""
    net.controlnet_cond_embedding = torch.nn.Identity()
    return net
