"""The few lines of Python that give the same labels with scikit-learn alone."""

from __future__ import annotations

import json
from typing import Any

from pipelines.clustering import calls
from pipelines.clustering.algorithms import find
from pipelines.clustering.parameters import Parameters
from pipelines.clustering.scaling import SCALERS, Scaling

_RENUMBER = """\
# Clusters are numbered as their first points come; noise stays -1.
numbers = {-1: -1}
for label in labels.tolist():
    if label not in numbers:
        numbers[label] = len(numbers) - 1
labels = np.array([numbers[label] for label in labels.tolist()], dtype=np.int32)
"""


def python_code(
    algorithm: str, params: Parameters, seed: int, scaling: Scaling = "none", file: str = "data.csv"
) -> str:
    """Code that reads a CSV of numbers with a header and leaves ``labels`` int32 (n,).

    It starts from ``X`` where the name is there already, as in a notebook. Own centres are in the
    units of the data.

    Args:
        file: the name in the code, as a file beside it.
    """
    chosen = find(algorithm)
    call = chosen.call(params, seed)
    estimated = algorithm == "mean_shift" and params.bandwidth is None
    names = [call.name, *(["estimate_bandwidth"] if estimated else [])]
    scaler = SCALERS.get(scaling)
    lines = ["import numpy as np", f"from {call.module} import {', '.join(sorted(names))}"]
    if scaler:
        lines.append(f"from sklearn.preprocessing import {scaler}")
    lines += [
        "",
        'if "X" not in globals():',
        "    X = np.loadtxt(",
        f'        {json.dumps(file)}, delimiter=",", skiprows=1, ndmin=2, encoding="utf-8"',
        "    )",
    ]
    if scaler:
        lines += [f"scaler = {scaler}().fit(X)", "points = scaler.transform(X)"]
    else:
        lines.append("points = X")
    given = {name: _written(value) for name, value in call.arguments.items()}
    if getattr(params, "start", None) == "own":
        lines.append(f"centres = np.array({call.arguments['init']!r})")
        given["init"] = "scaler.transform(centres)" if scaler else "centres"
    if estimated:
        lines += _bandwidth(params, seed)
        given["bandwidth"] = "bandwidth"
    arguments = "".join(f"    {name}={value},\n" for name, value in given.items())
    lines += [f"model = {call.name}(\n{arguments})", "labels = model.fit_predict(points)", ""]
    return "\n".join(lines) + _RENUMBER


def _written(value: Any) -> str:
    if value == float("inf"):
        return 'float("inf")'
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _bandwidth(params: Any, seed: int) -> list[str]:
    arguments = calls.bandwidth(params, seed, calls.BANDWIDTH_POINTS)
    arguments["n_samples"] = f"min(len(points), {calls.BANDWIDTH_POINTS})"
    listed = ", ".join(f"{name}={value}" for name, value in arguments.items())
    return [
        f"bandwidth = estimate_bandwidth(points, {listed})",
        f"bandwidth = bandwidth or {calls.LEAST_BANDWIDTH} * (float(np.abs(points).max()) or 1.0)",
    ]
