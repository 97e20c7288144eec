"""Stands in for a small UNet, and for its ControlNets, in the denoising loop on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from pipelines.diffusion.openvino_rows import RowNetwork

SMALLEST_BYTES = 4 * 2**20
"""Smaller UNets are left to PyTorch: converting them takes longer than they ever will."""
LARGEST_BYTES = 512 * 2**20
"""Larger UNets are left to PyTorch: a second copy of their weights would not pay."""


class OpenVINOUNet:
    """Stands in for a ``UNet2DConditionModel``, conditioned on text and control residuals only.

    Calls that the networks were not made for (SDXL's added conditions, sizes at which the UNet
    pads) go to the PyTorch UNet that they were made from.

    Args:
        unet: the model, on the CPU.
        folder: where converted networks are kept; made if missing.
        precision: as :class:`RowNetwork` takes it.
    """

    def __init__(
        self, unet: UNet2DConditionModel, folder: Path, precision: str | None = None
    ) -> None:
        self.unet = unet
        self.config = unet.config
        self._folder, self._precision = folder, precision
        self._plain = self._converted(_Plain(unet), "unet")
        self._steered: RowNetwork | None = None

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all compiled copies of the weights."""
        return self._plain.nbytes + (self._steered.nbytes if self._steered else 0)

    @property
    def can_be_steered(self) -> bool:
        """Whether the network with inputs for residuals has been made; it takes seconds."""
        return self._steered is not None

    def prepare_steering(self) -> None:
        """Makes the network that takes the residuals of ControlNets and T2I-Adapters."""
        if self._steered is None:
            self._steered = self._converted(_Steered(self.unet), "steered unet")

    def __call__(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        return_dict: bool = False,
        down_block_additional_residuals: Sequence[torch.Tensor] | None = None,
        mid_block_additional_residual: torch.Tensor | None = None,
        down_intrablock_additional_residuals: Sequence[torch.Tensor] | None = None,
        **further: Any,
    ) -> tuple[torch.Tensor]:
        """One evaluation: (B, C, h, w), scalar, (B, T, D) → ((B, C, h, w),)."""
        plain = all(value is None for value in further.values())
        inputs = (sample, timestep, encoder_hidden_states)
        if not plain or pads(self.config, sample):
            return self.unet(
                *inputs,
                return_dict=return_dict,
                down_block_additional_residuals=down_block_additional_residuals,
                mid_block_additional_residual=mid_block_additional_residual,
                down_intrablock_additional_residuals=down_intrablock_additional_residuals,
                **further,
            )
        control, adapter = down_block_additional_residuals, down_intrablock_additional_residuals
        if control is None and adapter is None:
            return (self._plain(*inputs)[0].to(sample.dtype),)
        self.prepare_steering()
        empty = _residuals(self.config, len(sample), tuple(sample.shape[-2:]))
        if control is not None:
            empty[: len(control) + 1] = [*control, mid_block_additional_residual]
        if adapter is not None:
            empty[-len(adapter) :] = adapter
        return (self._steered(*inputs, *empty)[0].to(sample.dtype),)

    def _converted(self, module: torch.nn.Module, kind: str) -> RowNetwork:
        config = self.config
        side = config.sample_size
        example = [
            torch.zeros(1, config.in_channels, side, side),
            torch.tensor(500.0),
            torch.zeros(1, 77, config.cross_attention_dim),
        ]
        if isinstance(module, _Steered):
            example += _residuals(config, 1, (side, side))
        facts = {"kind": kind, **config}
        return RowNetwork(module.float(), example, facts, self._folder, self._precision)


class OpenVINOControlNet:
    """Stands in for a ``ControlNetModel`` whose hint encoder has been taken off.

    Args:
        net: called with the hint's features as ``controlnet_cond``; on the CPU.
        folder, precision: as :class:`OpenVINOUNet` takes them.
    """

    def __init__(self, net: ControlNetModel, folder: Path, precision: str | None = None) -> None:
        self.net = net
        config = net.config
        example = (
            torch.zeros(1, config.in_channels, 16, 16),
            torch.tensor(500.0),
            torch.zeros(1, 77, config.cross_attention_dim),
            torch.zeros(1, config.block_out_channels[0], 16, 16),
        )
        facts = {"kind": "controlnet", **config}
        self._network = RowNetwork(_Control(net).float(), example, facts, folder, precision)

    @property
    def nbytes(self) -> int:
        return self._network.nbytes

    def __call__(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        controlnet_cond: torch.Tensor,
        return_dict: bool = False,
        **further: Any,
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Residuals of the down blocks and of the mid block."""
        inputs = (sample, timestep, encoder_hidden_states, controlnet_cond)
        plain = all(value is None for value in further.values())
        if not plain or pads(self.net.config, sample):
            return self.net(*inputs, return_dict=return_dict, **further)
        *down, mid = self._network(*inputs)
        return down, mid


class _Plain(torch.nn.Module):
    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, sample, timestep, text):
        return self.unet(sample, timestep, text, return_dict=False)[0]


class _Steered(_Plain):
    def forward(self, sample, timestep, text, *residuals):
        levels = len(self.unet.config.block_out_channels)
        *down, mid = residuals[:-levels]
        return self.unet(
            sample,
            timestep,
            text,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
            down_intrablock_additional_residuals=list(residuals[-levels:]),
            return_dict=False,
        )[0]


class _Control(torch.nn.Module):
    def __init__(self, net: ControlNetModel) -> None:
        super().__init__()
        self.net = net

    def forward(self, sample, timestep, text, hint):
        down, mid = self.net(sample, timestep, text, hint, return_dict=False)
        return (*down, mid)


def _residuals(config: Any, rows: int, size: tuple[int, int]) -> list[torch.Tensor]:
    """Zeros in the shapes of a ControlNet's residuals, down and mid, and of an adapter's maps."""
    channels, (height, width) = config.block_out_channels, size
    control = [torch.zeros(rows, channels[0], height, width)]
    adapter = []
    for level, width_of_level in enumerate(channels):
        shape = (rows, width_of_level, height >> level, width >> level)
        control += [torch.zeros(shape) for _ in range(config.layers_per_block)]
        adapter.append(torch.zeros(shape))
        if level + 1 < len(channels):
            half = (rows, width_of_level, height >> (level + 1), width >> (level + 1))
            control.append(torch.zeros(half))
    return [*control, torch.zeros(shape), *adapter]


def pads(config: Any, sample: torch.Tensor) -> bool:
    """Whether sizes are odd on the way down: there the UNet computes what a trace would freeze."""
    factor = 2 ** (len(config.block_out_channels) - 1)
    return any(side % factor for side in sample.shape[-2:])


def worth_it(unet: torch.nn.Module, device: str) -> bool:
    """Whether this UNet should run through OpenVINO: on a CPU, small, and plainly conditioned."""
    return (
        device == "cpu"
        and isinstance(unet, UNet2DConditionModel)
        and unet.config.addition_embed_type is None
        and unet.config.time_cond_proj_dim is None
        and SMALLEST_BYTES <= sum(p.nbytes for p in unet.parameters()) <= LARGEST_BYTES
    )
