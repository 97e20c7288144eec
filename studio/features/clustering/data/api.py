"""The HTTP API's part for data to cluster: tables, data sets, and what plots are drawn from."""

from __future__ import annotations

import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from fastapi.responses import Response

from pipelines.clustering.data.csv_dialect import Reading
from pipelines.core.errors import BadRequest, validate
from studio.api.dependencies import (
    CurrentLanguage,
    CurrentOwner,
    CurrentStudio,
    JsonObject,
    Limit,
    body_as,
)
from studio.api.http import NOT_KEPT, receive_body
from studio.features.clustering.plot.point_view import CurrentView
from studio.features.clustering.plot.points import Plotted, plot_points
from studio.i18n import translate

if TYPE_CHECKING:
    from studio.features.clustering.data.own_data_sets import Known
    from studio.features.clustering.data.tables import KnownTable

_READ_FOR_ONE = 2_000_000  # numbers
_TOLD_COLUMNS = 24

router = APIRouter(tags=["clustering"])


@router.post("/cluster-tables", status_code=201)
async def bring(
    request: Request,
    studio: CurrentStudio,
    owner: CurrentOwner,
    language: CurrentLanguage,
    name: Annotated[str, Query(max_length=1000)] = "table",
    encoding: str | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    header: bool | None = None,
) -> dict[str, Any]:
    """Keeps a CSV, TSV or other delimited text, Parquet or NPY, sent as the body.

    ``name`` is the file's, to be shown. The others say how a text is read; what is left out is
    found by looking: ``guesses`` says what was found, with a ``doubt`` (a sentence, or null)
    and ``others`` that are likely too. A column's ``doubts`` say in which other way it may be
    read, and its ``firsts`` are the first values as they are written and as they are read.
    ``POST /cluster-tables/{id}/reading`` changes any of it.

    The answer says what the columns are, which to begin with (``suggested``), and which one
    seems to have the true labels (``suggested_truth``, or null).
    """
    asked = {
        "encoding": encoding,
        "delimiter": delimiter,
        "decimal": decimal,
        "thousands": thousands,
        "header": header,
    }
    reading = validate(Reading, asked)
    tables, limits = studio.cluster_data.tables, studio.cluster_limits.data
    await run_sync(tables.check_room, owner.id)  # before anything is sent
    async with receive_body(request, studio.home) as file:
        await run_sync(file.flush)
        known = await limits.compute(
            request, owner.id, tables.bring, owner.id, Path(file.name), name, reading
        )
    return await run_sync(table_json, known, language)


@router.get("/cluster-tables")
def all_tables(studio: CurrentStudio, owner: CurrentOwner, limit: Limit = 50) -> dict[str, Any]:
    """One's own tables, the last one first; without their columns."""
    found = studio.cluster_data.tables.list(owner.id, limit)
    return {"tables": [_table_row(each) for each in found]}


@router.get("/cluster-tables/{table_id}")
def one_table(
    table_id: str, studio: CurrentStudio, owner: CurrentOwner, language: CurrentLanguage
) -> dict[str, Any]:
    return table_json(studio.cluster_data.tables.get(owner.id, table_id), language)


@router.post("/cluster-tables/{table_id}/reading", status_code=201)
async def read_again(
    table_id: str,
    request: Request,
    studio: CurrentStudio,
    owner: CurrentOwner,
    language: CurrentLanguage,
    reading: Annotated[Reading, body_as(Reading)],
) -> dict[str, Any]:
    """Reads the same file in another way: ``{"encoding", "delimiter", "decimal",
    "thousands", "header"}``; what is left out or null is found by looking.

    The answer is a table of another id; the former one is gone, unless data were made of it.
    """
    read, limits = studio.cluster_data.tables.read_again, studio.cluster_limits.data
    known = await limits.compute(request, owner.id, read, owner.id, table_id, reading)
    return await run_sync(table_json, known, language)


@router.delete("/cluster-tables/{table_id}", status_code=204)
def delete_table(table_id: str, studio: CurrentStudio, owner: CurrentOwner) -> None:
    studio.cluster_data.tables.delete(owner.id, table_id)


@router.post("/cluster-data", status_code=201)
async def make(
    request: Request,
    studio: CurrentStudio,
    owner: CurrentOwner,
    language: CurrentLanguage,
    source: JsonObject,
) -> dict[str, Any]:
    """Makes points of what the body describes, such as ``{"kind": "made", "name": "moons"}``;
    the same body gives the same data set."""
    make_data, limits = studio.cluster_data.make, studio.cluster_limits.data
    known = await limits.compute(request, owner.id, make_data, owner, source)
    return await run_sync(known_json, known, language)


@router.get("/cluster-data")
def list_data(
    studio: CurrentStudio,
    owner: CurrentOwner,
    language: CurrentLanguage,
    limit: Limit = 50,
) -> dict[str, Any]:
    """One's own data sets, those asked for last first."""
    found = studio.cluster_data.list(owner.id, limit)
    return {"data": [known_json(each, language) for each in found]}


