"""From a catalog entry to a ControlNet or T2I-Adapter on a device."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, T2IAdapter

from pipelines.core.cache import Notes
from pipelines.core.devices import dtype_for, empty_cache, is_out_of_memory, out_of_memory
from pipelines.core.errors import Unavailable
from pipelines.core.messages import Message
from pipelines.core.paths import ASSETS, HUB_FOLDER
from pipelines.diffusion.control.catalog import ControlEntry
from pipelines.diffusion.control.original_adapter import from_original
from pipelines.diffusion.loading import unreadable_files_named
from pipelines.diffusion.openvino.rows import computes_here
from pipelines.diffusion.openvino.steering import OpenVINOControlNet
from pipelines.diffusion.openvino.unet import LARGEST_BYTES, SMALLEST_BYTES
from pipelines.diffusion.single_file import CONFIGS
from pipelines.models.downloads import fetch_files


class ControlModel:
    """A ControlNet or T2I-Adapter; what :class:`pipelines.core.cache.ModelCache` keeps.

    A ControlNet's hint encoder does not see the noise, so it is taken off the network and run once
    a picture; diffusers' own pipelines run it at every step.

    Attributes:
        entry: the catalog's entry.
        net: the ControlNet without its hint encoder, its fast stand-in, or the T2I-Adapter.
        config: the network's config.
        adds_nothing: a ControlNet as it is before its training, which would only cost time, and
            whose zeros would round what they are added to.
        device, dtype: where it is, and of its weights.
    """

    def __init__(self, entry: ControlEntry, net: Any, device: str) -> None:
        self.entry = entry
        self.config = net.config
        self.dtype = net.dtype
        self.device = device
        self._net = net.to(device).eval().requires_grad_(False)
        self._hint_encoder: torch.nn.Module | None = None
        self.adds_nothing = isinstance(net, ControlNetModel) and _is_fresh(net)
        if isinstance(net, ControlNetModel):
            self._hint_encoder = net.controlnet_cond_embedding
            net.controlnet_cond_embedding = torch.nn.Identity()
        self._fast: OpenVINOControlNet | None = None

    @property
    def net(self) -> Any:
        return self._fast or self._net

    def accelerate(self, folder: Path) -> None:
        """Let a ControlNet run through OpenVINO where that pays."""
        size = sum(parameter.nbytes for parameter in self._net.parameters())
        if (
            self.device == "cpu"
            and not self.adds_nothing
            and self._hint_encoder is not None
            and self.config.addition_embed_type is None
            and not self.config.global_pool_conditions
            and SMALLEST_BYTES <= size <= LARGEST_BYTES
            and computes_here()
        ):
            self._fast = OpenVINOControlNet(self._net, folder)

    @torch.inference_mode()
    def features(self, condition: torch.Tensor) -> Any:
        """What the network makes of a map, once a picture.

        Args:
            condition: float32 (1, 3, H, W) in [0, 1].

        Returns:
            Of a ControlNet the hint (1, C, H/8, W/8), of an adapter its maps, coarser and coarser,
            and of one for SDXL last what is added in the UNet's middle.
        """
        condition = condition.to(self.device, self.dtype)
        if self._hint_encoder is None:
            if self.config.in_channels == 1:  # sketch and canny adapters read grey
                condition = condition.mean(1, keepdim=True)
            return self._net(_to_multiples(condition, self.config.downscale_factor))
        swapped = self.config.controlnet_conditioning_channel_order == "bgr"
        hint = self._hint_encoder(condition.flip(1) if swapped else condition)
        return hint.flip(1) if swapped else hint  # the network will turn it round once more

    @property
    def nbytes(self) -> int:
        parts = [part for part in (self._net, self._hint_encoder) if part is not None]
        own = sum(t.nbytes for part in parts for t in {*part.parameters(), *part.buffers()})
        return own + (self._fast.nbytes if self._fast else 0)

    def to(self, device: str) -> None:
        self._net.to(device)
        if self._hint_encoder is not None:
            self._hint_encoder.to(device)
        left, self.device = self.device, device
        empty_cache(left)

    def close(self) -> None:
        self._net = self._hint_encoder = self._fast = None
        gc.collect()
        empty_cache(self.device)


def _is_fresh(net: ControlNetModel) -> bool:
    """Whether the convolutions through which all that it adds goes are zero still."""
    layers = [*net.controlnet_down_blocks, net.controlnet_mid_block]
    return not any(parameter.any() for layer in layers for parameter in layer.parameters())


def _to_multiples(condition: torch.Tensor, factor: int) -> torch.Tensor:
    """Goes on beyond the right and lower edges as it ends there, to sides that ``factor`` divides.

    Adapters for SDXL take squares of 16 pixels, and sizes go by 8. The UNet's levels round up too,
    so the maps are as large as what they are added to.
    """
    down, right = (-side % factor for side in condition.shape[-2:])
    if not down and not right:
        return condition
    return torch.nn.functional.pad(condition, (0, right, 0, down), mode="replicate")


def load(
    entry: ControlEntry,
    device: str,
    notes: Notes,
    offline: bool,
    home: Path,
    configs: Path = CONFIGS,
) -> ControlModel:
    """Bring a control model to ``device``, downloading it first if need be.

    Args:
        configs: per family a folder with the configs that single files lack.

    Raises:
        Unavailable: its files are not here and cannot be had.
        OutOfMemory: the device's memory does not suffice.
    """
    weights = _weights_file(entry, home, notes, offline)
    notes(Message("Loading {model}", model=entry.title), None)
    try:
        with unreadable_files_named(entry.title):
            network = _network(entry, weights, dtype_for(device), configs)
        model = ControlModel(entry, network, device)
        model.accelerate(home / "models" / ".openvino")
        return model
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise out_of_memory(error, device, entry.title) from error
        raise


def _weights_file(entry: ControlEntry, home: Path, notes: Notes, offline: bool) -> Path:
    source = entry.source
    if source.hub is not None:
        files = dict.fromkeys(entry.files)  # no hashes are known
        folder = fetch_files(
            source.hub,
            files,
            entry.title,
            entry.download_bytes,
            home / HUB_FOLDER,
            notes,
            offline,
        )
        return folder / entry.weights
    if source.file is not None:
        return source.file
    folder = source.folder or ASSETS / source.asset
    weights = next(iter(sorted(folder.glob("*.safetensors"))), None)
    if weights is None or not (folder / "config.json").is_file():
        raise Unavailable(
            "The files of {model} are not here: {folder} has no config.json with weights.",
            model=entry.title,
            folder=folder.name,
        )
    return weights


def _network(entry: ControlEntry, weights: Path, dtype: torch.dtype, configs: Path) -> Any:
    if entry.source.file is not None and entry.method == "controlnet":
        return _single_file(weights, configs / entry.family / "controlnet", dtype)
    if entry.source.file is not None or not (weights.parent / "config.json").is_file():
        return from_original(weights, dtype)
    kind = ControlNetModel if entry.method == "controlnet" else T2IAdapter
    return kind.from_pretrained(
        weights.parent,
        dtype=dtype,
        variant="fp16" if weights.name.endswith(".fp16.safetensors") else None,
        use_safetensors=True,
        local_files_only=True,
    )


def _single_file(weights: Path, config: Path, dtype: torch.dtype) -> ControlNetModel:
    try:
        return ControlNetModel.from_single_file(
            str(weights), config=str(config), dtype=dtype, local_files_only=True
        )
    except (NotImplementedError, LookupError, ValueError) as error:  # some weights are missing
        raise Unavailable(
            "{file} is not a ControlNet that Atelier can read.", file=weights.name
        ) from error


def expected_bytes(entry: ControlEntry, device: str) -> int:
    """What :func:`load` will take on ``device``: float32 doubles it."""
    return entry.memory_bytes * (1 if device.startswith("cuda") else 2)
