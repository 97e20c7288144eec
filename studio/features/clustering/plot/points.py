"""What a plot of a data set is drawn from, as bytes.

An answer is, all little-endian: the length of the header as uint32; the header, JSON in UTF-8 with
spaces at its end up to a multiple of 4 bytes; positions, float32 (m, dims), point after point; and
the rows of X that these are, uint32 (m,). A coordinate is ``position * unit[axis] +
offset[axis]``: times of the year 2026, in seconds, would be all the same as float32. Mostly units
are 1 and offsets 0, and always so where the data are near 0.
"""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np

from pipelines.clustering.data.sample_data import Dataset
from pipelines.clustering.data.scaling import Scaling, scale
from pipelines.clustering.projecting import Method, choose_rows, project
from pipelines.clustering.wire import ArrayOf, Json, Matrix, UnreadableAnswer
from pipelines.core.messages import Message
from studio.features.clustering.computing import compute
from studio.i18n import translate

DENSITY_SIDE = 256  # cells a side
_FAR = 4096.0  # times the width of the data, from where float32 needs an offset
_HUGE = 1e30


@dataclass(frozen=True, slots=True, eq=False)
class Plotted:
    """What a plot shows of a data set.

    Attributes:
        positions: (m, dims) float32.
        rows: (m,) uint32 rows of X.
        header: what else is told, but for the notes.
        notes: what the picture shows and what not.
    """

    positions: Annotated[np.ndarray, ArrayOf("float32", 2)]
    rows: Annotated[np.ndarray, ArrayOf("uint32", 1)]
    header: dict[str, Json]
    notes: tuple[Message, ...]

    def check(self, X: np.ndarray) -> None:
        """Whether this can be a picture of some of the points ``X`` (n, d).

        Raises:
            UnreadableAnswer: it has other rows.
        """
        if len(self.rows) != len(self.positions) or self.rows.max(initial=0) >= max(1, len(X)):
            raise UnreadableAnswer("the picture is not one of the points")

    def pack(self, language: str) -> bytes:
        """The answer's bytes; notes in ``language``."""
        note = " ".join(translate(each, language) for each in self.notes) or None
        text = json.dumps({**self.header, "note": note}, ensure_ascii=False, allow_nan=False)
        header = text.encode("utf-8", "replace")
        header += b" " * (-len(header) % 4)
        parts = (self.positions.astype("<f4"), self.rows.astype("<u4"))
        return b"".join(
            (len(header).to_bytes(4, "little"), header, *(each.tobytes() for each in parts))
        )


def plot_points(
    owner: str,
    data: Dataset,
    dims: int,
    projection: Method,
    scaling: Scaling,
    stop: threading.Event | None = None,
) -> Plotted:
    """The picture of ``data``: of more than 20,000 points as many, drawn evenly, with the density
    of all beside them. O(n·d), and what the projection takes.

    The header has ``points`` (n), ``shown`` (m), ``dims``, ``method`` ("none", "pca", "umap"),
    ``columns`` (of X), ``axes`` (names of the picture's), ``explained`` (share of the variance on
    each axis, or null), ``truth`` (true group of each shown point, −1 where it is not known; or
    null), ``groups`` (how many of all points are in each true group, or null), ``unlabelled`` (of
    how many it is not known), ``classes`` (names of the true groups, or null), ``offset`` and
    ``unit`` (see the module) and ``density``: null, or of more points than are shown, in two
    dimensions, ``width``, ``height``, ``extent`` [x0, x1, y0, y1] in coordinates, ``most`` (the
    largest count) and ``counts``, in base64: uint16 (height, width) counts of points, little-
    endian, row after row from y0 on, 65,535 standing for more.

    Raises:
        BadRequest, Unavailable: as :func:`pipelines.clustering.projecting.project` does.
        BadRequest: the points cannot be scaled so.
        OutOfMemory, Stopped: as :func:`studio.features.clustering.computing.compute` does.
    """
    about = replace(data, X=data.X[:0])  # many points go by a file
    arguments = {"about": about, "dims": dims, "projection": projection, "scaling": scaling}
    umap = projection == "umap" and len(data.columns) > dims
    return compute(owner, _plot, data.X, arguments, stop, umap)