@router.delete("/cluster-data")
def delete_all(studio: CurrentStudio, owner: CurrentOwner) -> dict[str, int]:
    """Deletes all of one's own data sets and tables; not what a job waits for or works on."""
    return {"deleted": studio.cluster_data.delete_all(owner.id)}


@router.get("/cluster-data/{data_id}")
def one(
    data_id: str, studio: CurrentStudio, owner: CurrentOwner, language: CurrentLanguage
) -> dict[str, Any]:
    return known_json(studio.cluster_data.get(owner.id, data_id), language)


@router.delete("/cluster-data/{data_id}", status_code=204)
def delete(data_id: str, studio: CurrentStudio, owner: CurrentOwner) -> None:
    studio.cluster_data.delete(owner.id, data_id)


@router.get("/cluster-data/{data_id}/points")
async def points(
    data_id: str,
    request: Request,
    studio: CurrentStudio,
    owner: CurrentOwner,
    language: CurrentLanguage,
    view: CurrentView,
) -> Response:
    """Places of at most 20,000 points; the bytes are described in
    :mod:`studio.features.clustering.plot.points`."""
    data, plots, limits = studio.cluster_data, studio.cluster_plots, studio.cluster_limits
    requests = limits.umap if view.projection == "umap" else limits.plots

    def draw(stop: threading.Event) -> bytes:
        known = data.get(owner.id, data_id)

        def plot() -> Plotted:
            points = data.dataset(owner.id, data_id)
            return plot_points(owner.id, points, view.dims, view.projection, view.scaling, stop)

        key = (known.id, view)
        if (plotted := plots.find(key)) is None:
            with requests.turn(owner.id, stop):  # the same plot may have been made meanwhile
                plotted = plots.get(key, plot)
        return plotted.pack(language)

    body = await requests.compute(request, owner.id, draw)
    return Response(body, media_type="application/octet-stream", headers=NOT_KEPT)


@router.get("/cluster-data/{data_id}/rows/{row}")
async def one_row(
    data_id: str,
    row: Annotated[int, InPath(ge=0)],
    request: Request,
    studio: CurrentStudio,
    owner: CurrentOwner,
) -> dict[str, Any]:
    """The columns' own values of one point, before scaling: names, and numbers or null.

    At most 24 columns; none at all where the data set is too large to be read for one point.
    """
    data, requests = studio.cluster_data, studio.cluster_limits.plots

    def read(stop: threading.Event) -> dict[str, Any]:
        known = data.get(owner.id, data_id)
        if row >= known.points:
            raise BadRequest(
                "There is no point {row}: the data set has {points}.",
                row=row,
                points=known.points,
            )
        if known.points * len(known.columns) >= _READ_FOR_ONE:
            return {"columns": [], "values": []}
        with requests.turn(owner.id, stop):
            values = data.dataset(owner.id, data_id).X[row, :_TOLD_COLUMNS].tolist()
        return {"columns": known.columns[:_TOLD_COLUMNS], "values": values}

    return await requests.compute(request, owner.id, read)


@router.get("/cluster-data/{data_id}/thumbs")
def thumbs(data_id: str, studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    """Of a gallery: the id of the picture of each row, null where it has been deleted."""
    found = studio.cluster_data.pictures(owner.id, data_id)
    return {"pictures": found, "thumbnail": "thumbnails/{id}.webp"}


def known_json(known: Known, language: str) -> dict[str, Any]:
    """A data set as the API describes it; title and notes in ``language``."""
    return {
        **asdict(known),
        "title": known.title if known.kind == "table" else translate(known.title, language),
        "notes": [translate(note, language) for note in known.notes],
    }


def table_json(known: KnownTable, language: str) -> dict[str, Any]:
    """A table as the API describes it."""
    table = known.table
    layout = None
    if table.layout is not None:
        shown = ("encoding", "delimiter", "decimal", "thousands", "header")
        layout = {name: getattr(table.layout, name) for name in shown}
    return {
        **_table_row(known),
        "columns": [
            asdict(each) | {"doubts": [translate(doubt, language) for doubt in each.doubts]}
            for each in table.columns
        ],
        "suggested": table.suggest_columns(),
        "suggested_truth": table.suggest_truth(),
        "preview": table.preview,
        "layout": layout,
        "guesses": [
            asdict(each) | {"doubt": each.doubt and translate(each.doubt, language)}
            for each in table.guesses
        ],
        "notes": [translate(note, language) for note in table.notes()],
    }


def _table_row(known: KnownTable) -> dict[str, Any]:
    return {
        "id": known.id,
        "name": known.name,
        "format": known.table.format,
        "rows": known.table.rows,
        "bytes": known.bytes,
        "created": known.created,
    }
