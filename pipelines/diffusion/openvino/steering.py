"""Small ControlNets and T2I-Adapters on a CPU, joined with their UNet into one OpenVINO network.

Handing a ControlNet's residuals from one network to another costs more than the ControlNet itself:
they are copied out, weighted and copied in again at every evaluation, and each of the two networks
waits for its slowest row. So the networks' graphs are joined, the residuals' weights are an input,
and nothing but the prediction comes out.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from pipelines.diffusion.openvino.rows import RowNetwork, convert_or_load

ToConvert = tuple[torch.nn.Module, tuple[torch.Tensor, ...], dict[str, Any]]
"""A module, its inputs of one row and its facts, as :class:`RowNetwork` takes them."""

TRACED_SIDE = 16  # of latents; the networks take other sizes
_KEPT_JOINTS = 4
"""Combinations of ControlNets and adapters whose networks are kept; one takes seconds to make."""


class OpenVINOControlNet:
    """Stands in for a ``ControlNetModel`` whose hint encoder has been taken off.

    Args:
        net: called with the hint's features as ``controlnet_cond``; on the CPU.
        folder, precision: as :class:`RowNetwork` takes them.
    """

    def __init__(self, net: ControlNetModel, folder: Path, precision: str | None = None) -> None:
        self.net = net
        self._network = RowNetwork(*controlnet_to_convert(net), folder, precision)
        self.weight_bytes = sum(parameter.nbytes for parameter in net.parameters())

    @property
    def nbytes(self) -> int:
        return self._network.nbytes

    @property
    def residuals(self) -> int:
        """How many tensors it gives."""
        return len(self.network.outputs)

    @property
    def network(self) -> Any:
        """Its ``openvino.Model``: sample, timestep, text, hint → residuals."""
        return self._network.network

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


@dataclass(frozen=True, slots=True)
class Control:
    """A ControlNet at work in one evaluation of the UNet.

    Attributes:
        net: the ControlNet.
        hint: what its hint encoder has made of the map, (B or 1, C, h, w).
        weights: of its residuals, (B, residuals): skips from shallow to deep, and last the middle.
    """

    net: OpenVINOControlNet
    hint: torch.Tensor
    weights: torch.Tensor


class SteeredUNet:
    """A UNet joined with ControlNets, with inputs for the maps of adapters, or both.

    There is one network for each combination in use; the last ones are kept while their ControlNets
    live.

    Args:
        unet, folder, precision: as :class:`OpenVINOUNet` takes them.
    """

    def __init__(
        self, unet: UNet2DConditionModel, folder: Path, precision: str | None = None
    ) -> None:
        self._unet, self._folder, self._precision = unet, folder, precision
        self._bytes = sum(parameter.nbytes for parameter in unet.parameters())
        self._open: Any = None
        self._joints: dict[tuple[Any, ...], RowNetwork] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of all compiled copies of the weights."""
        return sum(joint.nbytes for joint in list(self._joints.values()))

    @property
    def prepared(self) -> bool:
        return self._open is not None

    def is_ready(self, shape: Sequence[int]) -> bool:
        """Whether one of its networks has been made for samples of a row of this shape."""
        return any(joint.is_ready(shape) for joint in list(self._joints.values()))

    def prepare(self) -> None:
        """Converts the UNet with inputs for all residuals, or reads what was converted."""
        if self._open is None:
            self._open = convert_or_load(*steered_unet_to_convert(self._unet), self._folder)

    def __call__(
        self,
        inputs: tuple[torch.Tensor, ...],
        controls: Sequence[Control],
        maps: Sequence[torch.Tensor] | None,
    ) -> torch.Tensor:
        """The prediction (B, C, h, w), float32.

        Args:
            inputs: sample (B, C, h, w), timestep, text (B, T, D).
            controls: at most one for each ControlNet and map.
            maps: the sum of the adapters' maps, (B or 1, C, h, w) for each level; None without.
        """
        further = [tensor for each in controls for tensor in (each.hint, each.weights)]
        joint = self._joint([each.net for each in controls], maps is not None)
        return joint(*inputs, *further, *(maps or ()))[0]

    def _joint(self, nets: Sequence[OpenVINOControlNet], adapted: bool) -> RowNetwork:
        key = (*map(id, nets), adapted)
        joint = self._joints.pop(key, None)
        if joint is None:
            self.prepare()
            levels = len(self._unet.config.block_out_channels)
            network = join(self._open, levels, [net.network for net in nets], adapted)
            nbytes = self._bytes + sum(net.weight_bytes for net in nets)
            while len(self._joints) >= _KEPT_JOINTS:
                self._joints.pop(next(iter(self._joints)))
            joint = RowNetwork.of(network, nbytes, self._precision)
            for net in nets:  # another one may be given the same id
                weakref.finalize(net, self._joints.pop, key, None)
        self._joints[key] = joint  # the last one is the last to go
        return joint


