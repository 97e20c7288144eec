from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from threading import Event, Timer

import numpy as np
import psutil
import pytest

from pipelines.clustering import running, wire, worker_pool
from pipelines.clustering.algorithms.base import Estimate
from pipelines.clustering.algorithms.registry import ALGORITHMS, find
from pipelines.clustering.comparing import compare, suggest
from pipelines.clustering.data.npz_files import Stored, save
from pipelines.clustering.data.sample_data import Dataset
from pipelines.clustering.engine import run
from pipelines.clustering.requests import ClusterRequest, CompareRequest, CurveRequest
from pipelines.clustering.running import outcome
from pipelines.clustering.tasks import fit, lower_peak, peak_since
from pipelines.clustering.wire import Matrix
from pipelines.clustering.worker_pool import POOL, Command, Died, MemoryExceeded, WorkerPool
from pipelines.core.cache import ModelCache
from pipelines.core.errors import BadRequest, NotFound, OutOfMemory, Stopped, Unavailable, validate
from pipelines.core.events import Progress, Result
from pipelines.core.files import is_full, save_array
from tests.patience import PATIENCE, PROMPTLY

pytestmark = pytest.mark.filterwarnings("ignore:::sklearn")


class Home:
    """As much of a cache as the engine asks."""

    def __init__(self, home):
        self.home = home


@pytest.fixture
def home(tmp_path, blobs) -> ModelCache:
    (tmp_path / "cluster_data").mkdir()
    save(
        tmp_path / "cluster_data" / "blobs.npz",
        Stored(Dataset(blobs[0], None, ("x", "y"), "Blobs")),
    )
    return Home(tmp_path)


def sleepy(
    X: Matrix, *, seconds: float, stop: Event
) -> Generator[Progress, None, tuple[float, int]]:
    yield Progress(1, 7)
    until = time.monotonic() + seconds
    while time.monotonic() < until:  # as scikit-learn does: never looks at stop
        sum(range(1000))
    return float(X.sum()), os.getpid()


def hungry(X: Matrix, *, nbytes: int, stop: Event) -> Generator[Progress, None, int | None]:
    yield Progress(0, 1)
    before = lower_peak()
    block = np.ones(nbytes, dtype=np.uint8)
    return peak_since(before) if block[-1] else None


def fail(X: Matrix, *, how: str, stop: Event) -> Generator[Progress, None, None]:
    yield Progress(0, 1)
    if how == "refuses":
        raise BadRequest("{value} is too much.", value=3)
    if how == "memory":
        raise MemoryError
    if how == "dies":
        os.kill(os.getpid(), 9)
    raise ZeroDivisionError("a bug")


LONG, SHORT = Estimate(5, 1e6), Estimate(0.1, 1e6)


def test_work_in_a_process_of_its_own_returns_and_tells_its_progress(stop):
    points = np.arange(6.0).reshape(3, 2)
    events, work = [], running.run(sleepy, points, {"seconds": 0}, LONG, stop, owner="")
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            total, process = end.value
            break
    assert total == 15
    assert process != os.getpid()
    assert (events[-1].step, events[-1].total) == (1, 7)
    # The next one need not import everything again.
    assert outcome(running.run(sleepy, points, {"seconds": 0}, SHORT, stop, owner=""))[1] == process


@pytest.fixture
def nobody_waits() -> None:
    """No process that a test before has left waiting for work."""
    POOL.end()


def fitting_processes() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [each for each in children if "pipelines.clustering.worker" in each.cmdline()]


def test_a_stop_ends_work_that_never_looks_at_it_at_once(stop, nobody_waits):
    work = running.run(sleepy, np.zeros((1, 1)), {"seconds": 2 * PATIENCE}, LONG, stop, owner="")
    while next(work).total != 7:  # it is in the midst of it now
        pass
    children = fitting_processes()
    assert children
    asked: list[float] = []
    Timer(0.3, lambda: (asked.append(time.monotonic()), stop.set())).start()
    with pytest.raises(Stopped):
        for _ in work:
            pass
    assert time.monotonic() - asked[0] < PROMPTLY
    assert not any(child.is_running() for child in children)


def test_a_process_ends_when_nobody_asks_any_more(stop, nobody_waits):
    work = running.run(sleepy, np.zeros((1, 1)), {"seconds": 2 * PATIENCE}, LONG, stop, owner="")
    next(work)
    children = fitting_processes()
    work.close()
    assert children
    assert not any(child.is_running() for child in children)


