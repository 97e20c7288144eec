"""OpenVINO without its statistics: ``from pipelines.core.quiet_openvino import openvino``.

Its model converter reports each conversion to a web service and notes that in the person's home,
unless that package is missing. Nothing leaves this machine by itself, so here it always is.
"""

from __future__ import annotations

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # importing it fails

import openvino  # noqa: E402

__all__ = ["openvino"]
