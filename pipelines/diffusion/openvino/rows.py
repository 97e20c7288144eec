"""A network on a CPU through OpenVINO: about a quarter of PyTorch's time, where it is small.

Every row of a batch is an inference of its own, usually two of them at a time on half of the cores
each.
For a UNet and the two halves of guidance that is faster than all cores on a batch (by 8 % on two
cores) or on one after the other (by 25 %), a picture is the same alone and in a batch, and there is
one network for all batch sizes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.core.limits import available_cores
from pipelines.diffusion.openvino.topology import (
    convert,
    topology_of,
    without_origin,
    write_network,
)

STREAMS = min(2, available_cores())
"""Rows at a time. The same for a single row: rounding depends on the number of threads."""
_KEPT_SIZES = 4
_log = logging.getLogger(__name__)


class RowNetwork:
    """A PyTorch module as an OpenVINO network.

    Args:
        module: takes tensors, gives a tensor or a tuple of tensors; float32, on the CPU. All that
            determines what it computes is in its ``state_dict`` and ``facts``.
        example: inputs of one row, by which it is traced. Tensors without dimensions are the same
            for all rows.
        facts: what tells apart networks of the same weights: the kind of module, its config.
        folder: where converted networks are kept; made if missing.
        precision: ``"f32"`` or ``"bf16"``; None takes bf16 where the CPU computes in it.
        on_converting: as :func:`convert_or_load` takes it.
        streams: rows at a time.
        sizes: for how many sizes it is kept compiled, each with a copy of the weights.

    Attributes:
        network: the ``openvino.Model``, not compiled, of free sizes.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        example: Sequence[torch.Tensor],
        facts: dict[str, Any],
        folder: Path,
        precision: str | None = None,
        on_converting: Callable[[], None] = lambda: None,
        streams: int = STREAMS,
        sizes: int = _KEPT_SIZES,
    ) -> None:
        network = convert_or_load(module, tuple(example), facts, folder, on_converting)
        weight_bytes = sum(parameter.nbytes for parameter in module.parameters())
        self._begin(network, weight_bytes, precision, streams, sizes)

    @classmethod
    def of(
        cls,
        network: Any,
        weight_bytes: int,
        precision: str | None = None,
        streams: int = STREAMS,
        sizes: int = _KEPT_SIZES,
    ) -> RowNetwork:
        """One whose network (an ``openvino.Model`` with free sizes) is there already."""
        rows = cls.__new__(cls)
        rows._begin(network, weight_bytes, precision, streams, sizes)
        return rows

    def _begin(
        self,
        network: Any,
        weight_bytes: int,
        precision: str | None,
        streams: int,
        sizes: int,
    ) -> None:
        from pipelines.core.quiet_openvino import openvino

        self._core = openvino.Core()
        self.network, self._weight_bytes = network, weight_bytes
        self._compiled: dict[tuple[Any, ...], list[Any]] = {}
        self._streams, self._sizes = streams, sizes
        self._options = {"NUM_STREAMS": str(streams)}
        if precision:
            self._options["INFERENCE_PRECISION_HINT"] = precision

    @property
    def nbytes(self) -> int:
        """Bytes of the compiled copies of the weights; bf16 ones count as if they were float32."""
        return max(1, len(self._compiled)) * self._weight_bytes

    def forget_compiled(self) -> None:
        """Lets go of all that was compiled; the next call compiles anew."""
        self._compiled.clear()

    def is_ready(self, shape: Sequence[int]) -> bool:
        """Whether it has been made for first inputs of a row of this shape, which takes long."""
        return any(shapes[0] == tuple(shape) for shapes in self._compiled)

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Inputs with a leading dimension of rows, of 1, or none, to outputs with rows; float32."""
        arrays = [tensor.detach().float().contiguous().numpy() for tensor in inputs]
        rows = max(len(array) for array in arrays if array.ndim)
        shapes = tuple(array.shape[1:] if array.ndim else None for array in arrays)
        requests = self._requests(shapes)
        done: list[list[torch.Tensor]] = []
        while len(done) < rows:
            started = requests[: rows - len(done)]
            for i, request in enumerate(started, start=len(done)):
                request.start_async([_row(array, i) for array in arrays])
            for request in started:
                request.wait()
                outputs = [tensor.data.copy() for tensor in request.output_tensors]
                done.append([torch.from_numpy(output) for output in outputs])
        return tuple(torch.cat(parts) for parts in zip(*done, strict=True))

    def _requests(self, shapes: tuple[tuple[int, ...] | None, ...]) -> list[Any]:
        """What infers one row each, all at a time; those of the last sizes are kept."""
        from pipelines.core.quiet_openvino import openvino

        if shapes not in self._compiled:
            network = self.network.clone()
            network.reshape(
                {
                    i: openvino.PartialShape([] if shape is None else [1, *shape])
                    for i, shape in enumerate(shapes)
                }
            )
            compiled = self._core.compile_model(network, "CPU", self._options)
            while len(self._compiled) >= self._sizes:
                self._compiled.pop(next(iter(self._compiled)))
            self._compiled[shapes] = [compiled.create_infer_request() for _ in range(self._streams)]
        return self._compiled[shapes]


def computes_here() -> bool:
    """Whether networks can be compiled on this processor; it takes a moment the first time."""
    from pipelines.core import quiet_openvino

    return quiet_openvino.computes_here()


def _row(array: np.ndarray, i: int) -> np.ndarray:
    return array[i : i + 1] if array.ndim and len(array) > 1 else array


def convert_or_load(
    module: torch.nn.Module,
    example: tuple[torch.Tensor, ...],
    facts: dict[str, Any],
    folder: Path,
    on_converting: Callable[[], None] = lambda: None,
) -> Any:
    """The module as an OpenVINO network of free sizes: from ``folder``, or made and kept there.

    What is kept and cannot be read is made again; what cannot be kept serves all the same.

    Args:
        on_converting: called before what takes long: neither the network is there, nor a topology
            that its weights could be written into.
    """
    from pipelines.core.quiet_openvino import openvino

    facts = without_origin(facts)
    path = folder / f"{_fingerprint(module, facts, openvino.__version__)}.xml"
    core, network = openvino.Core(), None
    if path.exists():
        try:
            return core.read_model(path)
        except RuntimeError as error:  # such as after a disk that was full
            _log.warning("the network %s is damaged and made again: %s", path.name, error)
    topology = topology_of(module, facts)
    if topology is None:
        on_converting()
        network = convert(module, example)
    part = folder / f"{path.stem}.{os.getpid()}.xml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if network is None:
            write_network(topology, module, part)
        else:
            openvino.save_model(network, part, compress_to_fp16=False)
        os.replace(part.with_suffix(".bin"), path.with_suffix(".bin"))
        os.replace(part, path)  # last: a network is there only when it is whole
        return core.read_model(path)
    except (RuntimeError, OSError) as error:
        _log.warning("the network %s is not kept: %s", path.name, error)
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
            part.with_suffix(".bin").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        return convert(module, example) if network is None else network


def _fingerprint(module: torch.nn.Module, facts: dict[str, Any], version: str) -> str:
    """Names a network by what it was made of: weights, facts, versions."""
    digest = hashlib.sha256(f"{version} {torch.__version__}".encode())
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().contiguous().numpy())
    return digest.hexdigest()[:24]
