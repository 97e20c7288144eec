"""The few lines of Python that give the same labels with scikit-learn alone."""

from __future__ import annotations

import json
from typing import Any

from pipelines.clustering.algorithms import calls
from pipelines.clustering.algorithms.parameters import Parameters
from pipelines.clustering.algorithms.registry import find
from pipelines.clustering.data.scaling import SCALERS, Scaling

_OWN = """
# Atelier's own {name} has run:
# from {module} import {name}
# labels = {name}(points, {arguments}).labels
# {same}
"""
_SAME = {
    "dbscan": "scikit-learn finds the same, in more time and memory.",
    "hdbscan": "scikit-learn finds the same, in more time, but where many distances are equal.",
}
_RENUMBER = """\
# Clusters are numbered as their first points come; noise stays -1.
numbers = {-1: -1}
for label in labels.tolist():
    if label not in numbers:
        numbers[label] = len(numbers) - 1
labels = np.array([numbers[label] for label in labels.tolist()], dtype=np.int32)
"""

# What is done here is the end of scikit-learn's own work, which starts from the same tree.
_MERGE = """\
# Clusters that part at less than this distance are joined again. scikit-learn 1.9 fails at that
# with NumPy 2.4 (its issue 33219); where it does not, cluster_selection_epsilon does the same.
merge_below = {merge_below}
tree = _condense_tree(model._single_linkage_tree_, {least})
children = tree["child"].tolist()
above = dict(zip(children, tree["parent"].tolist()))
parted = dict(zip(children, (1 / tree["value"]).tolist()))
sizes = dict(zip(children, tree["cluster_size"].tolist()))
root = len(points)
chosen = set()
for label in range(labels.max() + 1):
    members = np.flatnonzero(labels == label)
    cluster = above[members[0]]
    while cluster != root and sizes[cluster] != len(members):
        cluster = above[cluster]
    if cluster != root and parted[cluster] < merge_below:
        while above[cluster] != root:
            cluster = above[cluster]
            if parted[cluster] > merge_below:
                break
{whole}    chosen.add(cluster)
for point in range(len(points)):
    cluster = above[point]
    while cluster != root and cluster not in chosen:
        cluster = above[cluster]
    inside = cluster != root or (chosen == {{root}} and parted[point] <= merge_below)
    labels[point] = cluster if inside else -1
"""
_WHOLE = """\
        else:
            cluster = root
"""


def python_code(
    algorithm: str,
    params: Parameters,
    seed: int,
    scaling: Scaling = "none",
    file: str = "data.csv",
    points: int = 0,
) -> str:
    """Code that reads a CSV of numbers with a header and leaves ``labels`` int32 (n,).

    It starts from ``X`` where the name is there already, as in a notebook. Own centres are in the
    units of the data.

    Args:
        file: the name in the code, as a file beside it.
        points: how many were clustered. Where that was not done by scikit-learn, a comment says by
            what it was.
    """
    chosen = find(algorithm)
    call = chosen.call(params, seed)
    estimated = algorithm == "mean_shift" and params.bandwidth is None
    merged = algorithm == "hdbscan" and params.merge_below > 0
    names = [call.name, *(["estimate_bandwidth"] if estimated else [])]
    scaler = SCALERS.get(scaling)
    lines = ["import numpy as np", f"from {call.module} import {', '.join(sorted(names))}"]
    if merged:
        lines.append("from sklearn.cluster._hdbscan._tree import _condense_tree")
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
    if merged:
        del given["cluster_selection_epsilon"]
    arguments = "".join(f"    {name}={value},\n" for name, value in given.items())
    if (own := calls.own_call(algorithm, params, points)) is not None:
        listed = ", ".join(f"{name}={value!r}" for name, value in own.arguments.items())
        about = {"module": own.module, "name": own.name, "same": _SAME[own.name]}
        lines += _OWN.format(**about, arguments=listed).splitlines()
    lines += [f"model = {call.name}(\n{arguments})", "labels = model.fit_predict(points)", ""]
    code = "\n".join(lines)
    if merged:
        whole = _WHOLE if params.single else ""
        code += _MERGE.format(
            merge_below=params.merge_below, least=params.min_cluster_size, whole=whole
        )
    return code + _RENUMBER


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
