"""What was made of data sets: labels, centres, models. A result goes by the job that made it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.clustering.engine import RESULTS
from pipelines.clustering.requests import ClusterRequest, CompareRequest
from pipelines.core.errors import BadRequest, NotFound, validate_stored
from studio.core.home import clear_folders, ownerless_folders, write_file
from studio.core.jobs.record import DONE, QUEUED, RUNNING, Job
from studio.core.quota import Keeper

if TYPE_CHECKING:
    from pipelines.clustering.data.sample_data import Dataset
    from studio.core.gallery.inputs import Inputs
    from studio.core.jobs.queue import Jobs
    from studio.features.clustering.data.own_data_sets import ClusterData, Known

CLUSTER, COMPARE = "cluster", "compare_clusters"  # kinds of jobs
_REQUESTS = {CLUSTER: ClusterRequest, COMPARE: CompareRequest}
_FOLDER = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, eq=False)
class Clustering:
    """One result: a job's labels of a data set, and what else was found.

    Arrays are read from the disk when they are first asked for.

    Attributes:
        job: that made it; it is done.
        request: what it was asked.
        known: the data set's row.
        folder: where it lies.
    """

    job: Job
    request: ClusterRequest | CompareRequest
    known: Known
    folder: Path

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Those that there are labels of, in the order that was asked for."""
        if isinstance(self.request, ClusterRequest):
            return (self.request.algorithm,)
        with self._open("labels.npz") as file:
            return tuple(name for name in self.request.algorithms if name in file)

    def labels(self, algorithm: str | None = None) -> np.ndarray:
        """int32 (n,): the cluster of each point, −1 is noise.

        Args:
            algorithm: one of a comparison's; None: the first of them.

        Raises:
            NotFound: there are none of that name; the sentence says of which there are.
        """
        if isinstance(self.request, ClusterRequest):
            self._check(algorithm, self.algorithms)
            with self._open("labels.npy") as array:
                return array
        known = self.algorithms
        name = known[0] if algorithm is None and known else algorithm
        self._check(name, known)
        with self._open("labels.npz") as file:
            return file[name]

    def sizes(self, algorithm: str | None = None) -> np.ndarray:
        """int64 (clusters,): how many points each cluster has, by label; raises as labels()."""
        labels = self.labels(algorithm)
        return np.bincount(labels[labels >= 0])

    @cached_property
    def centres(self) -> np.ndarray | None:
        """float64 (k, d) in the data's units, row by label; None where there are none. Clusters
        without a point come last."""
        return self._array("centres.npy")

    @cached_property
    def soft(self) -> np.ndarray | None:
        """float32 (n, k), rows sum to 1; or None, as where it would take more than 80 MB."""
        return self._array("soft.npy")

    @cached_property
    def certainty(self) -> np.ndarray | None:
        """float32 (n,), 0 … 1: how firmly each point belongs to its cluster; or None."""
        return self._array("certainty.npy")

    @cached_property
    def extra(self) -> dict[str, np.ndarray]:
        """Arrays of this algorithm; :mod:`pipelines.clustering.algorithms.base` says which."""
        if not (self.folder / "extra.npz").is_file():
            return {}
        with self._open("extra.npz") as file:
            return {name: file[name] for name in file}

    @cached_property
    def model(self) -> dict[str, Any]:
        """The fitted model's parameters; empty of a comparison."""
        if isinstance(self.request, CompareRequest):
            return {}
        return json.loads((self.folder / "model.json").read_text(encoding="utf-8"))

    @cached_property
    def code(self) -> str:
        """Python that gives the same labels; empty of a comparison."""
        if isinstance(self.request, CompareRequest):
            return ""
        return (self.folder / "cluster.py").read_text(encoding="utf-8")

    def _check(self, name: str | None, known: tuple[str, ...]) -> None:
        if (name is not None and name not in known) or not known:
            raise NotFound(
                "There are no labels of {name} here; there are those of {names}.",
                name=str(name)[:60],
                names=", ".join(known) or "–",
            )

    def _array(self, name: str) -> np.ndarray | None:
        path = self.folder / name
        return np.load(path, allow_pickle=False) if path.is_file() else None

    @contextlib.contextmanager
    def _open(self, name: str):
        try:
            loaded = np.load(self.folder / name, allow_pickle=False)
        except FileNotFoundError:
            raise _result_gone(self.job.id) from None
        if isinstance(loaded, np.ndarray):
            yield loaded
        else:
            with loaded:
                yield loaded


