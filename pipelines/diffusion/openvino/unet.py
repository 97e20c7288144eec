"""Stands in for a small UNet in the denoising loop on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from pipelines.diffusion.openvino.rows import RowNetwork, computes_here
from pipelines.diffusion.openvino.steering import (
    Control,
    SteeredUNet,
    ToConvert,
    pads,
    traced_inputs,
)

SMALLEST_BYTES = 4 * 2**20
"""Smaller UNets are left to PyTorch: converting them takes longer than they ever will."""
LARGEST_BYTES = 512 * 2**20
"""Of larger ones no second copy is held; see :mod:`pipelines.diffusion.openvino.large`."""


class OpenVINOUNet:
    """Stands in for a ``UNet2DConditionModel``, conditioned on text, ControlNets and adapters only.

    Calls that the networks were not made for (SDXL's added conditions, sizes at which the UNet
    pads, residuals from elsewhere, adapters without one map a level) go to the PyTorch UNet that
    they were made from.

    Args:
        unet: the model, on the CPU.
        folder: where converted networks are kept; made if missing.
        precision, on_converting: as :class:`RowNetwork` takes them.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        folder: Path,
        precision: str | None = None,
        on_converting: Callable[[], None] = lambda: None,
    ) -> None:
        self.unet = unet
        self.config = unet.config
        self._plain = RowNetwork(*unet_to_convert(unet), folder, precision, on_converting)
        self._steered = SteeredUNet(unet, folder, precision)

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all compiled copies of the weights."""
        return self._plain.nbytes + self._steered.nbytes

    @property
    def can_be_steered(self) -> bool:
        """Whether the network with inputs for residuals has been made; it takes seconds."""
        return self._steered.prepared

    def prepare_steering(self) -> None:
        """Makes the network into which ControlNets and T2I-Adapters are joined."""
        self._steered.prepare()

    def is_ready(self, shape: Sequence[int]) -> bool:
        """Whether a network has been made for samples of a row of this shape (C, h, w)."""
        return self._plain.is_ready(shape) or self._steered.is_ready(shape)

    def joins(self, sample: torch.Tensor) -> bool:
        """Whether ``controls`` are taken at this size."""
        return not pads(self.config, sample)

    def __call__(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        return_dict: bool = False,
        controls: Sequence[Control] = (),
        down_intrablock_additional_residuals: Sequence[torch.Tensor] | None = None,
        **further: Any,
    ) -> tuple[torch.Tensor]:
        """One evaluation: (B, C, h, w), scalar, (B, T, D) → ((B, C, h, w),).

        Args:
            controls: ControlNets to compute along, where :meth:`joins` says so.
        """
        maps = down_intrablock_additional_residuals
        inputs = (sample, timestep, encoder_hidden_states)
        plain = all(value is None for value in further.values())
        if maps is not None and len(maps) != len(self.config.block_out_channels):
            plain = False
        if not controls and (not plain or not self.joins(sample)):
            further["down_intrablock_additional_residuals"] = maps
            return self.unet(*inputs, return_dict=return_dict, **further)
        if controls or maps is not None:
            predicted = self._steered(inputs, controls, maps)
        else:
            predicted = self._plain(*inputs)[0]
        return (predicted.to(sample.dtype),)


def unet_to_convert(unet: UNet2DConditionModel) -> ToConvert:
    """A UNet that is conditioned on text alone."""
    return _Plain(unet).float(), traced_inputs(unet.config), {"kind": "unet", **unet.config}


class _Plain(torch.nn.Module):
    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, sample, timestep, text):
        return self.unet(sample, timestep, text, return_dict=False)[0]


def worth_it(unet: torch.nn.Module, device: str) -> bool:
    """Whether this UNet should run through OpenVINO: on a CPU, small, and plainly conditioned."""
    size = sum(parameter.nbytes for parameter in unet.parameters())
    fits = SMALLEST_BYTES <= size <= LARGEST_BYTES
    return device == "cpu" and is_plain(unet) and fits and computes_here()


def is_plain(unet: torch.nn.Module) -> bool:
    """Whether a module is a UNet that is conditioned on text alone."""
    return (
        isinstance(unet, UNet2DConditionModel)
        and unet.config.addition_embed_type is None
        and unet.config.time_cond_proj_dim is None
        and unet.config.in_channels == unet.config.out_channels  # no model for inpainting
    )