def _plot(X: Matrix, about: Dataset, dims: int, projection: Method, scaling: Scaling) -> Plotted:
    data = replace(about, X=X)
    scaled = scale(data.X, scaling, data.columns).X
    seen = project(scaled, dims, projection)
    rows = seen.rows
    # What UMAP has laid out are these rows already.
    shown = choose_rows(len(data.X))
    places = seen.points if len(rows) == len(shown) else seen.points[shown]
    notes = [] if seen.note is None else [seen.note]
    density = None
    if len(rows) > len(shown):
        if dims == 2:
            density = _density(seen.points)
        notes.append(_sample_note(len(shown), len(rows), dims))
    offset, unit = _frame(places)
    header = {
        "points": len(data.X),
        "shown": len(shown),
        "dims": dims,
        "method": seen.method,
        "columns": data.columns,
        "axes": _axes(data.columns, seen.method, dims),
        "explained": None if seen.explained is None else seen.explained.round(4).tolist(),
        **_truth(data, shown),
        "density": density,
        "offset": offset.tolist(),
        "unit": unit.tolist(),
    }
    positions = ((places - offset) / unit).astype(np.float32)
    return Plotted(positions, shown.astype(np.uint32), header, tuple(notes))


def _truth(data: Dataset, shown: np.ndarray) -> dict[str, Any]:
    truth = data.truth
    if truth is None:
        return {"truth": None, "groups": None, "unlabelled": 0, "classes": None}
    known = truth[truth >= 0]
    return {
        "truth": truth[shown].tolist(),
        "groups": np.bincount(known).tolist(),
        "unlabelled": len(truth) - len(known),
        "classes": data.classes,
    }


def _sample_note(count: int, points: int, dims: int) -> Message:
    template = (
        "{count} of {points} points are drawn; the shading and the clusters come from all of them."
        if dims == 2
        else "{count} of {points} points are drawn; the clusters come from all of them."
    )
    return Message(template, count=f"{count:,}", points=f"{points:,}")


def _axes(columns: tuple[str, ...], method: Method, dims: int) -> list[str]:
    if method == "none":
        return [*columns[:dims], *[""] * (dims - len(columns))]
    word = {"pca": "PC", "umap": "UMAP "}[method]
    return [f"{word}{number + 1}" for number in range(dims)]


def _frame(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What to take off, and to divide by, so that float32 keeps the picture."""
    least, most = places.min(axis=0), places.max(axis=0)
    far = np.maximum(np.abs(least), np.abs(most))
    width = most - least
    offset = np.where((width > 0) & (far > _FAR * width), (least + most) / 2, 0.0)
    reach = np.abs(places - offset).max(axis=0)
    strange = (reach > _HUGE) | ((reach > 0) & (reach < 1 / _HUGE))
    return offset, np.where(strange, reach, 1.0)


def _density(places: np.ndarray) -> dict[str, Any]:
    """How many points are in each cell of a grid over all of them."""
    least, most = places.min(axis=0), places.max(axis=0)
    flat = most == least
    width = np.where(flat, 1.0, most - least)
    least = np.where(flat, least - 0.5, least)
    cells = ((places - least) * (DENSITY_SIDE / width)).astype(np.int64)
    column, row = np.clip(cells, 0, DENSITY_SIDE - 1).T
    counts = np.bincount(row * DENSITY_SIDE + column, minlength=DENSITY_SIDE**2)
    (x0, y0), (x1, y1) = least.tolist(), (least + width).tolist()
    return {
        "width": DENSITY_SIDE,
        "height": DENSITY_SIDE,
        "extent": [x0, x1, y0, y1],
        "most": int(counts.max()),
        "counts": base64.b64encode(np.minimum(counts, 65_535).astype("<u2").tobytes()).decode(),
    }