def join(unet: Any, levels: int, nets: Sequence[Any], adapted: bool) -> Any:
    """One network of a UNet that is open for residuals and of the ControlNets that make them.

    Args:
        unet: sample, timestep, text, a ControlNet's residuals, an adapter's maps → prediction.
        levels: how many maps there are.
        nets: each sample, timestep, text, hint → residuals.
        adapted: whether the maps stay inputs; otherwise nothing is added in their place.

    Returns:
        An ``openvino.Model``: sample, timestep, text, for each ControlNet its hint and the weights
        of its residuals (B, residuals), the maps → prediction.
    """
    from pipelines.core.quiet_openvino import openvino

    operations = openvino.opset13

    unet = unet.clone()
    parameters = unet.get_parameters()
    shared, residuals, maps = parameters[:3], parameters[3:-levels], parameters[-levels:]
    inputs, sums = list(shared), [None] * len(residuals)
    for net in (net.clone() for net in nets):
        *same, hint = net.get_parameters()
        for theirs, ours in zip(same, shared, strict=True):
            _replace(theirs.output(0), ours.output(0))
        weights = operations.parameter([-1, len(residuals)], np.float32)
        inputs += [hint, weights]
        for i, result in enumerate(net.get_results()):
            weight = operations.gather(weights, np.array([i]), np.int64(1))
            weight = operations.reshape(weight, np.array([-1, 1, 1, 1]), special_zero=False)
            weighted = operations.multiply(result.input_value(0), weight)
            sums[i] = weighted if sums[i] is None else operations.add(sums[i], weighted)
    for residual, total in zip(residuals, sums, strict=True):
        if total is None:
            _leave_out(residual.output(0))
        else:
            _replace(residual.output(0), total.output(0))
    for each in maps:
        if not adapted:
            _leave_out(each.output(0))
    return openvino.Model(unet.get_results(), [*inputs, *(maps if adapted else ())])


def _replace(old: Any, new: Any) -> None:
    """Whatever reads ``old`` reads ``new`` from now on."""
    for reader in list(old.get_target_inputs()):
        reader.replace_source_output(new)


def _leave_out(summand: Any) -> None:
    """Sums with ``summand`` become what is added to it; adding zeros would cost time."""
    for reader in list(summand.get_target_inputs()):
        addition = reader.get_node()
        assert addition.get_type_name() == "Add", "the UNet adds residuals and maps, nothing else"
        _replace(addition.output(0), addition.input_value(1 - reader.get_index()))


def controlnet_to_convert(net: ControlNetModel) -> ToConvert:
    """A ControlNet whose hint encoder has been taken off."""
    config = net.config
    hint = torch.zeros(1, config.block_out_channels[0], TRACED_SIDE, TRACED_SIDE)
    facts = {"kind": "controlnet", **config}
    return _Control(net).float(), (*traced_inputs(config), hint), facts


def steered_unet_to_convert(unet: UNet2DConditionModel) -> ToConvert:
    """A UNet with inputs for a ControlNet's residuals and an adapter's maps."""
    config = unet.config
    example = (*traced_inputs(config), *_residuals(config, 1, (TRACED_SIDE,) * 2))
    return _Steered(unet).float(), example, {"kind": "steered unet", **config}


class _Steered(torch.nn.Module):
    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

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


def traced_inputs(config: Any) -> tuple[torch.Tensor, ...]:
    """Sample, timestep and text of one row."""
    return (
        torch.zeros(1, config.in_channels, TRACED_SIDE, TRACED_SIDE),
        torch.tensor(500.0),
        torch.zeros(1, 77, config.cross_attention_dim),
    )


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
