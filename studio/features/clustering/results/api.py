"""The HTTP API's part for what was made of data sets: labels, centres, models, animations.

``POST /jobs/cluster``, ``/jobs/compare_clusters`` and ``/jobs/cluster_curve`` make them; the rest
is here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from anyio import CapacityLimiter
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response
from starlette.background import BackgroundTask

from pipelines.clustering.algorithms.registry import find
from pipelines.clustering.data.scaling import Scaling
from pipelines.clustering.projecting import Method
from pipelines.core.errors import BadRequest, NotFound
from pipelines.core.files import is_full
from pipelines.core.sizes import format_bytes
from studio.api.access import API
from studio.api.http import KEPT, NOT_KEPT, json_object, while_heard
from studio.core.accounts.accounts import owner_of
from studio.core.home import DiskFull
from studio.features.clustering.plot.overlay import MAX_TOLD, overlay
from studio.features.clustering.results.animations import Animations
from studio.features.clustering.results.downloads import write_centres, write_data, write_labels
from studio.i18n import language_of_request, translate

if TYPE_CHECKING:
    from studio.core.services import Studio
    from studio.features.clustering.results.results import Clustering

AT_ONCE = 4  # requests that compute or write; the threads of other routes stay free
ANIMATIONS_ASKED = 16  # animations that are made or wait for a turn
_KEPT = {  # files of a result, and their types
    "model.json": "application/json",
    "cluster.py": "text/x-python; charset=utf-8",
    "extra.npz": "application/octet-stream",
}
Algorithm = Annotated[str | None, Query(max_length=40)]


def clusterings_router(studio: Studio) -> APIRouter:
    routes = APIRouter(tags=["clustering"])
    results, animations = studio.clusterings, Animations(studio.cluster_data)
    turns, animation_turns = CapacityLimiter(AT_ONCE), CapacityLimiter(ANIMATIONS_ASKED)

    def find_result(request: Request, job_id: str) -> Clustering:
        return results.of(owner_of(request).id, job_id)

    async def file(
        request: Request,
        job_id: str,
        name: str,
        media_type: str,
        write: Callable[[Clustering, Path, threading.Event], None],
    ) -> FileResponse:
        """A file that is written for this answer and gone after it."""

        def make(stop: threading.Event) -> Path:
            return _write_temporary(
                studio.home, lambda path: write(find_result(request, job_id), path, stop)
            )

        path = await while_heard(request, make, limiter=turns)
        return FileResponse(
            path,
            media_type=media_type,
            filename=f"atelier-{job_id}-{name}",
            headers=NOT_KEPT,
            background=BackgroundTask(path.unlink, missing_ok=True),
        )

    @routes.get("/clusterings/{job_id}")
    async def one(job_id: str, request: Request) -> dict[str, Any]:
        """What a job has found, in short, and where the rest is."""

        def look(stop: threading.Event) -> dict[str, Any]:
            here = find_result(request, job_id)
            painted = None
            # The picture has been deleted since, there is no cluster to paint with, or no room.
            with contextlib.suppress(NotFound, BadRequest, DiskFull):
                painted = results.painted(here, stop)
            return clustering_json(here, painted and painted[1], language_of_request(request))

        return await while_heard(request, look, limiter=turns)

    @routes.delete("/clusterings/{job_id}", status_code=204)
    def delete(job_id: str, request: Request) -> None:
        """Deletes what was found, and the job."""
        results.delete(owner_of(request).id, job_id)

    @routes.get("/clusterings/{job_id}/labels")
    async def labels(
        job_id: str,
        request: Request,
        dims: Annotated[int, Query(ge=2, le=3)] = 2,
        projection: Method = "pca",
        scaling: Scaling = "none",
        algorithm: Algorithm = None,
    ) -> Response:
        """The clusters of the points that ``/cluster-data/{id}/points`` shows with the same
        ``dims``, ``projection`` and ``scaling``; the bytes are described in
        :mod:`studio.features.clustering.plot.overlay`. ``algorithm`` is one of a comparison's."""

        def read(stop: threading.Event) -> bytes:
            here = find_result(request, job_id)
            points = partial(results.dataset, here)
            return overlay(here, points, dims, projection, scaling, algorithm)

        body = await while_heard(request, read, limiter=turns)
        return Response(body, media_type="application/octet-stream", headers=NOT_KEPT)

    @routes.get("/clusterings/{job_id}/labels.csv")
    async def labels_csv(
        job_id: str, request: Request, algorithm: Algorithm = None
    ) -> FileResponse:
        """The rows of the table, or the points, each with its cluster (empty: left out; −1: noise)
        and, where it is known, how certain that is, from 0 to 1."""

        def write(here: Clustering, path: Path, stop: threading.Event) -> None:
            write_labels(path, here, studio.cluster_data, algorithm, stop)

        return await file(request, job_id, "labels.csv", "text/csv; charset=utf-8", write)

    @routes.get("/clusterings/{job_id}/data.csv")
    async def data_csv(job_id: str, request: Request) -> FileResponse:
        """The points as they were clustered, but for scaling: what ``cluster.py`` reads."""

        def write(here: Clustering, path: Path, stop: threading.Event) -> None:
            write_data(here.job.owner, path, results.dataset(here), stop)

        return await file(request, job_id, "data.csv", "text/csv; charset=utf-8", write)

    @routes.get("/clusterings/{job_id}/centres.csv")
    async def centres_csv(job_id: str, request: Request) -> FileResponse:
        """The centres in the data's units, one a row."""

        def write(here: Clustering, path: Path, stop: threading.Event) -> None:
            write_centres(path, here, studio.cluster_data)

        return await file(request, job_id, "centres.csv", "text/csv; charset=utf-8", write)

    @routes.get("/clusterings/{job_id}/picture.png")
    async def picture(job_id: str, request: Request, download: bool = False) -> FileResponse:
        """The picture whose colours were clustered, each pixel in its cluster's colour."""

        def paint(stop: threading.Event) -> Path:
            painted = results.painted(find_result(request, job_id), stop)
            if painted is None:
                raise NotFound("Job {id} has no {name}.", id=job_id[:60], name="picture.png")
            return painted[0]

        return FileResponse(
            await while_heard(request, paint, limiter=turns),
            media_type="image/png",
            headers=KEPT,
            filename=f"atelier-{job_id}.png",
            content_disposition_type="attachment" if download else "inline",
        )

    @routes.get("/clusterings/{job_id}/{name}")
    def result_file(
        job_id: str, name: Literal["model.json", "cluster.py", "extra.npz"], request: Request
    ) -> FileResponse:
        """The fitted model's parameters, the Python that gives the same labels, or the arrays that
        :class:`pipelines.clustering.algorithms.algorithm.Fitted` names, such as merges and
        covariances."""
        path = find_result(request, job_id).folder / name
        if not path.is_file():
            raise NotFound("Job {id} has no {name}.", id=job_id[:60], name=name)
        filename = f"atelier-{job_id}-{name}"
        return FileResponse(path, media_type=_KEPT[name], filename=filename, headers=NOT_KEPT)

    @routes.post("/cluster-animations")
    @routes.post("/cluster-films", include_in_schema=False)  # its name before
    async def animation(request: Request) -> Response:
        """An algorithm at work step by step: ``{"data", "algorithm", "parameters", "scaling",
        "seed", "projection"}``; see :func:`pipelines.clustering.animation.make_animation`.

        One at a time for each owner; it ends when the connection is closed, or after 20 seconds.
        """
        asked = await json_object(request)
        owner, language = owner_of(request), language_of_request(request)
        body = await while_heard(
            request, animations.make, owner, asked, language, limiter=animation_turns
        )
        return Response(body, media_type="application/json", headers=NOT_KEPT)

    return routes


