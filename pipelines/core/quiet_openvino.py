"""OpenVINO without its statistics: ``from pipelines.core.quiet_openvino import openvino``.

Its model converter reports each conversion to a web service and notes that in the person's home,
unless that package is missing. Nothing leaves this machine by itself, so here it always is.
"""

from __future__ import annotations

import functools
import logging
import sys

import numpy as np

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # importing it fails

import openvino  # noqa: E402

__all__ = ["computes_here", "openvino"]

_log = logging.getLogger(__name__)


@functools.cache
def computes_here() -> bool:
    """Whether OpenVINO compiles and computes a convolution and a product on this processor.

    Some processors, and an ``ONEDNN_MAX_CPU_ISA`` in the environment, it reads a network for and
    refuses only when that is compiled. Then everything is left to PyTorch.
    """
    operations = openvino.opset13
    picture = operations.parameter([1, 4, 8, 8], np.float32)
    kernel, ones = np.ones((4, 4, 3, 3), np.float32), np.ones((8, 8), np.float32)
    sides = [1, 1]
    convolved = operations.convolution(picture, kernel, sides, sides, sides, sides)
    product = operations.matmul(convolved, ones, False, False)
    try:
        compiled = openvino.Core().compile_model(openvino.Model([product], [picture]), "CPU")
        (made,) = compiled(np.ones((1, 4, 8, 8), np.float32)).values()
    except RuntimeError as error:
        _log.warning("OpenVINO cannot compute on this processor, PyTorch does: %s", error)
        return False
    return float(made[0, 0, 4, 4]) == 2 * 24 + 6 * 36  # a row of sums, its ends at the border
