"""What passes between the studio and a worker, and what is refused of it."""

from __future__ import annotations

import io
import json
import os
import pickle
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

from pipelines.clustering import wire
from pipelines.clustering.algorithms.registry import ALGORITHMS, AnyParameters, find
from pipelines.clustering.comparing import suggest, suggest_scaled
from pipelines.clustering.data.columns import ColumnChoice, TablePoints, pick
from pipelines.clustering.data.csv_dialect import Reading
from pipelines.clustering.data.sample_data import Dataset
from pipelines.clustering.data.tables import Table, look
from pipelines.clustering.metrics import compare_with_truth, judge
from pipelines.clustering.model_selection import first_eps
from pipelines.clustering.projecting import Projection, project
from pipelines.clustering.tasks import Clustered, cluster, curve, propose_eps
from pipelines.clustering.wire import Array, ArrayOf, Json, Labels, UnreadableAnswer
from pipelines.clustering.worker import Trouble, outcome_of
from pipelines.clustering.worker_pool import Step
from pipelines.core.messages import Message

pytestmark = pytest.mark.filterwarnings("ignore:::sklearn")
MANY = 10**7


@dataclass(frozen=True, slots=True)
class Found:
    labels: Labels
    share: float
    model: dict[str, Json]
    soft: Annotated[np.ndarray, ArrayOf("float64", 2, finite=True)] | None = None
    names: tuple[str, ...] = ()


def same(one: Any, other: Any) -> bool:
    """Whether two values are of the same classes and equal, arrays of the same dtype too."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)
    if is_dataclass(one):
        return all(same(getattr(one, each.name), getattr(other, each.name)) for each in fields(one))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


def send(kind: Any, value: Any, folder: Path) -> Any:
    wire.write(folder / "answer", kind, value)
    return wire.read(folder / "answer", kind, MANY)


def table_file(folder: Path) -> Path:
    path = folder / os.fsdecode(b"t\xe4ble.csv")  # a name that is not UTF-8
    path.write_text("größe,kind,word\n1.5,a,x\n2.5,b,y\n,a,z\n4e300,b,w\n")
    return path


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_fit_of_each_algorithm_arrives_as_it_was(name, blobs, tmp_path, stop):
    X, truth = blobs
    (params,) = [params for each, params in suggest(X, 3, 0, stop) if each == name]
    assert send(AnyParameters, params, tmp_path) == params
    fitted = find(name).fit(X, params, 0, stop)
    scores = judge(X, fitted.labels)
    agreement = compare_with_truth(fitted.labels, truth.astype(np.int32), ("a", "b", "c"))
    found = Clustered(fitted, scores, agreement, fitted.centres, (Message("{a} B", a=1),))
    arrived = send(wire.types_of(cluster)[1], found, tmp_path)
    assert same(arrived, found)
    arrived.check(X)


def test_every_other_result_arrives_as_it_was(tmp_path, blobs, stop):
    X, truth = blobs
    data = Dataset(X, truth.astype(np.int32), ("x", "y"), "Blobs", ("a", "b", "c"))
    table = look(table_file(tmp_path), Reading())
    picked = pick(table, ColumnChoice(columns=("größe", "kind"), missing="mean", truth="word"))
    picked.check(X)
    for kind, value in (
        (Table, table),
        (TablePoints, picked),
        (Dataset, data),
        (Projection, project(X, 2, "none")),
        (Projection, project(np.hstack([X, X]), 2)),
        (wire.types_of(suggest_scaled)[1], suggest(X, 2, 0, stop)),
        (wire.types_of(curve)[1], ({"ks": [1, 2], "best": None}, (Message("{a} B", a=1),))),
        (wire.types_of(propose_eps)[1], first_eps(X, 0, stop)),
        (None, None),
    ):
        assert same(send(outcome_of(kind), ("done", value), tmp_path), ("done", value)), kind


@pytest.mark.parametrize(
    "trouble",
    [
        ("memory",),
        ("system", 28, "No space left on device"),
        ("refused", "BadRequest", Message("{value} is too much.", value=3)),
        ("failed", "ZeroDivisionError: a fault"),
    ],
)
def test_each_trouble_arrives_as_it_was(trouble, tmp_path):
    assert send(Trouble, trouble, tmp_path) == trouble
    assert wire.read(tmp_path / "answer", outcome_of(Found), MANY) == trouble


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=array.dtype.hasobject)
    return buffer.getvalue()


def forge_npy(dtype: str, shape: str, octets: int = 64) -> bytes:
    """An NPY whose header says what it likes."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    return start + header.encode() + b"\0" * octets