class Clusterings(Keeper):
    """Finds results and frees their room; each method works for one owner only.

    Args:
        home: the home folder; results lie in ``clusterings/<folder>/``.
        jobs: that made them.
        cluster_data: what they were made of.
        inputs: brought-in pictures, which are recoloured.
    """

    def __init__(self, home: Path, jobs: Jobs, cluster_data: ClusterData, inputs: Inputs) -> None:
        self._home, self._jobs, self._data, self._inputs = home, jobs, cluster_data, inputs
        self._painting = threading.Lock()  # a picture is painted once

    def of(self, owner_id: str, job_id: str) -> Clustering:
        """The result of a job.

        Raises:
            NotFound: there is no such job of the owner's, it is of another kind, or its data set
                or its result have been deleted.
            BadRequest: the job is not done.
        """
        job = self._jobs.get(owner_id, job_id)
        if job.kind not in _REQUESTS:
            raise NotFound("Job {id} has clustered nothing.", id=job.id)
        if job.state != DONE:
            raise BadRequest("Job {id} is {state}: it has no labels.", id=job.id, state=job.state)
        request = validate_stored(_REQUESTS[job.kind], job.request)
        name = _folder(job)
        folder = self._home / RESULTS / name
        if not _FOLDER.fullmatch(name) or not folder.is_dir():
            raise _result_gone(job.id)
        return Clustering(job, request, self._data.get(owner_id, request.data), folder)

    def dataset(self, found: Clustering) -> Dataset:
        """The points that a result is about; raises NotFound when they are gone."""
        return self._data.dataset(found.job.owner, found.known.id)

    def paint(
        self, found: Clustering, stop: threading.Event | None = None
    ) -> tuple[Path, list[dict[str, Any]]] | None:
        """The picture in its clusters' colours as a PNG file, and its palette, largest share first:
        ``label`` (−1: noise), ``hex``, ``pixels`` and ``share``.

        None where the data are no picture, or several algorithms were compared. Each pixel has the
        colour of the cluster whose mean is nearest to it in CIELAB. It is painted at the first
        call, for up to some seconds, and kept.

        Raises:
            NotFound: the picture has been deleted.
            BadRequest: there is no cluster to paint with.
            DiskFull: there is no room for the picture.
            Stopped: ``stop`` was set.
        """
        if found.known.kind != "picture" or isinstance(found.request, CompareRequest):
            return None
        path, palette = found.folder / "picture.png", found.folder / "palette.json"
        with self._painting:
            if not palette.is_file():
                self._paint(found, path, palette, stop)
        return path, json.loads(palette.read_bytes())

    def _paint(
        self, found: Clustering, path: Path, palette: Path, stop: threading.Event | None
    ) -> None:
        from pipelines.clustering.data import pictures

        picture = self._inputs.open(found.job.owner, str(found.known.source["picture"]))
        pixels = pictures.pixels_of(picture)
        centres = pictures.centres_of(self.dataset(found).X, found.labels())
        labels = pictures.nearest(pixels.colours, centres, stop)
        image, swatches = pictures.recolour(pixels, labels, centres)
        facts = [
            {name: getattr(each, name) for name in ("label", "hex", "pixels", "share")}
            for each in swatches
        ]
        written = io.BytesIO()
        image.save(written, "PNG", compress_level=6)
        write_file(path, written.getvalue())
        write_file(palette, json.dumps(facts).encode())  # the last: where it is, the picture is

    def delete(self, owner_id: str, job_id: str) -> None:
        """Deletes what a job has found, and the job.

        Raises:
            NotFound: there is no such job of the owner's, or it is of another kind.
            BadRequest: it has not ended.
        """
        job = self._jobs.get(owner_id, job_id)
        if job.kind not in _REQUESTS:
            raise NotFound("Job {id} has clustered nothing.", id=job.id)
        # The row last: on a full disk it needs the room that the folder gives.
        if job.state not in (QUEUED, RUNNING) and _FOLDER.fullmatch(name := _folder(job)):
            shutil.rmtree(self._home / RESULTS / name, ignore_errors=True)
        self._jobs.delete(owner_id, job_id)

    def delete_all(self, owner: str) -> int:
        """Deletes all of an owner's with their jobs; returns how many there were. Raises BadRequest
        as :meth:`delete` does."""
        jobs = [each for kind in _REQUESTS for each in self._jobs.list(owner, kind, limit=-1)]
        for job in jobs:
            self.delete(owner, job.id)
        return len(jobs)

    # --- the room they take -----------------------------------------------------------------

    def bytes_used(self, owner: str) -> int:
        """Bytes of an owner's results."""
        return self._jobs.result_bytes(owner, _REQUESTS)

    def bytes_of_all(self) -> int:
        """Bytes of everybody's results."""
        return self._jobs.result_bytes(None, _REQUESTS)

    def clean_up(self, dry_run: bool = False) -> Iterator[int]:
        """Deletes results whose job is gone; yields the bytes of each."""
        used = {_folder(job) for kind in _REQUESTS for job in self._jobs.all_of_kind(kind)}
        yield from clear_folders(ownerless_folders(self._home / RESULTS, used), dry_run)


def _folder(job: Job) -> str:
    return str((job.result or {}).get("folder"))


def _result_gone(job_id: str) -> NotFound:
    return NotFound("What job {id} has found is gone. Send it again.", id=job_id)
