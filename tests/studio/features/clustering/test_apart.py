"""Work of the page in processes of its own: what they answer, and that owners share none."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from pipelines.clustering import wire
from pipelines.clustering.animation import AnimationRequest
from pipelines.clustering.data.csv_dialect import Reading
from pipelines.clustering.data.npz_files import Stored, save
from pipelines.clustering.data.sample_data import DatasetRequest, make
from pipelines.clustering.data.tables import Table
from pipelines.clustering.requests import ClusterRequest, CompareRequest, CurveRequest
from pipelines.clustering.running import POOL, call
from pipelines.clustering.wire import FilePath, UnreadableAnswer
from pipelines.clustering.worker import outcome_of
from pipelines.clustering.worker_pool import MemoryExceeded
from pipelines.core import child_process
from pipelines.core.errors import OutOfMemory, Unavailable
from studio.features.clustering.data import reading
from studio.features.clustering.feature import FEATURE
from studio.features.clustering.plot import points
from studio.features.clustering.results import animation_runs
from tests.patience import wait_until
from tests.studio.features.clustering.apart_work import process, take_over


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    POOL.end()


def process_of(owner: str) -> int:
    return call(process, {}, X=np.zeros((1, 1)), owner=owner)


def test_an_owners_process_is_used_again_by_that_owner_alone():
    ada, bob = process_of("ada"), process_of("bob")
    assert ada != bob
    assert (process_of("ada"), process_of("bob")) == (ada, bob)
    eve = process_of("eve")  # only two wait: the one that was used longest ago is ended
    assert eve not in (ada, bob)
    assert process_of("bob") == bob
    wait_until(lambda: not psutil.pid_exists(ada))
    assert process_of("ada") not in (ada, bob, eve)


@pytest.mark.parametrize(
    "how",
    [
        *("a link", "a line without an end"),
        *(
            pytest.param(each, marks=pytest.mark.deep)
            for each in ("a pickle", "a pipe", "a text", "progress of texts")
        ),
    ],
)
def test_a_process_that_answers_nonsense_is_ended_and_the_next_work_is_done(how):
    taken = process_of("ada")
    with pytest.raises(Unavailable, match="an answer that cannot be read, and was ended"):
        call(take_over, {"how": how}, X=np.zeros((1, 1)), owner="ada")
    assert not psutil.pid_exists(taken)
    assert process_of("ada") != taken


REQUESTS = {
    "cluster": ClusterRequest(data="mine"),
    "compare_clusters": CompareRequest(data="mine"),
    "cluster_curve": CurveRequest(data="mine", curve="elbow"),
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_each_job_works_in_a_process_of_its_owner(kind, monkeypatch, tmp_path):
    owners = []

    @contextlib.contextmanager
    def lend(owner, *_):
        owners.append(owner)
        raise MemoryExceeded
        yield

    monkeypatch.setattr(POOL, "lend", lend)
    save(tmp_path / "cluster_data" / "mine.npz", Stored(make(DatasetRequest(points=60))))
    engine = next(each for each in FEATURE.engines if each.kind == kind)
    work = engine.run(REQUESTS[kind], SimpleNamespace(home=tmp_path), Event(), "ada")
    with pytest.raises(OutOfMemory):
        list(work)
    assert owners == ["ada"]


def look_elsewhere(path: FilePath, reading: Reading) -> Table:
    """Names another's file, for the next piece of work to read."""
    return Table(Path("/home/bob/secret.csv"), "text", None, 1, (), ())


def test_a_table_is_the_file_that_was_looked_at_whatever_the_process_says(monkeypatch, tmp_path):
    monkeypatch.setattr(reading, "_look", look_elsewhere)
    assert reading.look_apart("ada", tmp_path / "mine.csv", Reading()).path == tmp_path / "mine.csv"


def test_a_process_that_cannot_start_fails_the_work(monkeypatch):
    monkeypatch.setattr(child_process, "ROOT", Path("/"))  # there are no modules of ours
    with pytest.raises(RuntimeError, match="No module named"):
        process_of("ada")


def test_animations_and_pictures_arrive_as_they_are_made(tmp_path):
    data = make(DatasetRequest(points=60))
    X = data.X
    path = tmp_path / "answer"
    request = AnimationRequest(data="d", algorithm="mixture", parameters={"clusters": 2})
    animation, notes = animation_runs._animate(X, request, data, None)
    wire.write(
        path, outcome_of(wire.types_of(animation_runs._animate)[1]), ("done", (animation, notes))
    )
    arrived = wire.read(path, outcome_of(wire.types_of(animation_runs._animate)[1]), 10**7)[1]
    assert json.dumps(arrived[0]) == json.dumps(animation)
    assert arrived[1] == notes
    made = points._plot(X, data, 2, "pca", "standard")
    wire.write(path, points.Plotted, made)
    plot = wire.read(path, points.Plotted, 10**7)
    plot.check(X)
    assert plot.pack("en") == made.pack("en")
    with pytest.raises(UnreadableAnswer):
        plot.check(X[:3])