class Harm:
    """What a pickle would run."""

    def __reduce__(self):
        return (os.abort, ())


LABELS = npy(np.zeros(3, np.int32))
GOOD = {"labels": 0, "share": 0.5, "model": {"k": 2}, "soft": None, "names": ["a"]}


def forge_answer(value: Any, *arrays: bytes) -> bytes:
    return json.dumps([value]).encode() + b"\n" + b"".join(arrays)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


HOSTILE = {
    "nothing": b"",
    "a pickle": pickle.dumps(("done", Harm())),
    "a pickle as an array": forge_answer(GOOD, pickle.dumps(Harm())),
    "an array of objects": forge_answer(GOOD, npy(np.array([Harm()], object))),
    "no array": forge_answer(GOOD),
    "another array": forge_answer({**GOOD, "labels": 7}, LABELS),
    "an array before the first": forge_answer({**GOOD, "labels": -1}, LABELS),
    "a truth value for an array": forge_answer({**GOOD, "labels": False}, LABELS),
    "half an array": forge_answer(GOOD, LABELS[:-1]),
    "half a header": forge_answer(GOOD, LABELS[:50]),
    "8 TB": forge_answer(GOOD, forge_npy("<i4", "(2000000000000,)")),
    "a shape beyond all numbers": forge_answer(
        GOOD, forge_npy("<i4", "(10000000000, 10000000000)")
    ),
    "nothing beside lengths beyond all": forge_answer(
        GOOD, forge_npy("<i4", "(0, 9999999999, 9999999999)")
    ),
    "a negative shape": forge_answer(GOOD, forge_npy("<i4", "(-3,)")),
    "a shape of no numbers": forge_answer(GOOD, forge_npy("<i4", "('a',)")),
    "texts": forge_answer(GOOD, npy(np.array(["a", "b"]))),
    "a structure": forge_answer(GOOD, npy(np.zeros(3, [("a", "i4")]))),
    "another dtype": forge_answer(GOOD, npy(np.zeros(3, np.int64))),
    "the other byte order": forge_answer(GOOD, npy(np.zeros(3, ">i4"))),
    "two axes": forge_answer(GOOD, npy(np.zeros((3, 1), np.int32))),
    "NaN in an array": forge_answer({**GOOD, "soft": 1}, LABELS, npy(np.full((1, 1), np.nan))),
    "NaN": forge_answer({**GOOD, "share": float("nan")}, LABELS),
    "NaN within": forge_answer({**GOOD, "model": {"k": [{"a": float("nan")}]}}, LABELS),
    "infinity by its exponent": forge_answer(GOOD, LABELS).replace(b"0.5", b"1e999"),
    "infinity within": forge_answer(GOOD, LABELS).replace(b'"k": 2', b'"k": [-1e999]'),
    "a field too many": forge_answer({**GOOD, "path": "/etc"}, LABELS),
    "a field too few": forge_answer(without("share"), LABELS),
    "a text for a number": forge_answer({**GOOD, "share": "0.5"}, LABELS),
    "a number for a text": forge_answer({**GOOD, "names": [1]}, LABELS),
    "two values": b"[" + json.dumps(GOOD).encode() + b"," + json.dumps(GOOD).encode() + b"]\n",
    "a list in lists in lists": b"[" * 100_000 + b"]" * 100_000 + b"\n",
    "a line without an end": forge_answer(GOOD, LABELS).replace(b"\n", b" ", 1),
    "101 arrays": forge_answer(GOOD, *[LABELS] * 101),
    "what follows the arrays": forge_answer(GOOD, LABELS, b"more"),
}


def test_what_is_well_written_is_read_for_the_tests_below_to_mean_something(tmp_path):
    (tmp_path / "answer").write_bytes(forge_answer(GOOD, LABELS))
    found = wire.read(tmp_path / "answer", Found, MANY)
    assert same(found, Found(np.zeros(3, np.int32), 0.5, {"k": 2}, None, ("a",)))


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_not_what_was_asked_for_is_refused(kind, tmp_path):
    (tmp_path / "answer").write_bytes(HOSTILE[kind])
    with pytest.raises(UnreadableAnswer):
        wire.read(tmp_path / "answer", Found, MANY)


