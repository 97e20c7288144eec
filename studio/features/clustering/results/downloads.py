"""What people take home of a result, written to files."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.clustering.data.exporting import (
    PLAIN,
    centres_csv,
    dialect_of,
    texts_csv,
)
from pipelines.core.errors import NotFound
from studio.features.clustering.data.reading import (
    write_point_labels,
    write_points,
    write_table_labels,
)

if TYPE_CHECKING:
    from pipelines.clustering.data.sample_data import Dataset
    from studio.features.clustering.data.own_data_sets import ClusterData
    from studio.features.clustering.results.results import Clustering


def write_labels(
    path: Path,
    found: Clustering,
    data: ClusterData,
    algorithm: str | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Every row with its cluster, as CSV: of a table its own columns, of a gallery the pictures'
    ids, else the points. Where they are known, ``certainty`` and ``truth`` follow; a table has its
    true labels in a column of its own.

    A table that has been deleted since is made up for by its points.

    Args:
        algorithm: one of a comparison's; None: the first.

    Raises:
        NotFound: there are no such labels.
        Stopped: ``stop`` was set.
    """
    labels = found.labels(algorithm)
    owner, known = found.job.owner, found.known
    stored = data.load_stored(owner, known.id)
    further: dict[str, np.ndarray] = {}
    if found.certainty is not None:
        further["certainty"] = found.certainty.astype(np.float64).round(4)
    if stored.pictures is not None:
        texts_csv(path, {"picture": stored.pictures, "cluster": labels.tolist()})
        return
    if known.kind == "table":
        with contextlib.suppress(NotFound):
            table = data.table(owner, str(known.source["table"])).table
            write_table_labels(owner, path, table, labels, stored.rows, further, stop)
            return
    write_point_labels(owner, path, stored.data, labels, further, stop)


def write_centres(path: Path, found: Clustering, data: ClusterData) -> None:
    """The centres in the data's units with the number of points, as CSV like :func:`write_labels`.

    Raises:
        NotFound: there are no centres.
    """
    centres = found.centres
    if centres is None:
        raise NotFound("Job {id} has no {name}.", id=found.job.id, name="centres.csv")
    sizes = np.zeros(len(centres), dtype=np.int64)
    counted = found.sizes()
    sizes[: len(counted)] = counted
    dialect = PLAIN
    if found.known.kind == "table":
        with contextlib.suppress(NotFound):  # deleted since
            table = data.table(found.job.owner, str(found.known.source["table"])).table
            dialect = dialect_of(table)
    centres_csv(path, found.known.columns, centres, sizes, dialect)


def write_data(owner: str, path: Path, data: Dataset, stop: threading.Event | None = None) -> None:
    """The points, each number exactly, under the columns' names, as CSV."""
    write_points(owner, path, data, stop)
