"""All units of a request at work on one batch: what they add to the UNet at each evaluation.

ControlNets run at every evaluation and add to the UNet's skip connections and middle
(https://arxiv.org/abs/2302.05543, section 3.2); T2I-Adapters run once a picture, and their maps are
added inside the encoder (https://arxiv.org/abs/2302.08453, section 3.3). The UNet takes both at
once, so any mixture of units works.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch

from pipelines.diffusion.control.loading import ControlModel
from pipelines.diffusion.control.requests import ControlUnit
from pipelines.diffusion.openvino.steering import Control, OpenVINOControlNet
from pipelines.diffusion.openvino.unet import OpenVINOUNet


@dataclass(frozen=True, slots=True, eq=False)
class WorkingUnit:
    """A unit with its model and with what the model has made of its map.

    Attributes:
        features: from :meth:`ControlModel.features`, one row.
    """

    unit: ControlUnit
    model: ControlModel
    features: Any


class Steering:
    """The hook of :class:`pipelines.diffusion.denoise.GuidedUNet`; made anew for each batch.

    Args:
        units: those of weight 0, and of models that add nothing, are left out.
        total: evaluations of the UNet in all.
        unet: which is steered, or its stand-in; one that computes ControlNets along is handed them.
    """

    def __init__(self, units: Sequence[WorkingUnit], total: int, unet: Any) -> None:
        units = [each for each in units if each.unit.weight > 0 and not each.model.adds_nothing]
        self._nets = [each for each in units if each.model.entry.method == "controlnet"]
        self._adapters = [each for each in units if each.model.entry.method == "t2i_adapter"]
        self._total, self._unet = total, unet
        self._dtype = unet.dtype  # asked once: it looks through all parameters
        self._index = 0
        self._arguments: dict[tuple[frozenset[int], bool], dict[str, Any]] = {}
        self._joined = (
            isinstance(unet, OpenVINOUNet)
            and all(isinstance(each.model.net, OpenVINOControlNet) for each in self._nets)
            and all(
                len(each.features) == len(unet.config.block_out_channels) for each in self._adapters
            )
        )

    def __call__(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        arguments: dict[str, Any],
        guided: bool,
    ) -> dict[str, Any]:
        index, self._index = self._index, self._index + 1
        further: dict[str, Any] = {}
        nets = [each for each in self._nets if _net_active(each.unit, index, self._total)]
        adapters = [each for each in self._adapters if _adapter_active(each, index, self._total)]
        if self._joined and self._unet.joins(sample):
            return self._joined_arguments(nets, adapters, len(sample), guided)
        if nets:
            residuals = [
                self._residuals(each, sample, timestep, arguments, guided) for each in nets
            ]
            *down, mid = [sum(parts) for parts in zip(*residuals, strict=True)]
            further["down_block_additional_residuals"] = down
            further["mid_block_additional_residual"] = mid
        if adapters:
            # A new list at each evaluation: the UNet empties it.
            maps = [each.expand(len(sample), -1, -1, -1).clone() for each in _maps(adapters)]
            further["down_intrablock_additional_residuals"] = [
                each.to(self._dtype) for each in maps
            ]
        return further

    def _joined_arguments(
        self,
        nets: Sequence[WorkingUnit],
        adapters: Sequence[WorkingUnit],
        rows: int,
        guided: bool,
    ) -> dict[str, Any]:
        """For a UNet that computes ControlNets along.

        All units are in them, inactive ones with weight 0: other combinations of networks take
        seconds to make. They are made anew only when other units are active: tensor operations
        between the networks' evaluations leave PyTorch's threads spinning on OpenVINO's cores,
        which took a quarter of the time.
        """
        if not nets and not adapters:
            return {}
        active = frozenset(map(id, (*nets, *adapters)))
        if (active, guided) not in self._arguments:
            arguments: dict[str, Any] = {
                "controls": [self._control(each, each in nets, rows, guided) for each in self._nets]
            }
            if self._adapters:
                maps = _maps(self._adapters, active)
                arguments["down_intrablock_additional_residuals"] = maps
            self._arguments[active, guided] = arguments
        return self._arguments[active, guided]

    @staticmethod
    def _conditional_only(each: WorkingUnit, guided: bool) -> bool:
        pooled = each.model.config.global_pool_conditions
        return guided and (each.unit.control_mode == "control" or pooled)

    def _weights(self, each: WorkingUnit, count: int) -> torch.Tensor:
        """(count,): of the skips from shallow to deep, and last of the middle."""
        unit = each.unit
        if unit.control_mode != "balanced" and not each.model.config.global_pool_conditions:
            # "guess mode": the finest skips count least
            return torch.logspace(-1, 0, count) * unit.weight
        return torch.full((count,), unit.weight)

    def _control(self, each: WorkingUnit, active: bool, rows: int, guided: bool) -> Control:
        weights = self._weights(each, each.model.net.residuals).repeat(rows, 1)
        if not active:
            weights[:] = 0
        elif self._conditional_only(each, guided):
            weights[: rows // 2] = 0
        return Control(each.model.net, each.features, weights)

    def _residuals(
        self,
        each: WorkingUnit,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        arguments: dict[str, Any],
        guided: bool,
    ) -> list[torch.Tensor]:
        """What one ControlNet adds: to the skips from shallow to deep, and last to the middle."""
        model, conditional_only = each.model, self._conditional_only(each, guided)
        first = len(sample) // 2 if conditional_only else 0
        net_sample = sample[first:]
        text = arguments["encoder_hidden_states"][first:]
        added = arguments.get("added_cond_kwargs")
        if added is not None:
            added = {name: value[first:] for name, value in added.items()}
        down, mid = model.net(
            net_sample.to(model.dtype),
            timestep,
            encoder_hidden_states=text.to(model.dtype),
            controlnet_cond=each.features.expand(len(net_sample), -1, -1, -1),
            added_cond_kwargs=added,
            return_dict=False,
        )
        residuals = [*down, mid]
        weights = self._weights(each, len(residuals))
        scaled = [
            (residual * weight).to(self._dtype)
            for residual, weight in zip(residuals, weights.tolist(), strict=True)
        ]
        if conditional_only:
            scaled = [torch.cat([torch.zeros_like(each), each]) for each in scaled]
        return scaled


def _maps(
    adapters: Sequence[WorkingUnit], active: Collection[int] | None = None
) -> list[torch.Tensor]:
    """The weighted sum of the adapters' maps, one row each; ``active``: ids of those that count.

    Not all adapters have as many maps: there may be none for the UNet's deepest level or middle.
    """
    weighted = []
    for each in adapters:
        weight = each.unit.weight if active is None or id(each) in active else 0.0
        weighted.append([feature * weight for feature in each.features])
    return [sum(part for part in parts if part is not None) for parts in zip_longest(*weighted)]


def _net_active(unit: ControlUnit, index: int, total: int) -> bool:
    """diffusers' ``control_guidance_start`` and ``_end``: the whole evaluation lies between."""
    return index / total >= unit.start and (index + 1) / total <= unit.end


def _adapter_active(each: WorkingUnit, index: int, total: int) -> bool:
    """diffusers' ``adapter_conditioning_factor`` at the end, and its like at the start."""
    return total * each.unit.start <= index < int(total * each.unit.end)
