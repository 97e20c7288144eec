"""Tables are read, and long files written, in a process of their own.

A file of a stranger may unfold into gigabytes or take minutes; the process has a limit on both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.clustering.algorithms.base import Estimate
from pipelines.clustering.data.columns import ColumnChoice, TablePoints, pick
from pipelines.clustering.data.csv_dialect import Reading
from pipelines.clustering.data.exporting import guard, labels_csv, numbers_csv
from pipelines.clustering.data.sample_data import Dataset
from pipelines.clustering.data.tables import Table, look
from pipelines.clustering.running import call
from pipelines.clustering.wire import Array, FilePath, Labels, Matrix
from pipelines.core.errors import OutOfMemory
from studio.features.clustering.computing import HERE_NUMBERS

LIMIT_SECONDS = 300.0
_NEEDED = ("pandas",)
_FLOAT = 8  # bytes


def look_apart(
    owner: str, path: Path, reading: Reading, stop: threading.Event | None = None
) -> Table:
    """:func:`pipelines.clustering.data.tables.look`; raises as it does, and as :func:`call`."""
    found: Table = _apart(owner, _look, {"path": path, "reading": reading}, stop)
    return replace(found, path=path)  # whatever file the process names


def _look(path: FilePath, reading: Reading) -> Table:
    return look(path, reading)


def pick_apart(
    owner: str, table: Table, picking: ColumnChoice, stop: threading.Event | None = None
) -> TablePoints:
    """:func:`pipelines.clustering.data.columns.pick`; raises as it does, and as :func:`call`."""
    expected = Estimate(0, 3 * _FLOAT * table.rows * len(picking.columns))
    return _apart(owner, pick, {"table": table, "picking": picking}, stop, expected)


def write_points(
    owner: str, path: Path, data: Dataset, stop: threading.Event | None = None
) -> None:
    """:func:`pipelines.clustering.data.exporting.numbers_csv`; raises as it does, and as
    :func:`call`. Of many numbers it takes a minute of Python's own time."""
    if data.X.size <= HERE_NUMBERS:
        numbers_csv(path, data, stop)
        return
    about = replace(data, X=data.X[:0])
    call(_write_points, {"path": path, "about": about}, stop, X=data.X, owner=owner)


def _write_points(X: Matrix, path: FilePath, about: Dataset) -> None:
    numbers_csv(path, replace(about, X=X))


def write_point_labels(
    owner: str,
    path: Path,
    data: Dataset,
    labels: np.ndarray,
    further: dict[str, np.ndarray],
    stop: threading.Event | None = None,
) -> None:
    """:func:`pipelines.clustering.data.exporting.labels_csv` of points, with the true labels where
    they are known; as :func:`write_points`."""
    if data.X.size <= HERE_NUMBERS:
        labels_csv(path, data, labels, None, further | _truth(data), stop)
        return
    arguments = {
        "path": path,
        "about": replace(data, X=data.X[:0]),
        "labels": labels,
        "further": further,
    }
    call(_write_point_labels, arguments, stop, X=data.X, owner=owner)


def _write_point_labels(
    X: Matrix,
    path: FilePath,
    about: Dataset,
    labels: Labels,
    further: dict[str, Array],
) -> None:
    labels_csv(path, replace(about, X=X), labels, None, further | _truth(about))


def _truth(data: Dataset) -> dict[str, np.ndarray]:
    """The true labels (n,) by name, "" where one is not known; as numbers where they have none."""
    if data.truth is None:
        return {}
    if data.classes is None:
        return {"truth": data.truth}
    return {"truth": np.array([*map(guard, data.classes), ""], dtype=object)[data.truth]}


def write_table_labels(
    owner: str,
    path: Path,
    table: Table,
    labels: np.ndarray,
    rows: np.ndarray | None,
    further: dict[str, np.ndarray],
    stop: threading.Event | None = None,
) -> None:
    """:func:`pipelines.clustering.data.exporting.labels_csv` of a table; raises as it does, and as
    :func:`call`."""
    arguments = {"path": path, "source": table, "labels": labels, "rows": rows, "further": further}
    _apart(owner, labels_csv, arguments, stop)


def _apart(
    owner: str,
    function: Callable[..., Any],
    arguments: dict[str, Any],
    stop: threading.Event | None,
    estimate: Estimate | None = None,
) -> Any:
    try:
        return call(
            *(function, arguments, stop, estimate),
            owner=owner,
            prepare=_NEEDED,
            limit_seconds=LIMIT_SECONDS,
        )
    except OutOfMemory as error:
        raise OutOfMemory(
            "The table takes more memory than there is for it, or is damaged. Send the whole file "
            "again, or fewer rows or columns, or shorter texts."
        ) from error