def command_in(folder: Path, **arguments: float) -> Command:
    """The folder of a piece of work that sleeps."""
    wire.write(folder / "task", wire.types_of(sleepy)[0], {"X": np.zeros((1, 1)), **arguments})
    return Command(sleepy, folder, 10**9)


def worker_at(command: Command) -> subprocess.Popen:
    """A worker that has begun with a piece of work."""
    program = [sys.executable, "-m", "pipelines.clustering.worker"]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(command.line())
    process.stdin.flush()
    return process


def test_when_the_studio_is_killed_neither_process_nor_folder_stays(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    with worker_at(command_in(folder, seconds=2 * PATIENCE)) as process:
        assert [b"begun" in process.stdout.readline() for _ in range(2)] == [True, False]
        process.stdin.close()  # as the system does for whoever is killed
        assert process.wait(PATIENCE) == 1
    assert not folder.exists()


@pytest.mark.memory_peak
def test_memory_is_measured_beyond_the_data(stop):
    peak = outcome(
        running.run(hungry, np.zeros((1, 1)), {"nbytes": 60_000_000}, LONG, stop, owner="")
    )
    assert 55e6 < peak < 75e6


def test_what_takes_more_memory_than_it_may_is_ended_and_the_next_work_is_done(stop, monkeypatch):
    """Of an estimate of a megabyte nothing may come of gigabytes, wherever they are taken."""
    monkeypatch.setattr(running, "LEAST_ALLOWED", 200_000_000)
    for nbytes in (1_500_000_000, 100_000_000):
        work = running.run(hungry, np.zeros((1, 1)), {"nbytes": nbytes}, SHORT, stop, owner="")
        if nbytes > 10**9:
            with pytest.raises(OutOfMemory, match="200 MB were allowed"):
                outcome(work)
        else:
            assert outcome(work)


def test_a_process_that_grows_unseen_by_the_system_is_ended_by_the_pool(
    monkeypatch, tmp_path, stop
):
    held = iter([0, 10**12])
    monkeypatch.setattr(
        "pipelines.clustering.worker_pool._Worker.bytes_held", lambda self: next(held)
    )
    command = command_in(tmp_path, seconds=2 * PATIENCE)
    with pytest.raises(MemoryExceeded), WorkerPool().lend("", command, stop) as worker:
        list(worker.follow(10**9, stop))
    assert next(held, None) is None


@pytest.mark.parametrize(
    ("how", "kind", "sentence"),
    [
        ("refuses", BadRequest, "3 is too much."),
        ("memory", OutOfMemory, "The memory did not suffice"),
        ("dies", OutOfMemory, "The memory did not suffice"),
        ("bug", RuntimeError, "ZeroDivisionError: a bug"),
    ],
)
def test_what_goes_wrong_over_there_is_said_here(how, kind, sentence, stop):
    with pytest.raises(kind, match=sentence):
        outcome(running.run(fail, np.zeros((1, 1)), {"how": how}, LONG, stop, owner=""))


def test_an_estimate_is_no_finer_than_it_can_be():
    found = [running.round_seconds(seconds) for seconds in (0.123, 42.4, 76, 604, 3700)]
    assert found == [0.12, 42, 80, 600, 3720]


def test_long_work_says_so_before_it_starts_and_too_large_work_never_does(stop):
    estimate = Estimate(42.3, 2e6)
    work = running.run(sleepy, np.zeros((1, 1)), {"seconds": 0}, estimate, stop, owner="")
    assert str(next(work).note) == "This will take about 42 s and 2.0 MB of memory"
    work.close()
    with pytest.raises(OutOfMemory, match="needs about 1000 TB"):
        outcome(running.run(sleepy, np.zeros((1, 1)), {}, Estimate(1, 1e15), stop, owner=""))


@pytest.mark.parametrize("name", ["agglomerative", "mixture"])
def test_a_fit_over_there_is_the_one_here(name, blobs, stop):
    params = find(name).parameters()
    asked = {"algorithm": name, "params": params, "seed": 1}
    there = outcome(running.run(fit, blobs[0], asked, Estimate(1, 1e6), stop, owner=""))
    here = find(name).fit(blobs[0], params, 1, stop)
    assert (there.labels == here.labels).all()
    assert there.model == here.model
    assert all((there.extra[key] == here.extra[key]).all() for key in here.extra)
    assert there.peak_bytes is not None


def test_labels_model_and_code_are_kept_and_centres_come_in_the_datas_units(home, blobs, stop):
    request = ClusterRequest(data="blobs", scaling="standard", parameters={"clusters": 3})
    *progress, result = run(request, home, stop)
    assert all(isinstance(event, Progress) for event in progress)
    assert isinstance(result, Result)
    json.dumps(result.data, allow_nan=False)
    folder = home.home / "clusterings" / result.data["folder"]
    labels = np.load(folder / "labels.npy")
    assert labels.tolist() == (np.arange(120) % 3).tolist()
    means = [blobs[0][labels == c].mean(axis=0) for c in range(3)]
    assert np.allclose(np.load(folder / "centres.npy"), means)
    model = json.loads((folder / "model.json").read_text())
    assert model["parameters"]["clusters"] == 3
    assert np.allclose(model["centres_in_units_of_the_data"], means)
    names = {"X": blobs[0].copy()}
    exec((folder / "cluster.py").read_text(), names)
    assert (names["labels"] == labels).all()
    assert result.data["scores"]["sizes"] == [40, 40, 40]
    assert result.data["points"] == 120


def test_a_full_disk_is_named_and_leaves_no_half_of_a_result(home, stop, monkeypatch):
    def full(path, text, **options):
        assert (path.parent / "labels.npy").is_file()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        list(run(ClusterRequest(data="blobs"), home, stop))
    assert list((home.home / "clusterings").iterdir()) == []


def test_arrays_that_do_not_fit_on_the_disk_say_so_by_their_error():
    for count in (10, 10**6):
        with pytest.raises(OSError, match="No space left") as error:
            save_array(Path("/dev/full"), np.zeros(count))
        assert is_full(error.value)


def test_no_room_for_temporary_files_is_said(stop, monkeypatch):
    def full(path, kind, value):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(wire, "write", full)
    work = running.run(sleepy, np.zeros((100, 3)), {"seconds": 0}, LONG, stop, owner="")
    with pytest.raises(Unavailable, match="disk with temporary files is full: about 2"):
        outcome(work)


def test_no_room_for_what_the_worker_has_found_is_said(stop, monkeypatch, tmp_path):
    (tmp_path / "answer.part").symlink_to("/dev/full")
    with worker_at(command_in(tmp_path, seconds=0)) as process:
        assert process.stdout.read()  # until it has ended; its input stays open, as a studio's does
        assert process.wait(PATIENCE) == running.DISK_FULL == 28

    @contextlib.contextmanager
    def full(*_):
        raise Died(running.DISK_FULL, "")
        yield

    monkeypatch.setattr(running.POOL, "lend", full)
    work = running.run(sleepy, np.zeros((1, 1)), {"seconds": 0}, LONG, stop, owner="")
    with pytest.raises(Unavailable, match="disk with temporary files is full"):
        outcome(work)


def test_own_centres_are_in_the_datas_units_too(home, stop):
    centres = [[0, 0], [10, 0], [5, 9]]
    request = ClusterRequest(
        data="blobs", scaling="minmax", parameters={"start": "own", "centres": centres}
    )
    *_, result = run(request, home, stop)
    folder = home.home / "clusterings" / result.data["folder"]
    assert np.abs(np.load(folder / "centres.npy") - centres).max() < 1
    assert json.loads((folder / "model.json").read_text())["parameters"]["centres"] == centres


def test_true_labels_are_compared_with(home, blobs, stop):
    request = ClusterRequest(data="mine", algorithm="mixture")
    data = Dataset(*blobs, ("x", "y"), "Blobs", ("ash", "oak", "elm"))
    *_, result = run(request, home, stop, find_data=lambda name: data)
    assert result.data["agreement"]["ari"] == 1
    assert result.data["agreement"]["confusion"] == [[40, 0, 0], [0, 40, 0], [0, 0, 40]]
    assert result.data["agreement"]["classes"] == ["ash", "oak", "elm"]
    folder = home.home / "clusterings" / result.data["folder"]
    assert np.load(folder / "soft.npy").shape == (120, 3)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"parameters": {"clusters": 0}}, r"Clusters \(k\) is 0; it must be at least 1"),
        ({"parameters": {"eps": 1}}, "no setting called eps"),
        ({"data": "../secret"}, "Data cannot be"),
        ({"algorithm": "kmean"}, "Did you mean kmeans"),
        ({"algorithm": "dbscan", "parameters": {"eps": float("nan")}}, "Radius"),
        ({"seed": -1}, "Seed is -1"),
    ],
)
def test_requests_are_checked_by_the_registry(values, sentence):
    with pytest.raises((BadRequest, NotFound), match=sentence):
        validate(ClusterRequest, {"data": "blobs", **values})


