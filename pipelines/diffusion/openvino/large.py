"""Large UNets on a CPU: converted once, in the background, and mapped from the home folder then.

A copy of such weights is gigabytes. So a process of its own converts a UNet, at the lowest
priority, after the model has been loaded for PyTorch; and once the network is there, the model is
loaded without PyTorch's weights of the UNet. They are read when something needs them, such as a
LoRA, and given back after it.

    python -m pipelines.diffusion.openvino.large FOLDER VARIANT TARGET

converts the UNet in ``FOLDER`` to ``TARGET``; it ends when its standard input does.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from pipelines.core.child_process import LineProcess
from pipelines.core.devices import free_memory
from pipelines.diffusion.openvino.rows import RowNetwork, computes_here
from pipelines.diffusion.openvino.steering import pads
from pipelines.diffusion.openvino.topology import convert, library_versions, without_origin
from pipelines.diffusion.openvino.unet import LARGEST_BYTES, is_plain, unet_to_convert

CONVERTING_SHARE = 2.0
"""Free memory that converting wants, in float32 sizes of the UNet; seen with SD-Turbo's: 1.8."""
_log = logging.getLogger(__name__)
_at_work = threading.Lock()  # one at a time


def is_large(unet: torch.nn.Module, device: str) -> bool:
    """Whether this UNet is one for a network in the home folder: plain, and too large for two."""
    is_too_large = weight_bytes(unet) > LARGEST_BYTES
    return device == "cpu" and is_plain(unet) and is_too_large and computes_here()


def weight_bytes(unet: torch.nn.Module) -> int:
    """Of its weights in float32, wherever they are."""
    return sum(4 * parameter.numel() for parameter in unet.parameters())


def network_path(config: Mapping[str, Any], model_hash: str, networks: Path) -> Path:
    """Where the network of a UNet is kept.

    Args:
        config: the UNet's.
        model_hash: of its weights; to read gigabytes for a hash at each start would take seconds.
        networks: the folder of converted networks.
    """
    facts = [without_origin(config), model_hash, library_versions()]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    return networks / f"large-unet-{model_hash}-{digest[:12]}.xml"


class MappedUNet:
    """Stands in for a large UNet whose PyTorch weights are not in memory.

    Calls that the network was not made for (sizes at which the UNet pads, residuals and maps of
    control models) go to the PyTorch UNet, whose weights are read for them.

    Args:
        unet: without weights, on the meta device.
        network: its file.
        read: the UNet with its weights, read anew.
        precision: as :class:`RowNetwork` takes it.

    Raises:
        RuntimeError: the file cannot be read.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        network: Path,
        read: Callable[[], UNet2DConditionModel],
        precision: str | None = None,
    ) -> None:
        from pipelines.core.quiet_openvino import openvino

        self.unet, self.config, self._read = unet, unet.config, read
        model = openvino.Core().read_model(network)
        self._network = RowNetwork.of(model, weight_bytes(unet), precision, streams=1, sizes=1)

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the compiled weights, as if they were float32; before that, of what is to be."""
        return self._network.nbytes

    @property
    def has_weights(self) -> bool:
        """Whether PyTorch's are in memory, too."""
        return not next(self.unet.parameters()).is_meta

    def is_ready(self, shape: Sequence[int]) -> bool:
        """Whether it has been compiled for samples of a row of this shape (C, h, w)."""
        return self._network.is_ready(shape)

    def bring_weights(self) -> None:
        """Reads PyTorch's weights, where they are not in memory; the compiled ones go."""
        if not self.has_weights:
            self._network.forget_compiled()
            weights = self._read().state_dict()
            self.unet.load_state_dict(weights, assign=True)
            self.unet.requires_grad_(False)

    def give_back_weights(self) -> None:
        """Lets go of PyTorch's weights, which are as they are in the files."""
        self.unet.to("meta")

    def __call__(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        return_dict: bool = False,
        **further: Any,
    ) -> tuple[torch.Tensor]:
        """One evaluation: (B, C, h, w), scalar, (B, T, D) → ((B, C, h, w),)."""
        inputs = (sample, timestep, encoder_hidden_states)
        is_plain_call = all(value is None for value in further.values())
        if not is_plain_call or pads(self.config, sample):
            self.bring_weights()
            return self.unet(*inputs, return_dict=return_dict, **further)
        if self.has_weights:
            self.give_back_weights()
        return (self._network(*inputs)[0].to(sample.dtype),)


def convert_later(
    unet: UNet2DConditionModel, folder: Path, variant: str | None, target: Path
) -> threading.Thread | None:
    """Begins to convert the UNet in ``folder``, where memory suffices and no other is converted.

    Args:
        unet: the same, for its size.
        variant: of the file with its weights.

    Returns:
        What waits for the end; None: nothing was begun.
    """
    size = weight_bytes(unet)
    target.parent.mkdir(parents=True, exist_ok=True)
    fits = free_memory("cpu") >= CONVERTING_SHARE * size
    if not fits or shutil.disk_usage(target.parent).free < size:
        return None
    if not _at_work.acquire(blocking=False):
        return None

    def follow() -> None:
        try:
            arguments = (str(folder), variant or "", str(target))
            process = LineProcess("pipelines.diffusion.openvino.large", *arguments)
            try:
                if process.wait() != 0:
                    _log.warning("the network %s could not be made", target.name)
            finally:
                process.end()
        finally:
            _at_work.release()

    thread = threading.Thread(target=follow, name=f"convert {folder.parent.name}", daemon=True)
    thread.start()
    return thread


def write_large_network(folder: Path, variant: str | None, target: Path) -> None:
    """Converts the UNet in ``folder``; with fp16 weights where the files have no others."""
    from pipelines.core.quiet_openvino import openvino

    unet = UNet2DConditionModel.from_pretrained(
        folder, variant=variant, dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    is_half = all(torch.equal(each, each.half().float()) for each in unet.parameters())
    module, example, _ = unet_to_convert(unet.eval())
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.stem}.{os.getpid()}.xml")
    openvino.save_model(convert(module, example), part, compress_to_fp16=is_half)
    os.replace(part.with_suffix(".bin"), target.with_suffix(".bin"))
    os.replace(part, target)  # last: a network is there only when it is whole
    for other in target.parent.glob(f"{target.stem.rpartition('-')[0]}-*"):
        if other.stem != target.stem:  # of the same weights, by other versions of the libraries
            other.unlink(missing_ok=True)


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(1)


def _yield_to_others() -> None:
    """Takes the lowest priority, among all processes where the kernel groups them by session."""
    with contextlib.suppress(OSError, AttributeError):  # Windows has no such call
        os.nice(19)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("19")


def main() -> None:
    folder, variant, target = sys.argv[1:]
    _yield_to_others()
    threading.Thread(target=_end_with_input, daemon=True).start()
    write_large_network(Path(folder), variant or None, Path(target))


if __name__ == "__main__":
    main()
