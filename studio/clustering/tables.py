"""Tables that people bring in, as files; everybody's own, asked for by id and never by path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.clustering.tables import Table


@dataclass(frozen=True, slots=True)
class KnownTable:
    """One table that somebody has brought in.

    Attributes:
        id: 32 hexadecimal digits, made of its owner, its bytes and how they are read.
        name: the file's, to be shown.
        table: what one look has found; its path is the server's.
        bytes: of the file.
        created: when it was last brought in; seconds since 1970.
    """

    id: str
    name: str
    table: Table
    bytes: int
    created: float
