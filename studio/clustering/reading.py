"""Tables are read in a process of their own: whatever is in them, the studio stands.

A file of a stranger may unfold into gigabytes or take minutes; the process has a limit on both.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from pipelines.clustering.algorithm import Estimate
from pipelines.clustering.exporting import labels_csv
from pipelines.clustering.layout import Reading
from pipelines.clustering.picking import Picked, Picking, pick
from pipelines.clustering.running import call
from pipelines.clustering.tables import Table, look

LIMIT_SECONDS = 300.0
_NEEDED = ("pandas",)
_FLOAT = 8  # bytes


def seen_apart(path: Path, reading: Reading, stop: threading.Event | None = None) -> Table:
    """:func:`pipelines.clustering.tables.look`; raises as it does, and as :func:`call`."""
    return call(
        look,
        {"path": path, "reading": reading},
        stop,
        prepare=_NEEDED,
        limit_seconds=LIMIT_SECONDS,
    )


def picked_apart(table: Table, picking: Picking, stop: threading.Event | None = None) -> Picked:
    """:func:`pipelines.clustering.picking.pick`; raises as it does, and as :func:`call`."""
    expected = Estimate(0, 3 * _FLOAT * table.rows * len(picking.columns))
    return call(
        pick,
        {"table": table, "picking": picking},
        stop,
        expected,
        prepare=_NEEDED,
        limit_seconds=LIMIT_SECONDS,
    )


def write_table_labels(
    path: Path,
    table: Table,
    labels: np.ndarray,
    rows: np.ndarray | None,
    further: dict[str, np.ndarray],
    stop: threading.Event | None = None,
) -> None:
    """:func:`pipelines.clustering.exporting.labels_csv` of a table; raises as it does, and as
    :func:`call`."""
    arguments = {"path": path, "source": table, "labels": labels, "rows": rows, "further": further}
    call(labels_csv, arguments, stop, prepare=_NEEDED, limit_seconds=LIMIT_SECONDS)