def test_an_unknown_data_set_and_a_stop_before_the_start(home, stop):
    with pytest.raises(NotFound, match="no data set called nothing"):
        list(run(ClusterRequest(data="nothing"), home, stop))
    stop.set()
    with pytest.raises(Stopped):
        list(run(ClusterRequest(data="blobs"), home, stop))


def test_all_algorithms_side_by_side(blobs, stop):
    points, truth = blobs
    events, work = [], compare(points, suggest(points, 3, 0, stop), 0, stop, truth)
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            rows = end.value
            break
    assert [row.algorithm for row in rows] == list(ALGORITHMS)
    assert (events[-1].step, events[-1].total) == (12, 12)
    cells = {row.algorithm: row.cells() for row in rows}
    json.dumps(cells, allow_nan=False)
    for name in ("kmeans", "agglomerative", "mixture", "birch", "spectral"):
        assert cells[name]["ari"] == 1, name
    assert cells["dbscan"]["clusters"] == 3


def test_one_that_cannot_work_does_not_keep_the_others_from_it(stop):
    points = np.random.default_rng(0).normal(size=(6, 2))
    choices = [(name, find(name).parameters()) for name in ("spectral", "kmeans")]
    bad, good = outcome(compare(points, choices, 0, stop))
    assert "at least 10 points" in str(bad.error)
    assert bad.cells()["error"]["values"]["points"] == 6
    assert good.error is None
    assert good.cells()["clusters"] == 3


