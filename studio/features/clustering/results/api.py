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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, Response
from starlette.background import BackgroundTask

from pipelines.clustering.algorithms.registry import find
from pipelines.core.errors import BadRequest, NotFound
from pipelines.core.files import is_full
from pipelines.core.sizes import format_bytes
from studio.api.access import API
from studio.api.dependencies import CurrentLanguage, CurrentOwner, CurrentStudio, JsonObject
from studio.api.http import KEPT, NOT_KEPT
from studio.core.home import DiskFull
from studio.features.clustering.plot.overlay import MAX_TOLD, overlay
from studio.features.clustering.plot.point_view import CurrentAlgorithm, CurrentView
from studio.features.clustering.results.downloads import write_centres, write_data, write_labels
from studio.i18n import translate

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio
    from studio.features.clustering.results.results import Clustering

_KEPT = {  # files of a result, and their types
    "model.json": "application/json",
    "cluster.py": "text/x-python; charset=utf-8",
    "extra.npz": "application/octet-stream",
}
CSV = "text/csv; charset=utf-8"
T = TypeVar("T")

router = APIRouter(tags=["clustering"])


@dataclass(frozen=True, slots=True)
class RequestedResult:
    """The result that a request names by its job; looked up in the thread that works on it."""

    job_id: str
    request: Request
    studio: Studio
    owner: Owner

    async def compute(self, call: Callable[[Clustering, threading.Event], T]) -> T:
        """``call(result, stop)`` in a thread, when it is the owner's turn; ``stop`` is set when
        the client has gone."""
        requests = self.studio.cluster_limits.results

        def run(stop: threading.Event) -> T:
            found = self.studio.clusterings.of(self.owner.id, self.job_id)
            with requests.turn(self.owner.id, stop):
                return call(found, stop)

        return await requests.compute(self.request, self.owner.id, run)

    async def send_file(
        self,
        name: str,
        media_type: str,
        write: Callable[[Path, Clustering, threading.Event], None],
    ) -> FileResponse:
        """A file that is written for this answer and gone after it."""

        def make(result: Clustering, stop: threading.Event) -> Path:
            return _write_temporary(self.studio.home, lambda path: write(path, result, stop))

        path = await self.compute(make)
        return FileResponse(
            path,
            media_type=media_type,
            filename=f"atelier-{self.job_id}-{name}",
            headers=NOT_KEPT,
            background=BackgroundTask(path.unlink, missing_ok=True),
        )


async def requested_result(
    job_id: str, request: Request, studio: CurrentStudio, owner: CurrentOwner
) -> RequestedResult:
    """The result that a path names."""
    return RequestedResult(job_id, request, studio, owner)


CurrentResult = Annotated[RequestedResult, Depends(requested_result)]


@router.get("/clusterings/{job_id}")
async def one(
    result: CurrentResult, studio: CurrentStudio, language: CurrentLanguage
) -> dict[str, Any]:
    """What a job has found, in short, and where the rest is."""

    def look(found: Clustering, stop: threading.Event) -> dict[str, Any]:
        painted = None
        # The picture has been deleted since, there is no cluster to paint with, or no room.
        with contextlib.suppress(NotFound, BadRequest, DiskFull):
            painted = studio.clusterings.paint(found, stop)
        return clustering_json(found, painted and painted[1], language)

    return await result.compute(look)


@router.delete("/clusterings/{job_id}", status_code=204)
def delete(job_id: str, studio: CurrentStudio, owner: CurrentOwner) -> None:
    """Deletes what was found, and the job."""
    studio.clusterings.delete(owner.id, job_id)


@router.get("/clusterings/{job_id}/labels")
async def labels(
    result: CurrentResult, studio: CurrentStudio, view: CurrentView, algorithm: CurrentAlgorithm
) -> Response:
    """The clusters of the points that ``/cluster-data/{id}/points`` shows with the same
    ``dims``, ``projection`` and ``scaling``; the bytes are described in
    :mod:`studio.features.clustering.plot.overlay`. ``algorithm`` is one of a comparison's."""

    def read(found: Clustering, stop: threading.Event) -> bytes:
        points = partial(studio.clusterings.dataset, found)
        return overlay(found, points, view.dims, view.projection, view.scaling, algorithm)

    body = await result.compute(read)
    return Response(body, media_type="application/octet-stream", headers=NOT_KEPT)