def clustering_json(
    found: Clustering, palette: list[dict[str, Any]] | None, language: str
) -> dict[str, Any]:
    """A result as the API describes it."""
    job = found.job
    base = f"{API}/clusterings/{job.id}"
    names = ["labels", "labels.csv", "data.csv"]
    if found.centres is not None:
        names.append("centres.csv")
    names += [name for name in _KEPT if (found.folder / name).is_file()]
    if palette is not None:
        names.append("picture.png")
    algorithms = []
    for name in found.algorithms:
        sizes = found.sizes(name)
        algorithms.append(
            {
                "algorithm": name,
                "title": translate(find(name).title, language),
                "clusters": int((sizes > 0).sum()),
                "noise": found.known.points - int(sizes.sum()),
                "sizes": sizes[:MAX_TOLD].tolist(),
            }
        )
    return {
        "job": job.id,
        "kind": job.kind,
        "data": found.known.id,
        "points": found.known.points,
        "request": job.request,
        "result": job.result,
        "algorithms": algorithms,
        "palette": palette,
        "files": {name: f"{base}/{name}" for name in names},
        "created": job.created,
    }


def _write_temporary(home: Path, write: Callable[[Path], None]) -> Path:
    """A new file of the home folder's cache that ``write`` has filled."""
    folder = home / "cache"
    folder.mkdir(exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix="clustering-")
    os.close(handle)
    path = Path(name)
    try:
        write(path)
    except OSError as error:
        path.unlink(missing_ok=True)
        if is_full(error):  # nobody knows how much the whole would be
            raise DiskFull(
                "The disk is full: {free} are free. Free some space, then send the job again.",
                free=format_bytes(shutil.disk_usage(home).free),
            ) from error
        raise
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path
