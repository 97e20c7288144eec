"""The clustering engine: a data set by its name, labels and scores out."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from pipelines.clustering.algorithms.base import check_points
from pipelines.clustering.algorithms.registry import find
from pipelines.clustering.comparing import MOST_TOLD, agreement_cells, compare, suggest_scaled
from pipelines.clustering.curves import plan
from pipelines.clustering.data.exporting import parameters_json, with_arrays
from pipelines.clustering.data.npz_files import FOLDER as DATA
from pipelines.clustering.data.npz_files import load, path_of
from pipelines.clustering.data.sample_data import Dataset
from pipelines.clustering.model_selection import estimate_k_distance
from pipelines.clustering.requests import (
    OF_AN_ALGORITHM,
    ClusterRequest,
    CompareRequest,
    CurveRequest,
)
from pipelines.clustering.running import run as run_work
from pipelines.clustering.tasks import (
    Clustered,
    cluster,
    cluster_arguments,
    cluster_estimate,
    curve,
)
from pipelines.core.cache import ModelCache
from pipelines.core.errors import Stopped
from pipelines.core.events import Progress, Result
from pipelines.core.files import save_array, size_of
from pipelines.core.messages import Message

RESULTS = "clusterings"
"""The folder in the home folder with what was made of data sets."""

MOST_SHOWN = 60  # columns of a confusion matrix: first those that go with a class
MOST_SOFT = 20_000_000  # memberships that are kept: 80 MB

Events = Iterator[Progress | Result]
Find = Callable[[str], Dataset]
"""From a data set's name to its points; it raises :class:`NotFound`."""


def run(
    request: ClusterRequest | CompareRequest | CurveRequest,
    cache: ModelCache,
    stop: Event,
    find_data: Find | None = None,
    results: Path | None = None,
    owner: str = "",
) -> Events:
    """Does what the request asks; the data are not changed.

    ``Result.data`` has ``seconds`` of the whole, ``points``, ``columns`` and

    - of a :class:`ClusterRequest`: ``folder`` (a name in ``results``, which holds ``labels.npy``,
      ``centres.npy`` in the data's units, ``soft.npy``, ``certainty.npy``, ``extra.npz``,
      ``model.json`` and ``cluster.py``; arrays only where there are any), its ``bytes``,
      ``fit_seconds``, ``peak_bytes``, ``scores``, ``agreement`` where true labels are known,
      ``notes`` (messages);
    - of a :class:`CompareRequest`: ``folder`` (with ``labels.npz``, by algorithm), its ``bytes``
      and ``rows``
      (:meth:`pipelines.clustering.comparing.Row.cells`);
    - of a :class:`CurveRequest`: ``curve`` (:func:`pipelines.clustering.curves.to_chart`) and
      ``notes``; nothing is kept.

    Args:
        find_data: None: :func:`find_stored` in ``<home>/cluster_data``.
        results: where the outcome is put as a folder; None: ``<home>/clusterings``.
        owner: whose data it is, by an id: no process works for two owners.

    Raises:
        NotFound: there is no such data set.
        Stopped: ``stop`` was set.
        UserError: it cannot work; the sentence says why.
    """
    started = time.monotonic()
    if stop.is_set():
        raise Stopped
    yield Progress(0, 1, note=Message("Reading the data"))
    found = (find_data or find_stored(cache.home / DATA))(request.data)
    check_points(found.X)
    results = results or cache.home / RESULTS
    if isinstance(request, ClusterRequest):
        data = yield from _cluster(request, found, stop, owner, results)
    elif isinstance(request, CurveRequest):
        data = yield from _curve(request, found, stop, owner)
    else:
        data = yield from _compare(request, found, stop, owner, results)
    seconds = round(time.monotonic() - started, 3)
    yield Result(
        data | {"points": found.X.shape[0], "columns": found.X.shape[1], "seconds": seconds}
    )


def find_stored(folder: Path) -> Find:
    """Finds data sets in ``folder`` as :mod:`pipelines.clustering.data.npz_files` writes them."""

    return lambda name: load(path_of(folder, name)).data


