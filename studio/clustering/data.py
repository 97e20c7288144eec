"""Data sets for clustering: everybody's own, asked for by id and never by path."""

from __future__ import annotations

import builtins
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.clustering.datasets import Dataset
from pipelines.messages import Message
from studio.clustering.sources import Kind
from studio.clustering.tables import KnownTable

if TYPE_CHECKING:
    import numpy as np

    from studio.accounts import Owner
    from studio.gallery import Gallery
    from studio.inputs import Inputs
    from studio.store import Store


@dataclass(frozen=True, slots=True)
class Known:
    """One data set.

    Attributes:
        id: 32 hexadecimal digits, made of its owner and its source.
        kind: what it was made of.
        title: what it is, in English; of a table, the file's name.
        points: how many rows X has.
        columns: names of the columns of X.
        truth: whether true groups are known.
        source: what it was made of, as JSON; drawn points are not repeated in it.
        notes: what was left out or filled in.
        created: when it was last asked for; seconds since 1970.
        bytes: of the file.
    """

    id: str
    kind: Kind
    title: str
    points: int
    columns: tuple[str, ...]
    truth: bool
    source: dict[str, Any]
    notes: tuple[Message, ...]
    created: float
    bytes: int


class ClusterData:
    """Makes, finds and deletes data sets; each method works for one owner only."""

    def __init__(self, store: Store, home: Path, gallery: Gallery, inputs: Inputs) -> None:
        self._store, self._home, self._gallery, self._inputs = store, home, gallery, inputs
        self._lock = threading.Lock()  # a file and its row come and go together

    def make(
        self, owner: Owner, source: dict[str, Any], stop: threading.Event | None = None
    ) -> Known:
        """The data set that ``source`` describes; the same one for the same source."""
        raise NotImplementedError

    def get(self, owner_id: str, id: str) -> Known:
        """Raises NotFound when there is none, it is another's, or its file has vanished."""
        raise NotImplementedError

    def dataset(self, owner_id: str, id: str) -> Dataset:
        """The points; raises NotFound as :meth:`get` does."""
        raise NotImplementedError

    def rows(self, owner_id: str, id: str) -> np.ndarray | None:
        """(n,) int64: the row of the table (from 0), or the number of the picture's pixel, of each
        point; None where points come from neither."""
        raise NotImplementedError

    def pictures(self, owner_id: str, id: str) -> builtins.list[str | None]:
        """The ids of the pictures that the points stand for; None for one that is gone."""
        raise NotImplementedError

    def table(self, owner_id: str, table_id: str) -> KnownTable:
        """A table; raises NotFound when there is none, or it is another's."""
        raise NotImplementedError

    def list(self, owner_id: str, limit: int = 50) -> builtins.list[Known]:
        """The owner's, those asked for last first."""
        raise NotImplementedError

    def delete(self, owner_id: str, id: str) -> None:
        """Deletes row and file; raises NotFound, or BadRequest while a job works on it."""
        raise NotImplementedError

    def clean_up(self, dry_run: bool = False) -> int:
        """Deletes what nobody has used for a week, and files of nobody; the bytes freed."""
        raise NotImplementedError
