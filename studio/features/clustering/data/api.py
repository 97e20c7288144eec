"""The HTTP API's part for data to cluster: tables, data sets, and what plots are drawn from."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from fastapi.responses import Response

from pipelines.clustering.data.csv_dialect import Reading
from pipelines.clustering.data.scaling import Scaling
from pipelines.clustering.projecting import Method
from pipelines.core.errors import BadRequest, validated
from studio.api.http import NOT_KEPT, json_object, receive_body, while_heard
from studio.core.accounts.accounts import owner_of
from studio.core.locks import Locks
from studio.features.clustering.plot.points import Plotted, plot_points
from studio.i18n import language_of_request, translate

if TYPE_CHECKING:
    from studio.core.services import Studio
    from studio.features.clustering.data.data_sets import Known
    from studio.features.clustering.data.tables import KnownTable

AT_ONCE = 4  # requests that compute; the threads of other routes stay free
_READ_FOR_ONE = 2_000_000  # numbers
_TOLD_COLUMNS = 24
KEPT_PLOTS = 16  # of at most half a megabyte


def cluster_data_router(studio: Studio) -> APIRouter:
    routes = APIRouter(tags=["clustering"])
    data, tables = studio.cluster_data, studio.cluster_data.tables
    plots, turns, plot_turns = _Plots(), CapacityLimiter(AT_ONCE), CapacityLimiter(AT_ONCE)
    umap_turns = CapacityLimiter(1)  # a minute each, and nothing can stop it

    @routes.post("/cluster-tables", status_code=201)
    async def bring(
        request: Request,
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
        reading = validated(Reading, asked)
        owner = owner_of(request).id
        await run_sync(tables.check_room, owner)  # before anything is sent
        async with receive_body(request, studio.home) as file:
            await run_sync(file.flush)
            known = await while_heard(
                request, tables.bring, owner, Path(file.name), name, reading, limiter=turns
            )
        return await run_sync(table_json, known, language_of_request(request))

    @routes.get("/cluster-tables")
    def all_tables(
        request: Request, limit: Annotated[int, Query(ge=1, le=200)] = 50
    ) -> dict[str, Any]:
        """One's own tables, the last one first; without their columns."""
        found = tables.list(owner_of(request).id, limit)
        return {"tables": [_table_row(each) for each in found]}

    @routes.get("/cluster-tables/{table_id}")
    def one_table(table_id: str, request: Request) -> dict[str, Any]:
        return table_json(tables.get(owner_of(request).id, table_id), language_of_request(request))

    @routes.post("/cluster-tables/{table_id}/reading", status_code=201)
    async def read_again(table_id: str, request: Request) -> dict[str, Any]:
        """Reads the same file in another way: ``{"encoding", "delimiter", "decimal",
        "thousands", "header"}``; what is left out or null is found by looking.

        The answer is a table of another id; the former one is gone, unless data were made of it.
        """
        reading = validated(Reading, await json_object(request))
        known = await while_heard(
            request, tables.read_again, owner_of(request).id, table_id, reading, limiter=turns
        )
        return await run_sync(table_json, known, language_of_request(request))

    @routes.delete("/cluster-tables/{table_id}", status_code=204)
    def delete_table(table_id: str, request: Request) -> None:
        tables.delete(owner_of(request).id, table_id)

    @routes.post("/cluster-data", status_code=201)
    async def make(request: Request) -> dict[str, Any]:
        """Makes points of what the body describes, such as ``{"kind": "made", "name": "moons"}``;
        the same body gives the same data set."""
        source = await json_object(request)
        known = await while_heard(request, data.make, owner_of(request), source, limiter=turns)
        return await run_sync(known_json, known, language_of_request(request))

    @routes.get("/cluster-data")
    def list_data(
        request: Request, limit: Annotated[int, Query(ge=1, le=200)] = 50
    ) -> dict[str, Any]:
        """One's own data sets, those asked for last first."""
        language = language_of_request(request)
        found = data.list(owner_of(request).id, limit)
        return {"data": [known_json(each, language) for each in found]}

    @routes.delete("/cluster-data")
    def delete_all(request: Request) -> dict[str, int]:
        """Deletes all of one's own data sets and tables; not what a job waits for or works on."""
        return {"deleted": data.delete_all(owner_of(request).id)}

    @routes.get("/cluster-data/{data_id}")
    def one(data_id: str, request: Request) -> dict[str, Any]:
        return known_json(data.get(owner_of(request).id, data_id), language_of_request(request))

    @routes.delete("/cluster-data/{data_id}", status_code=204)
    def delete(data_id: str, request: Request) -> None:
        data.delete(owner_of(request).id, data_id)

    @routes.get("/cluster-data/{data_id}/points")
    async def points(
        data_id: str,
        request: Request,
        dims: Annotated[int, Query(ge=2, le=3)] = 2,
        projection: Method = "pca",
        scaling: Scaling = "none",
    ) -> Response:
        """Places of at most 20,000 points; the bytes are described in
        :mod:`studio.features.clustering.plot.points`."""
        owner = owner_of(request).id

        def draw(stop: threading.Event) -> bytes:
            known = data.get(owner, data_id)
            key = (known.id, dims, projection, scaling)
            drawn = plots.get(
                key,
                lambda: plot_points(
                    owner, data.dataset(owner, data_id), dims, projection, scaling, stop
                ),
            )
            return drawn.packed(language_of_request(request))

        limiter = umap_turns if projection == "umap" else plot_turns
        body = await while_heard(request, draw, limiter=limiter)
        return Response(body, media_type="application/octet-stream", headers=NOT_KEPT)

    @routes.get("/cluster-data/{data_id}/rows/{row}")
    async def one_row(
        data_id: str, row: Annotated[int, InPath(ge=0)], request: Request
    ) -> dict[str, Any]:
        """The columns' own values of one point, before scaling: names, and numbers or null.

        At most 24 columns; none at all where the data set is too large to be read for one point.
        """
        owner = owner_of(request).id

        def read() -> dict[str, Any]:
            known = data.get(owner, data_id)
            if row >= known.points:
                raise BadRequest(
                    "There is no point {row}: the data set has {points}.",
                    row=row,
                    points=known.points,
                )
            if known.points * len(known.columns) >= _READ_FOR_ONE:
                return {"columns": [], "values": []}
            values = data.dataset(owner, data_id).X[row, :_TOLD_COLUMNS].tolist()
            return {"columns": known.columns[:_TOLD_COLUMNS], "values": values}

        return await run_sync(read, limiter=plot_turns)

    @routes.get("/cluster-data/{data_id}/thumbs")
    async def thumbs(data_id: str, request: Request) -> dict[str, Any]:
        """Of a gallery: the id of the picture of each row, null where it has been deleted."""
        found = await run_sync(data.pictures, owner_of(request).id, data_id)
        return {"pictures": found, "thumbnail": "thumbnails/{id}.webp"}

    return routes


class _Plots:
    """The last plots that were asked for; those of the same key are computed once."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple, Plotted] = OrderedDict()
        self._making = Locks()
        self._lock = threading.Lock()

    def get(self, key: tuple, make: Callable[[], Plotted]) -> Plotted:
        with self._making.held(key):
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
            made = make()
            with self._lock:
                self._kept[key] = made
                while len(self._kept) > KEPT_PLOTS:
                    self._kept.popitem(last=False)
            return made


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