def _cluster(
    request: ClusterRequest, source: Dataset, stop: Event, owner: str, results: Path
) -> Iterator[Progress]:
    X, truth = source.X, None
    find(request.algorithm).check(X, request.params)
    if source.truth is not None:
        truth = (source.truth, source.classes)
    found: Clustered = yield from run_work(
        cluster,
        X,
        cluster_arguments(request, source.columns, truth),
        cluster_estimate(request.algorithm, *X.shape, request.params),
        stop,
        owner=owner,
    )
    fitted, scores = found.fitted, found.scores
    folder = _save(results, found, request)
    data: dict[str, Any] = {
        "folder": folder.name,
        "bytes": size_of(folder),
        "fit_seconds": fitted.seconds,
        "peak_bytes": fitted.peak_bytes,
        "scores": asdict(scores) | {"sizes": list(scores.sizes[:MOST_TOLD])},
        "notes": [note.to_json() for note in (*found.notes, *fitted.notes)],
    }
    if (agreement := found.agreement) is not None:
        data["agreement"] = agreement_cells(agreement) | {
            "confusion": agreement.confusion[:, :MOST_SHOWN].tolist(),
            "classes": list(agreement.classes),
            "columns": list(agreement.columns[:MOST_SHOWN]),
            "columns_left_out": max(0, len(agreement.columns) - MOST_SHOWN) + agreement.left_out,
        }
    return data


def _compare(
    request: CompareRequest, source: Dataset, stop: Event, owner: str, results: Path
) -> Iterator[Progress]:
    X, scaling = source.X, request.scaling
    asked = {
        "scaling": scaling,
        "columns": source.columns,
        "clusters": request.clusters,
        "seed": request.seed,
    }
    estimate = estimate_k_distance(*X.shape, 5)
    by_name = dict((yield from run_work(suggest_scaled, X, asked, estimate, stop, owner=owner)))
    choices = [(name, by_name[name]) for name in request.algorithms]
    rows = yield from compare(
        X, choices, request.seed, stop, source.truth, scaling, source.columns, owner
    )
    labels = {row.algorithm: row.labels for row in rows if row.labels is not None}
    with _new_folder(results) as folder:
        np.savez(folder / "labels.npz", **labels)
    return {
        "folder": folder.name,
        "bytes": size_of(folder),
        "rows": [row.cells() for row in rows],
    }


def _curve(request: CurveRequest, source: Dataset, stop: Event, owner: str) -> Iterator[Progress]:
    asked = request.curve in OF_AN_ALGORITHM or request.curve == "reachability"
    estimate = plan(request, source.X, request.params if asked else None).estimate
    arguments = {"request": request, "columns": source.columns}
    shown, notes = yield from run_work(curve, source.X, arguments, estimate, stop, owner=owner)
    return {"curve": shown, "notes": [note.to_json() for note in notes]}


def _save(results: Path, found: Clustered, request: ClusterRequest) -> Path:
    fitted = found.fitted
    with _new_folder(results) as folder:
        save_array(folder / "labels.npy", fitted.labels)
        model = fitted.model | {"scaling": request.scaling, "data": request.data}
        model["parameters"] = request.params.model_dump(mode="json")
        if found.centres is not None:
            save_array(folder / "centres.npy", found.centres)
            written = (found.centres, "centres.csv")
            model = with_arrays(model, {"centres_in_units_of_the_data": written})
        certainty = fitted.extra.get("probabilities")
        if fitted.soft is not None:
            certainty = fitted.soft.max(axis=1)
            if fitted.soft.size <= MOST_SOFT:
                save_array(folder / "soft.npy", fitted.soft.astype(np.float32))
        if certainty is not None:
            save_array(folder / "certainty.npy", certainty.astype(np.float32))
        if fitted.extra:
            np.savez(folder / "extra.npz", **fitted.extra)
        (folder / "model.json").write_text(parameters_json(model), encoding="utf-8")
        code = find(request.algorithm).python_code(
            request.params, request.seed, request.scaling, points=len(fitted.labels)
        )
        (folder / "cluster.py").write_text(code, encoding="utf-8")
    return folder


@contextlib.contextmanager
def _new_folder(results: Path) -> Iterator[Path]:
    """A folder that goes again where it is not filled, as on a full disk."""
    folder = results / secrets.token_hex(16)
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