def test_neither_links_nor_pipes_nor_too_many_bytes_are_read(tmp_path):
    answer, secret = tmp_path / "answer", tmp_path / "secret"
    secret.write_bytes(forge_answer(GOOD, LABELS))
    answer.symlink_to(secret)
    with pytest.raises(UnreadableAnswer):
        wire.read(answer, Found, MANY)
    answer.unlink()
    with pytest.raises(UnreadableAnswer):
        wire.read(answer, Found, MANY)  # there is none
    os.mkfifo(answer)
    with pytest.raises(UnreadableAnswer):
        wire.read(answer, Found, MANY)
    with pytest.raises(UnreadableAnswer):
        wire.read(secret, Found, secret.stat().st_size - 1)
    assert wire.read(secret, Found, secret.stat().st_size)
    with secret.open("ab") as file:  # of holes, which take no disk
        file.truncate(MANY + 1)
    with pytest.raises(UnreadableAnswer):
        wire.read(secret, Found, MANY)


@pytest.mark.parametrize(
    "line",
    [
        b'[{"step":1,"total":2}]',
        b'[{"step":-1,"total":2,"note":null}]',
        b'[{"step":1.5,"total":2,"note":null}]',
        b'[{"step":1e30,"total":2,"note":null}]',
        b'[{"step":1,"total":2,"note":"words"}]',
        b'[{"step":1,"total":2,"note":{"template":"{a:>999999999}","values":{"a":1}}}]',
        b'[{"step":1,"total":2,"note":{"template":"{a.__class__}","values":{"a":1}}}]',
        b'[{"step":1,"total":2,"note":{"template":"{a!r}","values":{"a":1}}}]',
        b'[{"step":1,"total":2,"note":{"template":"{a} {b}","values":{"a":1}}}]',
        b'[{"step":1,"total":2,"note":{"template":"{","values":{}}}]',
        b'[{"step":1,"total":2,"note":{"template":"a","values":{"template":"b"}}}]',
        b'[{"step":1,"total":2,"note":{"template":"a","values":{"a":{"b":1}}}}]',
        b'{"step":1,"total":2,"note":null}',
        b"",
    ],
)
def test_progress_that_is_none_is_refused(line):
    with pytest.raises(UnreadableAnswer):
        wire.parse(line, Step)
    good = b'[{"step":1,"total":2,"note":{"template":"{a} of b","values":{"a":1}}}]'
    assert wire.parse(good, Step) == Step(1, 2, Message("{a} of b", a=1))


def break_fit(fitted: Any, **changes: Any) -> Any:
    extra = {**fitted.extra, **changes.pop("extra", {})}
    return replace(fitted, extra=extra, **changes)


def test_a_fit_that_goes_beyond_its_points_is_refused(blobs, stop):
    X = blobs[0]
    n = len(X)
    fitted = find("agglomerative").fit(X, ALGORITHMS["agglomerative"].parameters(), 0, stop)
    fitted.check(X)
    merges = fitted.extra["merges"].copy()
    merges[0, 1] = n  # of itself: whoever walks the tree never comes to an end
    labels = np.zeros(n, np.int32)
    labels[3] = 2**31 - 1  # counting them would take 16 GB
    for changes in (
        {"labels": labels},
        {"labels": labels[:-1] * 0},
        {"labels": labels * 0 - 2},
        {"soft": np.ones((n - 1, 2))},
        {"centres": np.ones((2, 5))},
        {"extra": {"merges": merges}},
        {"extra": {"merges": fitted.extra["merges"][:-1]}},
        {"extra": {"ordering": np.full(n, n)}},
        {"extra": {"core": np.array([-1])}},
        {"extra": {"core": np.array([0.5])}},
        {"extra": {"unheard_of": np.ones(n)}},
    ):
        with pytest.raises(UnreadableAnswer):
            break_fit(fitted, **changes).check(X)


def test_points_and_pictures_that_do_not_go_together_are_refused(tmp_path):
    X = np.zeros((4, 2))
    truth = np.array([0, 1, -1, 2**31 - 1], np.int32)
    rows = np.arange(4)
    for found in (
        TablePoints(Dataset(X, truth, ("a", "b"), "t", ("p", "q")), rows, ()),
        TablePoints(Dataset(X, truth, ("a", "b"), "t"), rows, ()),
        TablePoints(Dataset(X, None, ("a",), "t"), rows, ()),
        TablePoints(Dataset(X * np.nan, None, ("a", "b"), "t"), rows, ()),
        TablePoints(Dataset(X, None, ("a", "b"), "t"), rows[:2], ()),
        Projection(X, rows + 1, "pca"),
        Projection(X[:3], rows, "pca"),
    ):
        with pytest.raises(UnreadableAnswer):
            found.check(X)


def test_arrays_of_any_dtype_that_are_asked_for_arrive(tmp_path):
    for array in (np.arange(6).reshape(2, 3).T, np.zeros((0, 3)), np.float32([[1.5, np.inf]])):
        assert same(send(Array, array, tmp_path), array)
