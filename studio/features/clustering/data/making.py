"""From what a data set is to be made of (``sources``) to its points."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.clustering.data import sample_data
from pipelines.clustering.data.npz_files import Stored
from pipelines.clustering.data.sample_data import Dataset
from pipelines.clustering.data.scaling import check_size
from pipelines.core.errors import BadRequest
from pipelines.core.messages import Message
from studio.features.clustering.data.gallery import gallery_data
from studio.features.clustering.data.reading import pick_apart
from studio.features.clustering.data.sources import (
    DrawnSource,
    GallerySource,
    MadeSource,
    PictureSource,
    Source,
    TableSource,
)

if TYPE_CHECKING:
    from studio.core.gallery.gallery import Gallery
    from studio.core.gallery.inputs import Inputs
    from studio.features.clustering.data.tables import Tables

MAX_COLUMNS = 2_000  # of X; PCA takes the square of it in memory
MAX_NAMES = 1_000_000  # characters of all columns' names together


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A data set that nobody has kept yet.

    Attributes:
        stored: its points and where they come from.
        notes: what was left out or filled in.
    """

    stored: Stored
    notes: tuple[Message, ...] = ()


class Maker:
    """Makes data sets; each call works for one owner.

    Args:
        tables, gallery, inputs: whose things are read.
        cache: the model cache, which has the network that looks at pictures.
        earlier: (owner's id) → the last data set of the gallery, whose pictures need not be looked
            at again, or None.
    """

    def __init__(
        self,
        tables: Tables,
        gallery: Gallery,
        inputs: Inputs,
        cache: Any,
        earlier: Callable[[str], Stored | None],
    ) -> None:
        self._tables, self._gallery, self._inputs = tables, gallery, inputs
        self._cache, self._earlier = cache, earlier

    def state(self, owner_id: str, source: Source) -> Any:
        """JSON of what, beside the source itself, the points depend on.

        Raises:
            NotFound: the table or picture is not the owner's.
        """
        if isinstance(source, TableSource):
            layout = self._tables.get(owner_id, source.table).table.layout
            return None if layout is None else asdict(layout)
        if isinstance(source, PictureSource):
            return self._inputs.get(owner_id, source.picture).id
        if isinstance(source, GallerySource):
            return self._gallery.ids(owner_id, source.limit)
        return None

    def make(self, owner_id: str, source: Source, stop: threading.Event | None = None) -> Made:
        """The points.

        Raises as :meth:`studio.features.clustering.data.own_data_sets.ClusterData.make`.
        """
        made = self._make(owner_id, source, stop)
        _check(made.stored.data)
        return made

    def _make(self, owner_id: str, source: Source, stop: threading.Event | None) -> Made:
        if isinstance(source, MadeSource):
            return Made(Stored(sample_data.make(source)))
        if isinstance(source, DrawnSource):
            X = np.array(source.points, dtype=np.float64).reshape(-1, 2)
            return Made(Stored(Dataset(X, None, ("x", "y"), "Drawn points")))
        if isinstance(source, TableSource):
            known = self._tables.get(owner_id, source.table)
            picked = pick_apart(owner_id, known.table, source.picking, stop)
            named = replace(picked.data, title=known.name)
            return Made(Stored(named, picked.rows), picked.notes)
        if isinstance(source, PictureSource):
            from pipelines.clustering.data.pictures import pixels_of, points_of

            pixels = pixels_of(self._inputs.open(owner_id, source.picture))
            data, rows = points_of(pixels)
            return Made(Stored(data, rows), _sampling_note(len(rows), len(pixels.colours)))
        ids = self._gallery.ids(owner_id, source.limit)
        stored, notes = gallery_data(
            self._gallery, owner_id, ids, self._cache, self._earlier(owner_id), stop
        )
        return Made(stored, notes)


def _sampling_note(count: int, pixels: int) -> tuple[Message, ...]:
    if count == pixels:
        return ()
    note = Message(
        "{count} of {pixels} pixels, drawn evenly, are the points; all pixels are coloured by the "
        "clusters that these make.",
        count=f"{count:,}",
        pixels=f"{pixels:,}",
    )
    return (note,)


def _check(data: Dataset) -> None:
    """Raises BadRequest for points with which sums of squares or pictures would fail."""
    if len(data.columns) > MAX_COLUMNS:
        raise BadRequest(
            "With its categories the data has {count} columns; at most {limit} are taken. Leave "
            "some out, or lower the most categories.",
            count=f"{len(data.columns):,}",
            limit=f"{MAX_COLUMNS:,}",
        )
    if (characters := sum(map(len, data.columns))) > MAX_NAMES:
        raise BadRequest(
            "The names of the columns have {count} characters together; at most {limit} are "
            "taken. Shorten them, or the categories that they are made of.",
            count=f"{characters:,}",
            limit=f"{MAX_NAMES:,}",
        )
    check_size(data.X, data.columns)