@router.get("/clusterings/{job_id}/labels.csv")
async def labels_csv(
    result: CurrentResult, studio: CurrentStudio, algorithm: CurrentAlgorithm
) -> FileResponse:
    """The rows of the table, or the points, each with its cluster (empty: left out; −1: noise)
    and, where it is known, how certain that is, from 0 to 1."""

    def write(path: Path, found: Clustering, stop: threading.Event) -> None:
        write_labels(path, found, studio.cluster_data, algorithm, stop)

    return await result.send_file("labels.csv", CSV, write)


@router.get("/clusterings/{job_id}/data.csv")
async def data_csv(result: CurrentResult, studio: CurrentStudio) -> FileResponse:
    """The points as they were clustered, but for scaling: what ``cluster.py`` reads."""

    def write(path: Path, found: Clustering, stop: threading.Event) -> None:
        write_data(found.job.owner, path, studio.clusterings.dataset(found), stop)

    return await result.send_file("data.csv", CSV, write)


@router.get("/clusterings/{job_id}/centres.csv")
async def centres_csv(result: CurrentResult, studio: CurrentStudio) -> FileResponse:
    """The centres in the data's units, one a row."""

    def write(path: Path, found: Clustering, stop: threading.Event) -> None:
        write_centres(path, found, studio.cluster_data)

    return await result.send_file("centres.csv", CSV, write)


@router.get("/clusterings/{job_id}/picture.png")
async def picture(
    job_id: str, result: CurrentResult, studio: CurrentStudio, download: bool = False
) -> FileResponse:
    """The picture whose colours were clustered, each pixel in its cluster's colour."""

    def paint(found: Clustering, stop: threading.Event) -> Path:
        painted = studio.clusterings.paint(found, stop)
        if painted is None:
            raise _has_no_file(job_id, "picture.png")
        return painted[0]

    return FileResponse(
        await result.compute(paint),
        media_type="image/png",
        headers=KEPT,
        filename=f"atelier-{job_id}.png",
        content_disposition_type="attachment" if download else "inline",
    )


@router.get("/clusterings/{job_id}/{name}")
def result_file(
    job_id: str,
    name: Literal["model.json", "cluster.py", "extra.npz"],
    studio: CurrentStudio,
    owner: CurrentOwner,
) -> FileResponse:
    """The fitted model's parameters, the Python that gives the same labels, or the arrays that
    :class:`pipelines.clustering.algorithms.base.Fitted` names, such as merges and
    covariances."""
    path = studio.clusterings.of(owner.id, job_id).folder / name
    if not path.is_file():
        raise _has_no_file(job_id, name)
    filename = f"atelier-{job_id}-{name}"
    return FileResponse(path, media_type=_KEPT[name], filename=filename, headers=NOT_KEPT)


@router.post("/cluster-animations")
@router.post("/cluster-films", include_in_schema=False)  # its name before
async def animation(
    request: Request,
    studio: CurrentStudio,
    owner: CurrentOwner,
    language: CurrentLanguage,
    asked: JsonObject,
) -> Response:
    """An algorithm at work step by step: ``{"data", "algorithm", "parameters", "scaling",
    "seed", "projection"}``; see :func:`pipelines.clustering.animation.make_animation`.

    One at a time for each owner; it ends when the connection is closed, or after 20 seconds.
    """
    make, limits = studio.cluster_animations.make, studio.cluster_limits.animations
    body = await limits.compute(request, owner.id, make, owner, asked, language)
    return Response(body, media_type="application/json", headers=NOT_KEPT)


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


def _has_no_file(job_id: str, name: str) -> NotFound:
    return NotFound("Job {id} has no {name}.", id=job_id[:60], name=name)


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
                "The disk is full: {free} are free. Free some space, then try again.",
                free=format_bytes(shutil.disk_usage(home).free),
            ) from error
        raise
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path
