"""A small UNet on a CPU through OpenVINO: about a quarter of PyTorch's time a step.

Every picture of a batch, and both halves of classifier-free guidance, are an inference of their
own, two of them at a time on half of the cores each. That is faster than all cores on a batch
(by 8 % on two cores) or on one after the other (by 25 %), a picture is the same alone and in a
batch, and there is one network for all batch sizes.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel

SMALLEST_BYTES = 4 * 2**20
"""Smaller UNets are left to PyTorch: converting them takes longer than they ever will."""
LARGEST_BYTES = 512 * 2**20
"""Larger UNets are left to PyTorch: a second copy of their weights would not pay."""
STREAMS = min(2, os.cpu_count() or 1)
"""Rows at a time. The same for a single row: rounding depends on the number of threads."""


class OpenVINOUNet:
    """Stands in for a ``UNet2DConditionModel`` in the denoising loop, text-conditioned only.

    Calls that OpenVINO's network was not made for (control residuals, SDXL's added conditions,
    sizes at which the UNet pads) go to the PyTorch UNet that it was made from.

    Args:
        unet: the model, on the CPU.
        folder: where converted networks are kept; made if missing.
        precision: ``"f32"`` or ``"bf16"``; None takes bf16 where the CPU computes in it.
    """

    def __init__(
        self, unet: UNet2DConditionModel, folder: Path, precision: str | None = None
    ) -> None:
        import openvino

        self.unet = unet
        self.config = unet.config
        self._core = openvino.Core()
        self._network = _converted(unet, folder)
        self._compiled: dict[tuple[int, ...], Sequence[Any]] = {}
        self._options = {"NUM_STREAMS": str(STREAMS)}
        if precision:
            self._options["INFERENCE_PRECISION_HINT"] = precision
        # At other sizes the UNet computes the sizes of its upsampling, which a trace freezes.
        self._factor = 2 ** (len(unet.config.block_out_channels) - 1)

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the compiled copies of the weights; bf16 ones count as if they were float32."""
        copies = max(1, len(self._compiled))
        return copies * sum(parameter.nbytes for parameter in self.unet.parameters())

    def __call__(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        return_dict: bool = False,
        **further: Any,
    ) -> tuple[torch.Tensor]:
        """One evaluation: (B, C, h, w), scalar or (B,), (B, T, D) → ((B, C, h, w),)."""
        height, width = sample.shape[-2:]
        plain = all(value is None for value in further.values())
        if not plain or height % self._factor or width % self._factor:
            return self.unet(
                sample, timestep, encoder_hidden_states, return_dict=return_dict, **further
            )
        samples = sample.float().contiguous().numpy()
        texts = encoder_hidden_states.float().contiguous().numpy()
        times = np.broadcast_to(timestep.detach().numpy().astype(np.float32), len(samples))
        requests = self._requests(samples.shape[1:], texts.shape[1:])
        rows: list[torch.Tensor] = []
        while len(rows) < len(samples):
            started = []
            for i, request in enumerate(requests[: len(samples) - len(rows)], start=len(rows)):
                request.start_async([samples[i : i + 1], times[i], texts[i : i + 1]])
                started.append(request)
            for request in started:
                request.wait()
                rows.append(torch.from_numpy(request.get_output_tensor().data.copy()))
        return (torch.cat(rows).to(sample.dtype),)

    def _requests(self, sample: tuple[int, ...], text: tuple[int, ...]) -> Sequence[Any]:
        """What infers one row each, all at a time; those of the last four sizes are kept."""
        import openvino

        key = (*sample, *text)
        if key not in self._compiled:
            network = self._network.clone()
            network.reshape(
                {
                    0: openvino.PartialShape([1, *sample]),
                    1: openvino.PartialShape([]),
                    2: openvino.PartialShape([1, *text]),
                }
            )
            compiled = self._core.compile_model(network, "CPU", self._options)
            while len(self._compiled) >= 4:
                self._compiled.pop(next(iter(self._compiled)))
            self._compiled[key] = [compiled.create_infer_request() for _ in range(STREAMS)]
        return self._compiled[key]


class _Traceable(torch.nn.Module):
    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, sample, timestep, text):
        return self.unet(sample, timestep, text, return_dict=False)[0]


def _converted(unet: UNet2DConditionModel, folder: Path) -> Any:
    """The UNet as an OpenVINO network with free sizes: from ``folder``, or made and kept there."""
    import openvino

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_fingerprint(unet, openvino.__version__)}.xml"
    core = openvino.Core()
    if path.exists():
        return core.read_model(path)
    config = unet.config
    example = (
        torch.zeros(1, config.in_channels, config.sample_size, config.sample_size),
        torch.tensor(500.0),
        torch.zeros(1, 77, config.cross_attention_dim),
    )
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer's remarks on shapes that we keep fixed
        network = openvino.convert_model(_Traceable(unet.float()), example_input=example)
    part = folder / f"{path.stem}.{os.getpid()}.xml"
    openvino.save_model(network, part, compress_to_fp16=False)
    os.replace(part.with_suffix(".bin"), path.with_suffix(".bin"))
    os.replace(part, path)  # last: a network is there only when it is whole
    return core.read_model(path)


def _fingerprint(unet: UNet2DConditionModel, version: str) -> str:
    """Names a network by what it was made of: weights, config, versions."""
    digest = hashlib.sha256(f"{version} {torch.__version__}".encode())
    digest.update(json.dumps(dict(unet.config), sort_keys=True, default=str).encode())
    for name, tensor in sorted(unet.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().contiguous().numpy())
    return digest.hexdigest()[:24]


def worth_it(unet: torch.nn.Module, device: str) -> bool:
    """Whether this UNet should run through OpenVINO: on a CPU, small, and plainly conditioned."""
    return (
        device == "cpu"
        and isinstance(unet, UNet2DConditionModel)
        and unet.config.addition_embed_type is None
        and unet.config.time_cond_proj_dim is None
        and SMALLEST_BYTES <= sum(p.nbytes for p in unet.parameters()) <= LARGEST_BYTES
    )