def test_a_comparison_is_kept_too(home, stop):
    request = CompareRequest(data="blobs", algorithms=("kmeans", "dbscan"))
    *_, result = run(request, home, stop)
    assert [row["title"] for row in result.data["rows"]] == ["K-Means", "DBSCAN"]
    kept = np.load(home.home / "clusterings" / result.data["folder"] / "labels.npz")
    assert set(kept) == {"kmeans", "dbscan"}
    with pytest.raises(NotFound, match="called kmeens"):
        CompareRequest(data="blobs", algorithms=("kmeens",))


ODD = np.column_stack([np.linspace(-1, 1, 42), np.linspace(5, 6, 42)])
ODD[8:34, 0] = 1e-160 * np.arange(26)  # the middle half is nearly equal


@pytest.mark.parametrize(
    "request_",
    [
        ClusterRequest(data="odd", scaling="robust", algorithm="hdbscan"),
        CompareRequest(data="odd", scaling="robust", algorithms=("hdbscan",)),
        CurveRequest(data="odd", scaling="robust", curve="elbow"),
    ],
    ids=["cluster", "compare", "curve"],
)
def test_what_scaling_makes_too_large_is_refused_by_its_column(request_, home, stop):
    data = Dataset(ODD, None, ("height", "width"), "Odd")
    with pytest.raises(BadRequest, match=r"robust divides the column 'height' by 2.*beyond 1e"):
        list(run(request_, home, stop, find_data=lambda name: data))


def test_own_centres_that_scaling_makes_too_large_are_refused(home, stop):
    data = Dataset(np.array([[0.0], [1e-100], [2e-100], [3e-100]]), None, ("x",), "Near")
    parameters = {"start": "own", "centres": [[0.0], [1e100]], "clusters": 2}
    request = ClusterRequest(data="near", scaling="minmax", parameters=parameters)
    with pytest.raises(BadRequest, match="x1"):
        list(run(request, home, stop, find_data=lambda name: data))


def test_what_numba_compiles_has_a_folder_before_the_process_has_only_what_there_is(
    tmp_path, monkeypatch
):
    """In a fresh copy there is none yet; where packages are read-only it is in the home folder."""
    (tmp_path / "package").mkdir()
    compiled = [tmp_path / "package" / "__pycache__", tmp_path / "missing" / "__pycache__"]
    monkeypatch.setattr(worker_pool, "_COMPILED", compiled)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    pool = WorkerPool()
    pool.allow(tmp_path / "tables", compiled=tmp_path / "home" / "numba")
    files, environment = pool._surroundings()
    assert {compiled[0], tmp_path / "tables"} <= set(files.writable)
    assert "NUMBA_CACHE_DIR" not in environment
    assert compiled[0].is_dir()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["package"]

    monkeypatch.setattr(worker_pool.os, "access", lambda path, mode: False)  # root may all
    files, environment = pool._surroundings()
    assert tmp_path / "home" / "numba" in files.writable
    assert environment["NUMBA_CACHE_DIR"] == str(tmp_path / "home" / "numba")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["home", "package"]

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "of the host"))
    files, environment = pool._surroundings()
    assert tmp_path / "of the host" in files.writable
    assert environment["NUMBA_CACHE_DIR"] == str(tmp_path / "of the host")
