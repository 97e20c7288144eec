"""Data sets as files: ``<name>.npz``, not compressed, with nothing in it that is ever unpickled.

Inside are ``X`` float64 (n, d), ``truth`` int32 (n,) and ``rows`` int64 (n,) where there are any,
and ``about``: JSON as bytes with ``title``, ``columns``, where the true groups have names
``classes``, and of a gallery ``pictures``.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.clustering.data.sample_data import Dataset
from pipelines.core.errors import NotFound

FOLDER = "cluster_data"  # in the home folder


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A data set, and where its points come from.

    Attributes:
        data: the points.
        rows: (n,) int64 row of the table, or opaque pixel of the picture, of each point; or None.
        pictures: n ids of pictures that the points stand for, or None.
    """

    data: Dataset
    rows: np.ndarray | None = None
    pictures: tuple[str, ...] | None = None


def path_of(folder: Path, name: str) -> Path:
    """Where a data set lies. ``name`` is a :data:`pipelines.clustering.requests.DataName`."""
    return folder / f"{name}.npz"


def save(path: Path, stored: Stored) -> int:
    """Writes the file, whole or not at all; returns its bytes.

    Raises:
        OSError: there is no room, say.
    """
    data = stored.data
    about: dict[str, object] = {"title": data.title, "columns": data.columns}
    if data.classes is not None:
        about["classes"] = data.classes
    if stored.pictures is not None:
        about["pictures"] = stored.pictures
    arrays = {"X": data.X, "truth": data.truth, "rows": stored.rows, "about": _bytes(about)}
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **{name: each for name, each in arrays.items() if each is not None})
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    return path.stat().st_size


def load(path: Path) -> Stored:
    """The data set in a file of :func:`save`.

    Raises:
        NotFound: there is none.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            truth = file.get("truth")
            rows = file.get("rows")
            classes = about.get("classes")
            data = Dataset(
                file["X"],
                truth,
                tuple(about["columns"]),
                about["title"],
                None if classes is None else tuple(classes),
            )
    except FileNotFoundError:
        raise NotFound("There is no data set called {name}.", name=path.stem) from None
    pictures: Sequence[str] | None = about.get("pictures")
    return Stored(data, rows, None if pictures is None else tuple(pictures))


def _bytes(about: dict[str, object]) -> np.ndarray:
    text = json.dumps(about, ensure_ascii=False)
    return np.frombuffer(text.encode("utf-8", errors="replace"), dtype=np.uint8)
