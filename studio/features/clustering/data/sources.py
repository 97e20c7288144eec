"""What a data set can be made of, as a client asks for it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from pipelines.clustering.algorithms.fields import Coordinate
from pipelines.clustering.data.columns import ColumnChoice
from pipelines.clustering.data.sample_data import SOURCES, DatasetRequest
from pipelines.core.engine import StrictModel
from pipelines.core.errors import BadRequest, validate
from pipelines.core.pictures.inputs import InputId

MAX_DRAWN = 20_000
MAX_PICTURES = 2_000

Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Kind = Literal["made", "drawn", "table", "picture", "gallery"]
Within = Annotated[Coordinate, Field(ge=-1e9, le=1e9)]


class MadeSource(DatasetRequest):
    """A data set to play with: made by formula, or measured long ago."""

    kind: Literal["made"]


class DrawnSource(StrictModel):
    """Points that somebody has drawn."""

    kind: Literal["drawn"]
    points: Annotated[
        tuple[tuple[Within, Within], ...],
        Field(
            min_length=1,
            max_length=MAX_DRAWN,
            title="Points",
            description="x and y of each point.",
        ),
    ]


class TableSource(StrictModel):
    """Columns of a table that was brought in."""

    kind: Literal["table"]
    table: Annotated[Id, Field(title="Table", description="The id of a table of yours.")]
    picking: Annotated[ColumnChoice, Field(title="Columns", description="Which columns, and how.")]


class PictureSource(StrictModel):
    """The colours of a picture that was brought in."""

    kind: Literal["picture"]
    picture: Annotated[
        InputId, Field(title="Picture", description="The id of a brought-in picture.")
    ]


class GallerySource(StrictModel):
    """The newest pictures of one's gallery, by what they look like."""

    kind: Literal["gallery"]
    limit: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_PICTURES,
            title="Pictures",
            description="At most so many, the newest first.",
        ),
    ] = MAX_PICTURES


Source = MadeSource | DrawnSource | TableSource | PictureSource | GallerySource

_KINDS: dict[str, type[Source]] = {
    "made": MadeSource,
    "drawn": DrawnSource,
    "table": TableSource,
    "picture": PictureSource,
    "gallery": GallerySource,
}


def source_of(data: dict[str, Any]) -> Source:
    """What a client asks for.

    Raises:
        BadRequest: names the first field that is wrong, its value and the limit.
    """
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise BadRequest(
            "{kind} is no kind of data; there are {kinds}.",
            kind=repr(kind)[:60],
            kinds=", ".join(_KINDS),
        ).at("kind")
    return validate(_KINDS[kind], data)


def essence(source: Source) -> dict[str, Any]:
    """The source as JSON without what changes nothing; equal ones make the same points."""
    whole = source.model_dump(mode="json")
    if isinstance(source, MadeSource):
        used = {"kind", "name", *SOURCES[source.name].uses}
        return {name: value for name, value in whole.items() if name in used}
    return whole
